"""
The series of a diagnosis from a Prometheus: the same snapshot that the history in the process
gives. Which series these are, and their queries, are diagnose's.
"""

import asyncio
import time
from collections.abc import Mapping
from typing import Any

import aiohttp
import msgspec

from headrace.config.diagnosis import Diagnosis
from headrace.diagnose.series import TABLE, Key
from headrace.diagnose.snapshot import Grid, Snapshot
from headrace.errors import StartError

FINE_S, COARSE_S = 15.0, 60.0  # Prometheus reads gateways every 15 s or so
FINE_BACK_S = 960.0  # before the window's end
COARSE_BACK_S = 3900.0  # before its beginning
AT_ONCE = 8  # queries


class Prometheus:
    """Asks one server; https://prometheus.io/docs/prometheus/latest/querying/api/#range-queries."""

    def __init__(self, config: Diagnosis) -> None:
        self._config = config
        self._url = f"{config.prometheus}/api/v1/query_range"

    async def snapshot(self, since_s: float, at_s: float | None = None) -> Snapshot:
        """
        What is known of a window and of the hour before it.

        Raises:
            StartError: it does not answer, or with an error.

        """
        until_s = time.time() if at_s is None else at_s
        turns = asyncio.Semaphore(AT_ONCE)
        timeout = aiohttp.ClientTimeout(total=self._config.timeout_s)
        try:
            async with aiohttp.ClientSession(timeout=timeout, headers=self._headers()) as session:

                async def ask(name: str, begin_s: float, step_s: float) -> dict[Key, list[Any]]:
                    async with turns:
                        return await self._ask(session, name, begin_s, until_s, step_s)

                fine_s = until_s - max(FINE_BACK_S, since_s + 60)
                coarse_s = until_s - since_s - COARSE_BACK_S
                fine = await asyncio.gather(*(ask(name, fine_s, FINE_S) for name in TABLE))
                coarse = await asyncio.gather(*(ask(name, coarse_s, COARSE_S) for name in TABLE))
        except (aiohttp.ClientError, TimeoutError) as error:
            why = str(error) or type(error).__name__
            raise StartError(
                f"Prometheus at {self._config.prometheus} (`diagnosis.prometheus`): {why}."
            ) from error
        return Snapshot(until_s, _grid(fine, FINE_S), _grid(coarse, COARSE_S))

    # --- below -----------------------------------------------------------------------------

    def _headers(self) -> dict[str, str]:
        file = self._config.prometheus_token_file
        if file is None:
            return {}
        try:
            token = file.expanduser().read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise StartError(f"`diagnosis.prometheus_token_file` {file}: {error}.") from error
        return {"authorization": f"Bearer {token}"}

    async def _ask(
        self, session: aiohttp.ClientSession, name: str, begin_s: float, end_s: float, step_s: float
    ) -> dict[Key, list[Any]]:
        series = TABLE[name]
        begin_s -= begin_s % step_s  # all answers on the same steps
        form = {
            "query": series.promql(selector=self._config.prometheus_selector),
            "start": f"{begin_s:.3f}", "end": f"{end_s:.3f}", "step": f"{step_s:g}",
        }  # fmt: skip
        async with session.post(self._url, data=form) as answer:
            body = await answer.read()
        try:
            decoded = msgspec.json.decode(body)
            if decoded["status"] != "success":
                raise StartError(f"Prometheus refuses {form['query']}: {decoded['error']}.")
            return {
                (name, tuple(each["metric"].get(label, "") for label in series.by)): each["values"]
                for each in decoded["data"]["result"]
            }
        except (msgspec.DecodeError, KeyError, TypeError) as error:
            raise StartError(
                f"What answers at {self._url} is no Prometheus (status {answer.status})."
            ) from error


def _grid(answers: list[dict[Key, list[Any]]], step_s: float) -> Grid:
    """Values on one axis of time; what an answer has no value for is NaN."""
    found = {key: values for answer in answers for key, values in answer.items()}
    times = sorted({float(at_s) for values in found.values() for at_s, _ in values})
    return Grid(step_s, times, {key: _column(values, times) for key, values in found.items()})


def _column(values: list[Any], times: list[float]) -> list[float]:
    known: Mapping[float, float] = {float(at_s): float(value) for at_s, value in values}
    return [known.get(at_s, float("nan")) for at_s in times]
