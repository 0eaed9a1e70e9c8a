"""A classifier behind OpenAI's moderation API: asked with our own HTTP client, one text a time."""

import msgspec

from headrace.config.guards import Moderation as Settings
from headrace.guard.types import Unavailable
from headrace.upstream.endpoint import Endpoint, Unanswered

MAX_BYTES = 1024 * 1024  # of its answer
FLAGGED = "FLAGGED"


class _Result(msgspec.Struct):
    flagged: bool
    categories: dict[str, bool | None] = {}


class _Answer(msgspec.Struct):
    results: list[_Result]


_answer = msgspec.json.Decoder(_Answer)


class Moderation:
    """One endpoint. ``close`` ends its connections."""

    def __init__(self, settings: Settings) -> None:
        """``settings`` have a url."""
        self._model = settings.model
        self._endpoint = Endpoint(settings.url or "", settings.api_key, MAX_BYTES)

    async def find(self, text: str) -> list[str]:
        """
        The categories that it flags; none for a text that may pass.

        Raises:
            Unavailable: it did not answer, or not in this form.

        """
        asked: dict[str, str] = {"input": text}
        if self._model:
            asked["model"] = self._model
        try:
            answer = await self._endpoint.ask(msgspec.json.encode(asked))
            results = _answer.decode(answer).results
        except Unanswered as why:
            raise Unavailable(str(why)) from None
        except msgspec.MsgspecError:
            raise Unavailable("it answered something else than moderations") from None
        return [name for result in results if result.flagged for name in _categories(result)]

    def close(self) -> None:
        """End the connections."""
        self._endpoint.close()


def _categories(result: _Result) -> list[str]:
    """Those of a flagged text; their names come from afar, and become labels."""
    named = [name for name, flagged in result.categories.items() if flagged]
    return named[:8] or [FLAGGED]
