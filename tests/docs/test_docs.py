"""What there is appears in the documentation: endpoints, errors, metrics, commands, decisions."""

import ast
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import typer
from prometheus_client import Metric
from typer.core import TyperGroup

from benchmarks.overhead.bars import BARS
from headrace import errors
from headrace.cli.app import app
from headrace.config.schema import Config, Retries
from headrace.fleet.load import LoadView, Lora
from headrace.gateway.app import Gateway
from headrace.gateway.door import client, headers, routes
from headrace.telemetry.records import Record
from headrace.upstream import pool

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
SOURCES = sorted((ROOT / "src").rglob("*.py"))
PAGES = (ROOT / "README.md", *sorted(DOCS.rglob("*.md")))
# Written by `make bench-overhead`; that it is there is what `mkdocs build --strict` sees.
GENERATED = {DOCS / "assets/overhead.svg"}

LINK = re.compile(r"\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```(?:sh|bash|console)\n(.*?)^```", re.MULTILINE | re.DOTALL)
CALL = re.compile(r"(?:^|\| |uv run )headrace( [^#|>\n]*)?", re.MULTILINE)
CASE = re.compile(r"^\| (\d+) \|.*\| `(tests/\S+\.py)` \|$", re.MULTILINE)


def page(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def rows(text: str) -> list[list[str]]:
    """The cells of every table row."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line[1:-1].split("|")] for line in lines]


def row(text: str, first: str) -> list[str]:
    """The row that begins with this cell."""
    found = [cells for cells in rows(text) if cells[0] == first]
    assert found, f"no row for {first}"
    return found[0]


def section(text: str, heading: str) -> str:
    """What stands below a heading, up to the next one."""
    _, _, below = f"\n{text}".partition(f"\n{heading}\n")
    return re.split(r"^#+ ", below, maxsplit=1, flags=re.MULTILINE)[0]


# --- the API --------------------------------------------------------------------------------


@pytest.mark.parametrize("endpoint", routes.ALL, ids=lambda endpoint: endpoint.path)
def test_every_endpoint_is_documented(endpoint: routes.Endpoint) -> None:
    """Each endpoint has a row with its methods."""
    assert ", ".join(endpoint.methods) == row(page("api.md"), f"`{endpoint.path}`")[1]


def test_only_endpoints_are_documented() -> None:
    """The table lists nothing that is not there."""
    listed = [cells[0].strip("`") for cells in rows(section(page("api.md"), "## Endpoints"))[2:]]

    assert {endpoint.path for endpoint in routes.ALL} == set(listed)


def api_errors() -> Iterator[type[errors.ApiError]]:
    for thing in vars(errors).values():
        if isinstance(thing, type) and issubclass(thing, errors.ApiError):
            yield thing


ERRORS = [error for error in api_errors() if error is not errors.ApiError]


@pytest.mark.parametrize("error", ERRORS)
def test_every_error_is_documented(error: type[errors.ApiError]) -> None:
    """Each error has a row with its status, type, code and outcome, in both dialects."""
    _, status, kind, code, anthropic, outcome, _ = row(page("api.md"), f"`{error.__name__}`")

    if error is not errors.EngineError:  # its values are the engine's
        assert str(error.status) == status
        assert f"`{error.type}`" == kind
        assert code.startswith(f"`{error.code}`" if error.code else "none")
        assert f"`{error.anthropic_type}`" == anthropic
    assert f"`{error.outcome}`" in outcome


def test_every_other_error_is_documented() -> None:
    """Errors that no client sees are named, too."""
    text = page("api.md")
    named = [name for name, thing in vars(errors).items() if isinstance(thing, type)]

    assert [] == [name for name in named if f"`{name}`" not in text]


def spoken(word: str) -> Iterator[str]:
    """The texts that the source gives as ``code=`` or ``outcome=``."""
    texts = [path.read_text(encoding="utf-8") for path in SOURCES]
    trees = [ast.parse(text) for text in texts if f"{word}=" in text]
    for node in [node for tree in trees for node in ast.walk(tree)]:
        value = node.value if isinstance(node, ast.keyword) and node.arg == word else None
        if isinstance(value, ast.Constant) and isinstance(value.value, str):
            yield value.value


@pytest.mark.parametrize("word", ["code", "outcome"])
def test_every_code_and_outcome_is_documented(word: str) -> None:
    """What an error's code or outcome can be where it is raised is in the API's page."""
    text = page("api.md")

    assert [] == [value for value in spoken(word) if f"`{value}`" not in text]


def test_every_outcome_has_a_meaning() -> None:
    """The outcomes of the error tree are in the section that says what they mean."""
    text = section(page("api.md"), "## Outcomes")
    outcomes = {error.outcome for error in ERRORS}

    assert [] == sorted(outcome for outcome in outcomes if f"`{outcome}`" not in text)


def test_forwarded_headers_are_documented() -> None:
    """Each header that reaches an engine is in the list, and so is each that we say ourselves."""
    text = section(page("api.md"), "## Headers")
    names = {*headers.FORWARDED, *headers.FORWARDED_PREFIXES, *headers.REPLACED}

    assert [] == sorted(name.decode() for name in names if f"`{name.decode()}`" not in text)


def test_clocks_are_documented_with_their_defaults() -> None:
    """Each of the five clocks has a row with its default."""
    clocks = Config().timeouts.model_dump()

    assert {f"`{name}`": f"{seconds:g} s" for name, seconds in clocks.items()} == {
        cells[0]: cells[1] for cells in rows(section(page("api.md"), "## Clocks"))[2:]
    }


def test_retries_and_limits_are_documented_with_their_values() -> None:
    """Numbers that stand in the text are those that the source has."""
    text, retries, mib = page("api.md"), Retries(), 1024 * 1024
    server = Config().server

    for part in (
        ", ".join(str(status) for status in sorted(retries.statuses)),
        f"`retries.attempts` replicas were tried ({retries.attempts})",
        f"`retries.budget` ({retries.budget})",
        f"`retries.budget_min` ({retries.budget_min})",
        f"`server.max_body_bytes`, {server.max_body_bytes // mib} MiB",
        f"`server.max_inflight_bytes`, {server.max_inflight_bytes // mib // 1024} GiB",
        f"`server.max_header_bytes`, {server.max_header_bytes // 1024} KiB",
        f"{client.MAX_PIPELINED} behind the one",
        f"dropped after {pool.IDLE_S:g} s",
    ):
        assert part in text.replace("\n  ", " ")


# --- metrics and logs -----------------------------------------------------------------------


def families() -> list[Metric]:
    """All metrics of a gateway, the live ones too."""
    gateway = Gateway(Config())
    return list(gateway.metrics.registry.collect())


def exported(family: Metric) -> str:
    return f"{family.name}_total" if family.type == "counter" else family.name


@pytest.mark.parametrize("family", families(), ids=exported)
def test_every_metric_is_documented(family: Metric) -> None:
    """Each metric has a row with its type and its own help text."""
    _, kind, _, meaning = row(page("metrics.md"), f"`{exported(family)}`")

    assert (family.type, family.documentation) == (kind, meaning)


def test_only_metrics_are_documented() -> None:
    """No row is left of a metric that is gone."""
    listed = {cells[0].strip("`") for cells in rows(page("metrics.md"))}

    assert {exported(family) for family in families()} == {
        name for name in listed if name.startswith(("headrace_", "process_"))
    }


def test_metric_labels_are_documented() -> None:
    """The row of a metric names its labels."""
    arms = [{"name": "a"}, {"name": "b"}]
    rule = {"name": "r", "experiment": {"name": "e", "arms": arms}, "shadow": {"target": "m"}}
    backend = {"url": "http://a:1", "serves": ["m"], "kv_events": "tcp://a:2"}
    issuer = {"issuer": "https://id", "audience": "a", "jwks": "https://id/jwks"}
    tree = {"backends": [backend], "rules": [rule], "identity": {"jwt": [issuer]}}
    tree |= {"state": {"url": "redis://localhost"}}
    tree |= {"limits": {"tenants": {"acme": {"tokens_per_day": 1}}}}
    tree |= {"pressure": {"steps": [{"name": "s", "above_s": 1, "shed": True}]}}
    with_series = Gateway(Config.model_validate(tree))
    with_series.metrics.observe([record()])
    for replica in with_series.fleet.replicas.values():
        ward = with_series.keeper.ward(replica)
        assert ward is not None
        ward.load, ward.probe.took_s = LoadView(lora=Lora()), 0.001
        ward.probe.skew_s = 0.0
    with_series.sight.bill = Prices()
    with_series.sight.meet("t")
    with_series.certificates["edge"] = lambda: 1.0
    with_series.class_metrics.born(["fast", "reasoning"], "fast")
    with_series.guarding._metrics.born("g", ["input"])
    with_series.guarding._metrics.found("g", "JWT", 1)
    with_series.floor.tell("e", ("m",), "off", "idle")
    with_series.floor.started("m", "start", 1.0)
    with_series.floor.rested("m", "stop")
    with_series.floor.refuse(["m"], "no GPU", 1.0)
    assert with_series.state is not None
    with_series.state.meter.took("ping", 0.001)
    with_series.state.meter.failed("ping")
    with_series.quota.reject("tenant", "tokens_per_day")

    for family in with_series.metrics.registry.collect():
        labels = {label for sample in family.samples for label in sample.labels} - {"le"}
        cell = row(page("metrics.md"), f"`{exported(family)}`")[2]
        assert labels == set(re.findall(r"`(\w+)`", cell)), family.name


class Prices:
    """A bill with one line."""

    def costs(self) -> dict[tuple[str, ...], float]:
        return {("m", "EUR"): 1.0}


def record() -> Record:
    """A finished request with every field that the metrics read."""
    values: dict[str, Any] = dict.fromkeys(Record.__struct_fields__, 1)
    words = {"served": "m", "outcome": "completed", "endpoint": "/v1/responses"}
    words |= {"request_id": "r", "replica": "a:1"}
    return Record(**values | words | {"time": datetime.now(UTC)})


@pytest.mark.parametrize("field", Record.__struct_fields__)
def test_every_log_field_is_documented(field: str) -> None:
    """Each field of a request's log line has a row."""
    assert [field] == [
        name
        for cells in rows(section(page("metrics.md"), "## The log"))
        for name in re.findall(r"`(\w+)`", cells[0])
        if name == field
    ]


def test_every_event_is_documented() -> None:
    """Each event that the log may hold has a row."""
    text = page("metrics.md")
    sources = [path.read_text(encoding="utf-8") for path in SOURCES]
    named = re.compile(r'(?:\._?event\(\s*|"event": )"(\w+)"')
    events = set(named.findall("\n".join(sources))) - {"request"}

    assert events
    assert [] == sorted(event for event in events if f"| `{event}` |" not in text)


# --- the command line -----------------------------------------------------------------------


def commands(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Every command with the words that call it."""
    yield name, command
    if isinstance(command, TyperGroup):
        context = typer.Context(command, info_name=name)
        for child in command.list_commands(context):
            _, found, _ = command.resolve_command(context, [child])
            yield from commands(found, f"{name} {child}")


COMMANDS = dict(commands(typer.main.get_command(app), "headrace"))


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_documented(name: str) -> None:
    """Each command has a section with the first sentence of its help."""
    text = section(page("cli.md"), f"## `{name}`")
    first = (COMMANDS[name].help or "").split("\n")[0]

    assert text
    if name != "headrace":  # its help is what the front page says
        assert re.split(r"(?<=\.) ", first)[0] in text


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_documented(name: str) -> None:
    """Each option and argument has a row with all its spellings and its help."""
    text = section(page("cli.md"), f"## `{name}`")

    for parameter in COMMANDS[name].params:
        option = parameter.param_type_name == "option"
        spellings = parameter.opts if option else [parameter.metavar or "FILE"]
        if not getattr(parameter, "hidden", False) and "--help" not in spellings:
            cells = row(text, ", ".join(f"`{spelling}`" for spelling in spellings))
            assert parameter.help == cells[-1]


def test_only_options_are_documented() -> None:
    """The page names no option that is gone."""
    known = {
        option for command in COMMANDS.values() for param in command.params for option in param.opts
    }
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", page("cli.md")))

    assert set() == named - known - {"--help"}


def calls() -> Iterator[str]:
    """What stands behind ``headrace`` in the shell fences."""
    texts = [path.read_text(encoding="utf-8") for path in PAGES]
    for fence in [fence for text in texts for fence in FENCE.findall(text)]:
        yield from (found.strip() for found in CALL.findall(fence))


@pytest.mark.parametrize("call", sorted(set(calls())))
def test_commands_in_the_text_can_be_called(call: str) -> None:
    """Each call of headrace in a page is one that the command line understands."""
    command, words = COMMANDS["headrace"], call.split()
    name = "headrace"
    while isinstance(command, TyperGroup) and words and not words[0].startswith("-"):
        name = f"{name} {words.pop(0)}"
        assert name in COMMANDS
        command = COMMANDS[name]

    assert command.make_context(name, words, resilient_parsing=False)


# --- pages ----------------------------------------------------------------------------------


def anchors(text: str) -> set[str]:
    """The anchors of a page's headings, as the site makes them."""
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[\s]+", "-", re.sub(r"[^\w\s-]", "", t).strip().lower()) for t in titles}


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path: Path) -> None:
    """Every link within the repository leads to a file that is there, and to a heading in it."""
    for link in LINK.findall(path.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = (path.parent / name).resolve() if name else path
        assert target.exists() or target in GENERATED, link
        assert not anchor or anchor in anchors(target.read_text(encoding="utf-8")), link


@pytest.mark.parametrize("path", PAGES[1:], ids=lambda path: str(path.relative_to(DOCS)))
def test_every_page_can_be_reached(path: Path) -> None:
    """Every page, every decision too, is in the site's navigation, and another page links to it."""
    name = path.relative_to(DOCS).as_posix()
    others = [
        (other.parent / link.partition("#")[0]).resolve()
        for other in PAGES
        if other != path
        for link in LINK.findall(other.read_text(encoding="utf-8"))
    ]

    assert f": {name}\n" in (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    assert path in others or name == "index.md"


@pytest.mark.parametrize("path", sorted((DOCS / "decisions").glob("*.md")), ids=lambda p: p.stem)
def test_decisions_say_what_would_change_them(path: Path) -> None:
    """A decision has a number, a status, and says what it rests on and what would change it."""
    text = path.read_text(encoding="utf-8")
    number = int(path.stem[:4])

    assert text.startswith(f"# {number}. ")
    assert "**Status:** " in text
    assert ["Context", "Decision", "Consequences", "What would change our mind"] == re.findall(
        r"^## (.+)$", text, re.MULTILINE
    )


def test_every_edge_case_is_documented() -> None:
    """The 25 cases each have a row, which names the file that tests them."""
    cases = [(int(number), path) for number, path in CASE.findall(page("edge-cases.md"))]

    assert list(range(1, 26)) == [number for number, _ in cases]
    for number, path in cases:
        source = (ROOT / path).read_text(encoding="utf-8")
        assert f"test_case_{number:02}_" in source


@pytest.mark.parametrize("folder", ["edge", "vllm"])
def test_every_file_of_cases_is_documented(folder: str) -> None:
    """No file of these tests is missing from the page about edge cases."""
    text = page("edge-cases.md")
    files = [path.relative_to(ROOT).as_posix() for path in (ROOT / "tests" / folder).glob("test_*")]

    assert [] == sorted(name for name in files if f"`{name}`" not in text)


def test_every_bar_is_documented() -> None:
    """The bars of the overhead benchmark stand in the documentation, each with its limit."""
    text = section(page("benchmarks.md"), "## Bars")

    assert [[bar.text, f"{bar.sense} {bar.limit:g}"] for bar in BARS] == rows(text)[2:]


def test_results_are_included_not_typed() -> None:
    """The page of the benchmarks shows the file that the benchmark writes."""
    assert '--8<-- "benchmarks/overhead/results/latest.md"' in page("benchmarks.md")


def test_readme_is_short() -> None:
    """The README has at most 150 lines; it names two commands and the one that installs servers."""
    text = PAGES[0].read_text(encoding="utf-8")

    assert len(text.splitlines()) <= 150
    for part in ("uv run headrace up", "uv run pytest", "`scripts/install-servers`"):
        assert part in text


def test_architecture_is_short() -> None:
    """The page about the architecture has at most 200 lines."""
    assert len(page("architecture.md").splitlines()) <= 200


def test_every_room_is_on_the_map() -> None:
    """Each room of the source, and each room and file of the gateway, is in the page's tables."""
    text = page("architecture.md")
    source = ROOT / "src/headrace"
    rooms = [f"{path.parent.name}/" for path in source.glob("*/__init__.py")]
    rooms += [f"{path.parent.name}/" for path in source.glob("gateway/*/__init__.py")]
    files = [path.name for path in (source / "gateway").rglob("[!_]*.py")]

    named = {
        name
        for row in re.findall(r"^\| (?:\*\*)?(`.*?`)(?:\*\*)? \|", text, re.MULTILINE)
        for name in row.split(", ")
    }
    assert [] == sorted(name for name in (*rooms, *files) if f"`{name}`" not in named)
