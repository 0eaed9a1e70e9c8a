"""What ``headrace up`` shows: plain lines, and on a terminal colours and a spinner."""

import json
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.text import Text

from headrace import __version__
from headrace.config.schema import Engine
from headrace.engines.llamacpp import Weights
from headrace.engines.supervisor import Change, State

DEFAULT_URL = "http://127.0.0.1:8000"  # where `headrace chat` looks by itself
_LOOKS = "headrace top, headrace explain --last, headrace why"


@dataclass(frozen=True, slots=True)
class Facts:
    """What the user needs to know about what has been started."""

    url: str
    model: str
    weights: Weights
    engine: Engine
    backends: int


class Banner:
    """The lines of ``up``, in the order of its life."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False)
        self.interactive = self._console.is_terminal

    def open(self, facts: Facts) -> None:
        """Where it listens and how to try it."""
        rows = [("model", facts.model, _about(facts)), ("url", facts.url, "")]
        rows.append(("OpenAI", f"{facts.url}/v1", "base_url for any OpenAI client"))
        if facts.backends:
            rows.append(("backends", str(facts.backends), "from the configuration"))
        self._print(Text.assemble("\n  ", ("Headrace", "bold cyan"), (f" {__version__}\n", "dim")))
        for label, value, note in rows:
            self._print(
                Text.assemble(
                    (f"  {label:<9}", "dim"), (value, "bold"), (f"   {note}" if note else "", "dim")
                )
            )
        self._print(Text("\n  Try it:\n", "dim"))
        for line in (*curl(facts.url, facts.model), "", chat(facts.url)):
            self._print(Text(f"    {line}" if line else "", "green"))
        self._print(Text.assemble(("\n  What it does, and why:   ", "dim"), (_LOOKS, "green")))
        self._print(Text("\n  Ctrl-C stops the engine and the gateway.\n", "dim"))

    @contextmanager
    def loading(self) -> Iterator[None]:
        """A spinner with seconds while the model loads; requests are held meanwhile."""
        if not self.interactive:
            self._print(Text("  loading the model"))
            yield
            return
        columns = (
            TextColumn(" "),
            SpinnerColumn(),
            TextColumn("loading the model; requests that come now wait"),
            TimeElapsedColumn(),
        )
        with Progress(*columns, console=self._console, transient=True) as progress:
            progress.add_task("", total=None)
            yield

    def ready(self, seconds: float) -> None:
        """The first token can come."""
        self._print(Text.assemble("  ", ("ready", "bold green"), f" in {seconds:.1f} s\n"))

    def change(self, change: Change) -> None:
        """What became of the engine after that."""
        if change.state is State.DIED:
            text = f"  {change.reason}; it starts again in {change.seconds:g} s"
            self._print(Text(text, "yellow"))
        elif change.state is State.READY:
            text = f"  the engine is ready again, after {change.seconds:.1f} s"
            self._print(Text(text, "green"))
        elif change.state is State.FAILED:
            self._print(Text(f"  {change.reason}; it is not started again. Its last lines:", "red"))
            for line in change.log:
                self._print(Text(f"    {line}", "dim"))

    def _print(self, text: Text) -> None:
        """Never wrapped: a curl must stay one that can be pasted."""
        self._console.print(text, soft_wrap=True)


def curl(url: str, model: str) -> list[str]:
    """A request that works when pasted into a shell."""
    body = {"model": model, "stream": True, "messages": [{"role": "user", "content": "Hello!"}]}
    data = json.dumps(body, separators=(",", ":"))
    return [
        f"curl -N {url}/v1/chat/completions \\",
        "  -H 'content-type: application/json' \\",
        f"  -d {shlex.quote(data)}",
    ]


def chat(url: str) -> str:
    """The command that talks to this gateway."""
    return "headrace chat" if url == DEFAULT_URL else f"headrace chat --url {url}"


def _about(facts: Facts) -> str:
    parts = [facts.weights.quantisation, _size(facts.weights.size_bytes)]
    parts.append(f"{facts.engine.slots} slots of {facts.engine.context_length:,} tokens")
    return " · ".join(part for part in parts if part)


def _size(size_bytes: int) -> str:
    megabytes = size_bytes / 1e6
    return f"{megabytes:.0f} MB" if megabytes < 1000 else f"{megabytes / 1000:.1f} GB"
