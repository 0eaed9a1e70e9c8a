"""``headrace chat``: the terminal's side of a conversation. What is sent is conversation.py's."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from prompt_toolkit import PromptSession
from prompt_toolkit.formatted_text import FormattedText
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from rich.console import Console
from rich.text import Text

from headrace.cli import beacon
from headrace.cli.conversation import Answer, ChatError, Conversation, Target

DEFAULT_URL = "http://127.0.0.1:8000"  # where `headrace up` and `serve` listen by default

HELP = """\
  /help           this list
  /reset          forget the conversation; the system prompt stays
  /system TEXT    set the system prompt and start anew; without TEXT, none
  /model NAME     talk to another model; without NAME, list them
  /exit           leave, like Ctrl-D

  Enter sends, Alt-Enter starts a new line, Ctrl-C stops an answer."""

# A model must not move the cursor or set the window's title.
UNPRINTABLE = {code: None for code in (*range(32), 127) if chr(code) not in "\n\t"}


def chat(
    *,
    url: Annotated[
        str | None,
        typer.Option(
            envvar="HEADRACE_URL",
            metavar="URL",
            show_default=f"your gateway on this machine, else {DEFAULT_URL}",
            help="Where the gateway listens.",
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            metavar="NAME",
            show_default="the gateway's first",
            help="Model to talk to.",
        ),
    ] = None,
    system: Annotated[
        str | None, typer.Option("--system", "-s", metavar="TEXT", help="System prompt.")
    ] = None,
    temperature: Annotated[
        float | None,
        typer.Option(min=0, max=2, metavar="NUMBER", help="How freely it picks its words."),
    ] = None,
    max_tokens: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Longest answer, in tokens.")
    ] = None,
    api_key: Annotated[
        str | None,
        typer.Option(envvar="HEADRACE_API_KEY", metavar="KEY", help="Your key, if it wants one."),
    ] = None,
    state: Annotated[Path, typer.Option(envvar="XDG_STATE_HOME", hidden=True)] = Path(
        "~/.local/state"
    ),
) -> None:
    """
    Talk to a model in the terminal.

    With piped input, that is the only message: the answer goes to standard output, its timing to
    standard error.
    """
    url = url or beacon.found("url", "--url") or DEFAULT_URL
    target = Target(url.rstrip("/").removesuffix("/v1"), model or "", temperature, max_tokens)
    interactive = sys.stdin.isatty()
    with Conversation(target, api_key, system) as conversation:
        try:
            if model is None:
                conversation.target = replace(target, model=_first(conversation.models()))
            if interactive:
                Terminal(conversation, _history(state)).talk()
                return
            _answer_once(conversation, sys.stdin.read())
        except ChatError as error:
            _fail(error)


def _first(models: list[str]) -> str:
    if not models:
        raise ChatError("The gateway serves no model.")
    return models[0]


def _fail(error: ChatError) -> NoReturn:
    typer.echo(f"headrace: {error}", err=True)
    raise typer.Exit(1)


def _answer_once(conversation: Conversation, text: str) -> None:
    """One message from standard input; exit code 1 when there is no whole answer."""
    if not text.strip():
        raise ChatError("Standard input is empty; there is nothing to ask.")
    answer = Answer()
    try:
        for part in conversation.say(text.rstrip("\n"), answer):
            sys.stdout.write(part)
            sys.stdout.flush()
    finally:
        if answer.text and not answer.text.endswith("\n"):
            sys.stdout.write("\n")
    Console(stderr=True, highlight=False).print(Text(answer.stats(), "dim"), soft_wrap=True)


def _history(state: Path) -> History:
    folder = state.expanduser() / "headrace"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        (folder / "history").touch(mode=0o600)
    except OSError:  # a read-only home is no reason not to talk
        return InMemoryHistory()
    return FileHistory(folder / "history")


class Terminal:
    """The prompt, its commands, and answers as they come."""

    def __init__(self, conversation: Conversation, history: History) -> None:
        self._conversation = conversation
        self._console = Console(highlight=False)
        self._session: PromptSession[str] = PromptSession(
            history=history,
            multiline=True,
            key_bindings=_keys(),
            prompt_continuation=lambda *_: "  ",
            reserve_space_for_menu=0,
        )
        self._commands = {
            "/help": self._help,
            "/reset": self._reset,
            "/system": self._system,
            "/model": self._model,
        }

    def talk(self) -> None:
        """Until Ctrl-D or /exit."""
        target = self._conversation.target
        self._dim(f"{target.model} at {target.url} · /help lists commands · Ctrl-D leaves")
        while True:
            try:
                text = self._session.prompt(FormattedText([("bold", "> ")])).strip()
            except KeyboardInterrupt:
                continue  # the line is dropped, the chat goes on
            except EOFError:
                return
            if text in {"/exit", "/quit"}:
                return
            if text:
                self._take(text)

    def _take(self, text: str) -> None:
        word, _, rest = text.partition(" ")
        command = self._commands.get(word)
        try:
            if command is not None:
                command(rest.strip())
            elif word.startswith("/") and word[1:].isalpha():
                self._dim(f"There is no command {word}; /help lists them.")
            else:
                self._answer(text)
        except ChatError as error:
            self._console.print(Text(str(error), "red"))

    def _answer(self, text: str) -> None:
        answer = Answer()
        parts = self._conversation.say(text, answer)
        stopped = ""
        try:
            for part in parts:
                sys.stdout.write(part.translate(UNPRINTABLE))
                sys.stdout.flush()
        except KeyboardInterrupt:
            stopped = " · stopped"
        finally:
            parts.close()
            if answer.text:
                sys.stdout.write("\n")
        self._dim(answer.stats() + stopped)

    def _help(self, _: str) -> None:
        self._dim(HELP)

    def _reset(self, _: str) -> None:
        self._conversation.reset()
        self._dim("The conversation starts anew.")

    def _system(self, text: str) -> None:
        self._conversation.system = text or None
        self._conversation.reset()
        self._dim("The system prompt is set." if text else "There is no system prompt.")

    def _model(self, name: str) -> None:
        models = self._conversation.models()
        if not name:
            self._dim("\n".join(f"  {model}" for model in models))
        elif name in models:
            self._conversation.target = replace(self._conversation.target, model=name)
            self._dim(f"Now talking to {name}.")
        else:
            raise ChatError(f"There is no model {name}; /model lists them.")

    def _dim(self, text: str) -> None:
        self._console.print(Text(text, "dim"), soft_wrap=True)


def _keys() -> KeyBindings:
    keys = KeyBindings()

    @keys.add("enter")
    def _send(event: KeyPressEvent) -> None:
        event.current_buffer.validate_and_handle()

    @keys.add("escape", "enter")
    def _new_line(event: KeyPressEvent) -> None:
        event.current_buffer.insert_text("\n")

    return keys
