"""Cases 14 and 21: aliases, and models without a replica."""

from headrace.conformance import answers, shapes
from headrace.conformance.stage import Stage
from headrace.conformance.verdict import NotApplicable
from headrace.conformance.wire import Answer

SEED = 1234567890123456789  # more digits than a float has


async def alias(stage: Stage) -> None:
    """Another name for the model: the engine sees its own, the client the one it asked for."""
    play = stage.play()
    whole = await stage.post(stage.ask(play) | {"model": stage.alias})
    listed = await _listed(stage)
    if whole.status == 404 and stage.alias not in listed:
        raise NotApplicable(f"the gateway has no alias {stage.alias}")
    stage.equal("not streamed: status", 200, whole.status)
    models = [exchange.json().get("model") for exchange in play.exchanges]
    stage.equal("not streamed: model at the engine", [stage.model], models)
    told = "not streamed: model in the answer"
    stage.equal(told, stage.alias, shapes.field(shapes.document(whole), "model"))
    streamed = await stage.post(stage.streamed(stage.play()) | {"model": stage.alias})
    bodies = [shapes.parse(event.data) for event in shapes.said(streamed)]
    names = {shapes.field(body, "model") for body in bodies if body is not None}
    stage.equal("streamed: models in its frames", {stage.alias}, names)
    stage.equal("streamed: text", "".join(answers.WORDS), shapes.text(streamed))
    await _untouched(stage)


async def _untouched(stage: Stage) -> None:
    """Numbers of a body whose model is renamed must not be rounded."""
    play = stage.play()
    more = {"model": stage.alias, "seed": SEED, "logit_bias": {"7": -1.5}}
    await stage.post(stage.ask(play) | more)
    seen = [(e.json().get("seed"), e.json().get("logit_bias")) for e in play.exchanges]
    told = "body with a 19-digit seed and a bias, under the alias: both at the engine"
    stage.equal(told, [(SEED, {"7": -1.5})], seen)


async def _listed(stage: Stage) -> list[object]:
    data = shapes.field(shapes.document(await stage.send("GET", "/v1/models")), "data")
    return [shapes.field(entry, "id") for entry in data] if isinstance(data, list) else []


async def without_replicas(stage: Stage) -> None:
    """All replicas are gone, then come back; and a declared model that never had one."""
    for engine in stage.engines:
        await engine.kill()
    try:
        answer = await stage.post(stage.ask(stage.play()))
        listed = await _listed(stage)
    finally:
        for engine in stage.engines:
            await engine.start()
    _no_capacity(stage, "chat while no replica listens", answer, {500, 502, 503, 504})
    told = "/v1/models while no replica listens"
    stage.check(told, f"still lists {stage.model}", listed, passed=stage.model in listed)
    back = await stage.recovered()
    seen = "200" if back else "no 200"
    stage.check("chat after the replicas came back", "200 within 15 s", seen, passed=back)
    cold = await stage.post(stage.ask(stage.play()) | {"model": stage.cold})
    if cold.status == 404 and stage.cold not in listed:
        raise NotApplicable(f"the gateway has no declared model {stage.cold} without a replica")
    _no_capacity(stage, "chat with a declared model that has no replica", cold, {503})


def _no_capacity(stage: Stage, told: str, answer: Answer, statuses: set[int]) -> None:
    shapes.openai_error(stage, told, answer, statuses)
    if answer.status == 503:
        value = answer.header("retry-after")
        right = value is not None and value.isdigit()
        stage.check(f"{told}: Retry-After", "whole seconds", value, passed=right)
