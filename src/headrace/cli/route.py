"""
``headrace route``: which rule a request would match and where it would go. Nothing is sent.

It asks a running gateway's admin API, or reads the configuration; what rules say is
gateway/rules/rehearsal.py's.
"""

import asyncio
import json
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.text import Text

from headrace.cli.app import examples
from headrace.cli.classify import judged
from headrace.cli.fleet import Admin, AdminUrl, NobodyThere, Token
from headrace.cli.options import AsJson
from headrace.cli.serve import with_engines
from headrace.config import load
from headrace.config.backends import Model
from headrace.config.fields import Keys
from headrace.config.rules import Rule
from headrace.config.schema import Config
from headrace.errors import ApiError, ConfigError
from headrace.fleet.catalogue import Catalogue
from headrace.gateway.rules.rehearsal import Sample, rehearse, shown
from headrace.routing.rules import Rulebook
from headrace.types import Class

route = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    epilog=examples(
        "headrace route test --model gpt-4o --text hello",
        "headrace route explain --file request.json",
    ),
    help="Tell which rule a request would match and where it would go, without sending it.",
)

Origins = Mapping[Keys, str]
NO_ORIGINS: Origins = MappingProxyType({})

File = Annotated[
    Path | None,
    typer.Option("--file", "-f", metavar="FILE", help="The request's JSON body; - reads it."),
]
Words = Annotated[
    str | None, typer.Option("--text", "-t", metavar="TEXT", help="A request with this message.")
]
ModelName = Annotated[
    str | None,
    typer.Option("--model", "-m", metavar="NAME", help="The model that it asks for."),
]
Header = Annotated[
    list[str] | None,
    typer.Option(
        "--header", "-H", metavar="NAME=VALUE", show_default="none", help="A header; repeatable."
    ),
]
At = Annotated[
    str | None,
    typer.Option("--at", metavar="TIME", show_default="now", help="As if it came at this time."),
]
Endpoint = Annotated[
    str, typer.Option("--endpoint", metavar="PATH", help="The endpoint that it is for.")
]
Classified = Annotated[
    str | None,
    typer.Option("--class", metavar="NAME", help="As if the classifier had said so."),
]
Configuration = Annotated[
    Path | None,
    typer.Option(
        "--config", "-c", metavar="FILE", help="Ask this configuration, not a running gateway."
    ),
]


def asking(show: Callable[[dict[str, Any]], Text]) -> Callable[..., None]:
    """A command that asks, and shows the answer so."""

    def ask(
        *,
        file: File = None,
        text: Words = None,
        model: ModelName = None,
        header: Header = None,
        at: At = None,
        endpoint: Endpoint = "/v1/chat/completions",
        classified: Classified = None,
        config: Configuration = None,
        admin_url: AdminUrl = None,
        token: Token = None,
        as_json: AsJson = False,
    ) -> None:
        question = _question(file, text, model, (header, at, endpoint, classified))
        found = _ask(question, config, Admin(admin_url, token))
        if as_json:
            typer.echo(json.dumps(found, indent=2))
        else:
            Console().print(show(found))

    return ask


def _question(
    file: Path | None,
    text: str | None,
    model: str | None,
    rest: tuple[list[str] | None, str | None, str, str | None],
) -> dict[str, Any]:
    """What the admin API's /admin/route takes."""
    headers, at, endpoint, classified = rest
    if (file is None) == (text is None):
        raise ConfigError("Say what the request is: either --file FILE or --text TEXT.")
    body: Any = {"messages": [{"role": "user", "content": text}]}
    if file is not None:
        body = _read(file)
    if model is not None and isinstance(body, dict):
        body = {"model": model, **{key: body[key] for key in body if key != "model"}}
    return {
        "body": json.dumps(body, ensure_ascii=False),
        "endpoint": endpoint,
        "headers": dict(_header(each) for each in headers or ()),
        "at": _time(at) if at is not None else datetime.now(UTC).timestamp(),
        "classified": classified,
    }


def _read(file: Path) -> Any:
    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")
        return json.loads(text)
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read ({error.strerror}).") from None
    except ValueError as error:
        raise ConfigError(f"{file}: is not valid JSON: {error}.") from None


