"""All cases in one table: number, name, why it matters, and the function that plays it."""

from headrace.conformance.cases import (
    api,
    bodies,
    connections,
    exposure,
    failures,
    frames,
    headers,
    life,
    names,
    placement,
    retries,
    streams,
)
from headrace.conformance.verdict import Case

_GITHUB = "https://github.com/"

CASES = (
    Case(
        "1",
        "Error after 200 was sent",
        "SDKs raise only for an error inside a `data:` frame; anything else is silently ignored and"
        " half an answer looks like a whole one.",
        streams.error_after_200,
        _GITHUB + "openai/openai-python/blob/main/src/openai/_streaming.py",
    ),
    Case(
        "2",
        "Error before the first byte",
        "A gateway that commits to 200 too early turns refusals into broken streams that clients"
        " cannot retry.",
        streams.error_before_first_byte,
    ),
    Case(
        "3",
        "Disconnect while waiting for the first chunk",
        "A client that gives up during the prefill must not leave a GPU working for nobody.",
        streams.leaves_while_waiting,
        _GITHUB + "BerriAI/litellm/issues/31499",
    ),
    Case(
        "4",
        "Disconnect aborts the engine in every phase",
        "Engines stop generating only when their own connection is closed.",
        streams.leaves_in_every_phase,
        _GITHUB + "BerriAI/litellm/issues/30244",
    ),
    Case(
        "5",
        "Accounting survives cancellation",
        "A lease that leaks with each abort slowly takes a healthy replica out of use.",
        retries.accounting,
        _GITHUB + "vllm-project/production-stack/issues/1072",
        hurts=True,
    ),
    Case(
        "6",
        "Retries: only before the first byte, only elsewhere",
        "The right retry hides a bad replica; the wrong one doubles work or garbles answers.",
        retries.retries,
        hurts=True,
    ),
    Case(
        "7",
        "Breakers count only server faults",
        "One client's bad requests, or its closing laptop, must not take a replica from the rest.",
        retries.breakers,
        _GITHUB + "sgl-project/sglang/issues/25811",
        hurts=True,
    ),
    Case(
        "8",
        "Separate clocks",
        "One timeout for everything either kills long answers or lets dead streams hang.",
        retries.clocks,
        _GITHUB + "vllm-project/production-stack/issues/749",
        hurts=True,
    ),
    Case(
        "9",
        "Usage in streams",
        "Clients index `choices[0]`: a usage frame that they did not ask for breaks them.",
        frames.usage,
    ),
    Case(
        "10",
        "Byte fidelity",
        "Chunks are not events and UTF-8 may split anywhere; a relay that parses too eagerly"
        " corrupts answers.",
        frames.fidelity,
        _GITHUB + "envoyproxy/ai-gateway/issues/2549",
    ),
    Case(
        "11",
        "Latency of each chunk",
        "Batching or compressing a stream multiplies the time to the first token.",
        frames.first_chunk,
        _GITHUB + "ray-project/ray/issues/59681",
    ),
    Case(
        "12",
        "Headers",
        "Keys that reach engines leak into their logs; hop-by-hop headers break the next hop.",
        headers.hop_by_hop,
        _GITHUB + "envoyproxy/ai-gateway/issues/2554",
    ),
    Case(
        "13",
        "Request id",
        "Without one id on every answer nobody can find a failed request; an unchecked one injects"
        " into logs.",
        headers.request_id,
        _GITHUB + "vllm-project/production-stack/issues/1040",
    ),
    Case(
        "14",
        "Model alias",
        "Clients that pin a name expect it back, in streams too; a rewritten body must not lose"
        " digits.",
        names.alias,
    ),
    Case(
        "15",
        "Large bodies",
        "Pictures need tens of megabytes; without a limit one client fills the memory of all.",
        bodies.large,
    ),
    Case(
        "16",
        "429 against 503",
        "SDKs decide from the status and Retry-After whether and when to come back.",
        failures.refusals,
        _GITHUB + "BerriAI/litellm/issues/27823",
        hurts=True,
    ),
    Case(
        "17",
        "Error JSON shape",
        "An SDK shows the message only if it finds it; frameworks have shapes of their own.",
        failures.error_shape,
        _GITHUB + "vllm-project/aibrix/issues/2594",
    ),
    Case(
        "18",
        "Keep-alive race",
        "vLLM closes idle connections after 5 s; a request sent at that moment dies through no"
        " fault of its own.",
        connections.keep_alive,
        _GITHUB + "vllm-project/vllm/issues/41567",
    ),
    Case(
        "19",
        "Pipelining",
        "Answers out of order, or a cancelled neighbour, are the worst kind of mix-up.",
        connections.pipelining,
    ),
    Case(
        "20",
        "Graceful drain",
        "Every deployment would otherwise cut the streams that run at that moment.",
        life.drain,
        _GITHUB + "kserve/kserve/issues/5485",
        last=True,
    ),
    Case(
        "21",
        "Scale to zero",
        "A model without replicas is late, not unknown: 404 makes clients give up for good.",
        names.without_replicas,
        _GITHUB + "vllm-project/production-stack/issues/1003",
        hurts=True,
    ),
    Case(
        "22",
        "Stateful APIs",
        "A stored response exists on one replica only.",
        placement.stickiness,
    ),
    Case(
        "23",
        "Requests that only look alike",
        "A prefix key that ignores tools or token ids sends everything to one replica.",
        placement.lookalikes,
        _GITHUB + "sgl-project/sglang/issues/26263",
    ),
    Case(
        "24",
        "Server-side request forgery",
        "Engines fetch media by URL from inside the network; the gateway is the last to say no.",
        bodies.private_urls,
        _GITHUB + "vllm-project/vllm/issues/57157",
    ),
    Case(
        "25",
        "Metrics page",
        "A label that clients choose fills the monitoring; a page that blocks stalls the streams.",
        exposure.metrics,
        _GITHUB + "sgl-project/sglang/issues/31193",
    ),
    Case("A1", "GET /v1/models", "Clients ask it first, to find a model.", api.models),
    Case("A2", "Chat, whole", "The endpoint that all clients use.", api.chat),
    Case("A3", "Chat, streamed", "SDKs need frames, [DONE] and an orderly end.", api.chat_stream),
    Case("A4", "Completions", "Base models and benchmarks use it.", api.completions),
    Case("A5", "Embeddings", "Retrieval needs vectors, and errors it can read.", api.embeddings),
    Case("A6", "Messages, whole", "Anthropic's SDK speaks nothing else.", api.messages),
    Case("A7", "Messages, streamed", "Agents wait for each named event.", api.messages_stream),
    Case("A8", "Tools", "Agents break on a call whose arguments were touched.", api.tools),
    Case("A9", "Unknown model", "A typo must be told from an outage: 404.", api.unknown_model),
    Case("A10", "Wrong method", "405, in the shape of every other error.", api.wrong_method),
    Case("A11", "Bad JSON", "400 before an engine sees it.", api.bad_json),
    Case("A12", "Different ids", "Two requests with one id cannot be told apart.", api.request_ids),
)


def chosen(keys: str | None) -> tuple[Case, ...]:
    """
    The cases with these keys (as in ``3,7,A2``), or all; those that end the gateway come last.

    Raises:
        LookupError: no case has the key that the exception names.

    """
    wanted = [key.strip().upper() for key in keys.split(",") if key.strip()] if keys else None
    by_key = {case.key: case for case in CASES}
    for key in wanted or ():
        if key not in by_key:
            raise LookupError(key)
    picked = CASES if wanted is None else tuple(by_key[key] for key in dict.fromkeys(wanted))
    return tuple(sorted(picked, key=lambda case: case.last))
