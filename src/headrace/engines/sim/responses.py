"""Answers of OpenAI's Responses API: text or one function call, streamed or whole; none is kept."""

from itertools import count
from typing import Any

from headrace.engines.sim.ask import Refused
from headrace.engines.sim.voice import Failure, Turn, encode, named, openai_failure


class Responses:
    """``/v1/responses``."""

    def __init__(self, turn: Turn) -> None:
        self._turn = turn
        self._call = turn.wish.call
        self._item = f"{'fc' if self._call else 'msg'}_{turn.id}"
        self._numbers = count()
        self._place = {"output_index": 0, "item_id": self._item}
        if self._call is None:
            self._place["content_index"] = 0

    def first(self) -> bytes:
        response = self._response("in_progress", [])
        opened = [
            self._event("response.created", response=response),
            self._event("response.in_progress", response=response),
            self._event(
                "response.output_item.added", output_index=0, item=self._output("in_progress", "")
            ),
        ]
        if self._call is None:
            part = self._part("")
            opened.append(self._event("response.content_part.added", **self._place, part=part))
        return b"".join(opened)

    def token(self, piece: str, produced: int) -> bytes:  # noqa: ARG002 - the seam's
        if self._call is not None:
            name = "response.function_call_arguments.delta"
            return self._event(name, **self._place, delta=piece)
        return self._event("response.output_text.delta", **self._place, delta=piece, logprobs=[])

    def last(self) -> bytes:
        turn, place = self._turn, self._place
        ended = [self.token(turn.answer.pieces[-1], turn.answer.tokens)]
        if self._call is None:
            name = "response.output_text.done"
            ended += [
                self._event(name, **place, text=turn.text, logprobs=[]),
                self._event("response.content_part.done", **place, part=self._part(turn.text)),
            ]
        else:
            name = "response.function_call_arguments.done"
            ended.append(self._event(name, **place, arguments=turn.text, name=self._call))
        item = self._output(self._status, turn.text)
        ended += [
            self._event("response.output_item.done", output_index=0, item=item),
            self._event(f"response.{self._status}", response=self._response(self._status, [item])),
        ]
        return b"".join(ended)

    def failure(self, refused: Refused) -> Failure:
        return openai_failure(refused)

    def whole(self) -> bytes:
        item = self._output(self._status, self._turn.text)
        return encode(self._response(self._status, [item]))

    @property
    def _status(self) -> str:
        return "incomplete" if self._turn.answer.reason == "length" else "completed"

    def _event(self, kind: str, **fields: Any) -> bytes:
        return named(kind, {"type": kind, "sequence_number": next(self._numbers), **fields})

    def _part(self, said: str) -> dict[str, Any]:
        return {"type": "output_text", "text": said, "annotations": [], "logprobs": []}

    def _output(self, status: str, said: str) -> dict[str, Any]:
        item = {"id": self._item, "status": status}
        if self._call is not None:
            call_id = f"call_{self._turn.id}"
            return {
                **item, "type": "function_call", "call_id": call_id, "name": self._call,
                "arguments": said,
            }  # fmt: skip
        content = [] if status == "in_progress" else [self._part(said)]
        return {**item, "type": "message", "role": "assistant", "content": content}

    def _response(self, status: str, output: list[Any]) -> dict[str, Any]:
        turn = self._turn
        cut = {"reason": "max_output_tokens"} if status == "incomplete" else None
        return {
            "id": f"resp_{turn.id}",
            "created_at": turn.created,
            "incomplete_details": cut,
            "instructions": None,
            "metadata": None,
            "model": turn.model,
            "object": "response",
            "output": output,
            "parallel_tool_calls": True,
            "temperature": 1.0,
            "tool_choice": "auto",
            "tools": [],
            "top_p": 1.0,
            "background": False,
            "max_output_tokens": turn.answer.limit,
            "previous_response_id": None,
            "service_tier": "auto",
            "status": status,
            "truncation": "disabled",
            "usage": None if status == "in_progress" else self._usage(),
            "user": None,
        }

    def _usage(self) -> dict[str, Any]:
        prompt, produced = self._turn.wish.prompt_tokens, self._turn.answer.tokens
        return {
            "input_tokens": prompt,
            "input_tokens_details": {"cached_tokens": self._turn.cached},
            "output_tokens": produced,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": prompt + produced,
        }