def _header(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise ConfigError(f"--header {text!r} must be NAME=VALUE.")
    return name.lower(), value


def _time(text: str) -> float:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(
            f"--at {text!r} must be a time such as 2026-11-23T10:00:00+01:00."
        ) from None
    return (at if at.tzinfo is not None else at.replace(tzinfo=UTC)).timestamp()


def _ask(question: dict[str, Any], config: Path | None, admin: Admin) -> dict[str, Any]:
    """The running gateway's answer, or the configuration's where one is named or nobody runs."""
    if config is None:
        try:
            found: dict[str, Any] = admin.post("/admin/route", question)
        except NobodyThere:
            pass
        else:
            return found
    return _locally(question, load.load(config))


def _locally(question: dict[str, Any], config: Config) -> dict[str, Any]:
    rules, catalogue, _ = effective(config)
    book = Rulebook(rules)
    sample = Sample(
        body=question["body"].encode("utf-8", "surrogatepass"),
        at=question["at"],
        endpoint=question["endpoint"],
        headers={
            name.encode("latin-1", "replace"): value.encode("latin-1", "replace")
            for name, value in question["headers"].items()
        },
        classified=question["classified"],
    )
    judgement: Class | None = None
    try:
        found = rehearse(book, catalogue, sample)
        if found.class_matters and config.classes.enabled:
            judgement = asyncio.run(judged(config.classes, sample.body))
            named = msgspec.structs.replace(sample, classified=judgement.name)
            found = rehearse(book, catalogue, named)
    except ApiError as error:
        raise ConfigError(error.message) from None
    plain: dict[str, Any] = msgspec.to_builtins(shown(found))
    told = {**plain, "judged": msgspec.to_builtins(judgement), "pools": None}
    return {"version": book.version, "rules": len(rules), **told}


def effective(
    config: Config, origins: Origins = NO_ORIGINS
) -> tuple[tuple[Rule, ...], Catalogue, Origins]:
    """
    The rules of a configuration, from their own file where they have one; its models; and where
    each value of the rules stands.

    Raises:
        ConfigError: the file cannot be read or is wrong.

    """
    whole = with_engines(config)
    catalogue = Catalogue(whole.models or [Model(name=name) for name in whole.served])
    if config.rules_file is None:
        return config.rules, catalogue, origins
    ruled = load.rules(config.rules_file, catalogue.names)
    return ruled.rules, catalogue, ruled.origins


def summary(found: dict[str, Any]) -> Text:
    """The answer in a few lines."""
    lines = Text()
    rule = found["rule"] or f"none of {found['rules']} matches"
    lines.append(f"rule     {rule}\n")
    judgement = found["judged"]
    if judgement is not None:
        sure = f"{judgement['confidence']:.2f}"
        lines.append(f"class    {judgement['name']} {sure} ({judgement['why']})\n")
    if found["arm"]:
        lines.append(f"arm      {found['experiment']}/{found['arm']}\n")
    if found["error"]:
        lines.append(f"error    {found['error']}\n")
    else:
        lines.append(f"target   {', then '.join(found['targets']) or 'none'}\n")
    if found["shadow"]:
        lines.append(f"shadow   {found['shadow']}\n")
    if found["pools"] is None:
        lines.append("replica  unknown: no running gateway was asked")
    elif found["pools"]:
        first = next((pool for pool in found["pools"] if pool["replica"]), found["pools"][0])
        lines.append(f"replica  {first['replica'] or 'none'} ({first['reason']})")
    return lines


def story(found: dict[str, Any]) -> Text:
    """All that was looked at."""
    lines = summary(found)
    lines.append(f"\n\nrules {found['version']}\n")
    for verdict in found["verdicts"]:
        decided = verdict["rule"] == found["rule"]
        lines.append(f"  {verdict['rule']}{'  <- decides' if decided else ''}\n", "bold")
        for text, met in verdict["demands"] or [["everything matches", True]]:
            sign = {True: ("yes", "green"), False: ("no ", "red")}.get(met, ("?  ", "yellow"))
            lines.append(f"    {sign[0]} ", sign[1])
            lines.append(f"{text}\n")
    lines.append("facts\n")
    for name, value in found["facts"].items():
        if name != "at":
            lines.append(f"  {name} = {json.dumps(value)}\n")
    at = datetime.fromtimestamp(found["facts"]["at"], UTC)
    lines.append(f"  at = {at.isoformat(timespec='seconds')}\n")
    if found["priority"] is not None or found["policy"]:
        priority = "usual" if found["priority"] is None else found["priority"]
        lines.append(f"priority {priority}, policy {found['policy'] or 'usual'}\n")
    for pool in found["pools"] or ():
        lines.append(f"pool {pool['model']}\n")
        for each in pool["candidates"]:
            mark = "  <- " + pool["reason"] if each["replica"] == pool["replica"] else ""
            lines.append(f"  {each['replica']}{_cost(each)}{mark}\n")
    return lines


def _cost(candidate: dict[str, Any]) -> str:
    """What the request would cost there; nothing where there was nothing to weigh."""
    if candidate["cost_ms"] is None:
        return ""
    cached, inflight = candidate["cached_tokens"], candidate["inflight"]
    return f"  {candidate['cost_ms']:g} ms, {cached} tokens cached, {inflight} requests"


route.command(
    "test",
    epilog=examples("headrace route test --text hello --header x-team=search"),
    help="Tell the rule, the target and the replica of a request in a few lines.",
)(asking(summary))
route.command(
    "explain",
    epilog=examples("headrace route explain --file request.json --at 2026-11-23T23:00"),
    help="Tell the same with what the rules saw, and how each of them fared with it.",
)(asking(story))
