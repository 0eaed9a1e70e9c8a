"""A gateway as a child process: started in a folder of its own, ended by its pid."""

import asyncio
import contextlib
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import Self

from headrace.conformance.wiring import Front, Wiring
from headrace.errors import StartError

KILL_S = 5.0  # from the word to stop to the kill
OUTPUT = 400  # characters of its output that an error shows


class Program:
    """A started gateway. Use with ``async with``: afterwards nothing of it is left."""

    def __init__(self, wiring: Wiring, front: Front, folder: Path, program: str | None) -> None:
        self._wiring = wiring
        self._front = front
        self._folder = folder
        self._program = program
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        """
        Start it.

        Raises:
            StartError: its program is not installed.

        """
        argv = command(self._wiring, self._front, self._folder, self._program)
        with (self._folder / "log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *argv,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._folder,
                start_new_session=True,
            )
        return self

    async def __aexit__(self, *_: object) -> None:
        self.terminate()
        await self.ended(KILL_S)
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):  # its group: forked workers as well
                os.killpg(self._process.pid, signal.SIGKILL)
            await self._process.wait()

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.returncode is None

    def terminate(self) -> None:
        """Tell it to stop in order."""
        if self._process is not None and self.alive:
            self._process.send_signal(signal.Signals[f"SIG{self._wiring.stop}"])

    async def ended(self, timeout_s: float) -> bool:
        """Whether it ends within this time."""
        if self._process is not None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._process.wait(), timeout_s)
        return not self.alive

    def output(self) -> str:
        """The end of what it printed: the reason, when it did not start."""
        text = (self._folder / "log").read_bytes().decode(errors="replace")
        return " / ".join(text.strip().splitlines()[-3:])[-OUTPUT:]


def command(wiring: Wiring, front: Front, folder: Path, program: str | None) -> list[str]:
    """
    Write its configuration into the folder; gives the words that start it.

    Raises:
        StartError: its program is not installed.

    """
    file = folder / wiring.file if wiring.file else folder
    if wiring.file:
        file.write_text(wiring.text(front))
    found = [sys.executable, "-m", "headrace"]
    if program is not None or wiring.program is not None:
        found = [_find(wiring, program)]
    environment = ["/usr/bin/env", *wiring.env] if wiring.env else []
    return [*environment, *found, *wiring.argv(front, str(file))]


def _find(wiring: Wiring, program: str | None) -> str:
    wanted = program or wiring.program or wiring.name
    found = shutil.which(wanted) or shutil.which(wanted, path="/usr/sbin:/usr/local/sbin")
    if found is None:
        raise StartError(
            f"The program {wanted} is not installed; install {wiring.label}, or say where it is"
            " with --program."
        )
    return found
