"""Cases 16 and 17: 429 against 503, and errors in the shape that SDKs read."""

from headrace.conformance import answers, shapes
from headrace.conformance.stage import CHAT, MESSAGES, Stage

WAIT = ("retry-after", "7")


async def refusals(stage: Stage) -> None:
    """What engines say of load reaches the client as they said it."""
    for status in (429, 503):
        said = answers.error(status, "come back later")
        play = stage.play(answers.says(status, said, WAIT, ("x-should-retry", "true")))
        answer = await stage.post(stage.ask(play))
        told = f"all replicas answer {status} with Retry-After: 7"
        shapes.openai_error(stage, told, answer, {status})
        value = answer.header("retry-after")
        right = value is not None and value.isdigit()
        stage.check(f"{told}: Retry-After", "whole seconds", value, passed=right)
    answer = await stage.post(stage.ask(stage.play(answers.resets)))
    told = "all replicas break"
    shapes.openai_error(stage, told, answer, {500, 502, 503, 504})
    if answer.status == 503:
        value = answer.header("retry-after")
        stage.check(f"{told}: 503 has Retry-After", "whole seconds", value,
                    passed=value is not None and value.isdigit())  # fmt: skip


async def error_shape(stage: Stage) -> None:
    """Every error has the SDK's shape, once: the engine's, the gateway's, the framework's."""
    play = stage.play(answers.says(400, answers.ERR_TEMPERATURE))
    answer = await stage.post(stage.ask(play))
    shapes.openai_error(stage, "the engine answers 400 in OpenAI's shape", answer, {400})
    stage.equal("the engine answers 400: its message, not wrapped",
                shapes.field(shapes.parse(answers.ERR_TEMPERATURE), "error", "message"),
                shapes.field(shapes.document(answer), "error", "message"))  # fmt: skip
    play = stage.play(answers.says(422, b'{"detail":[{"loc":["body"],"msg":"Field required"}]}'))
    answer = await stage.post(stage.ask(play))
    shapes.openai_error(
        stage, "the engine answers 422 in its framework's shape", answer, {400, 422}
    )
    play = stage.play(answers.says(500, b"Internal Server Error", content_type="text/plain"))
    answer = await stage.post(stage.ask(play))
    told = "the engine answers 500 as plain text"
    shapes.openai_error(stage, told, answer, {500, 502, 503})
    shapes.openai_error(stage, "GET /v1/nowhere", await stage.send("GET", "/v1/nowhere"), {404})
    shapes.openai_error(stage, f"DELETE {CHAT}", await stage.send("DELETE", CHAT), {405})
    shapes.openai_error(stage, "a body that is no JSON", await stage.post(b"{,}"), {400, 422})
    if await stage.supports(MESSAGES):
        play = stage.play(answers.says(400, answers.ERR_TEMPERATURE))
        answer = await stage.post(stage.ask(play, MESSAGES), MESSAGES)
        told = f"{MESSAGES}; the engine answers 400 in OpenAI's shape"
        shapes.anthropic_error(stage, told, answer, {400})
        answer = await stage.post(b"{,}", MESSAGES)
        shapes.anthropic_error(stage, f"{MESSAGES}; a body that is no JSON", answer, {400, 422})
