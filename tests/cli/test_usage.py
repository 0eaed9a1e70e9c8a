"""``headrace usage``: tables for people, CSV and JSON for programs, times as people write them."""

import csv
import io
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from headrace.cli.app import app
from headrace.cli.usage import span
from headrace.config.pricebook import prices
from headrace.errors import ConfigError
from headrace.metering.prices import Book
from headrace.metering.report import MOST_US, at
from headrace.metering.rows import row
from headrace.metering.statements import INSERT_PRICE, INSERT_USAGE, UPSERT_PRESENCE
from headrace.metering.stores import Statement, open_store
from tests.metering.conftest import settings
from tests.metering.rows import NOON, a_record, values

PRICES = {
    "currency": "EUR",
    "tokens": [{"model": "m", "input": 0.15, "cached": 0.03, "output": 0.6}],
    "gpus": [{"replica": "gpu-*", "per_hour": 6}],
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A configuration whose ledger has three requests of two tenants, and an hour of a GPU."""
    config = settings(tmp_path, prices=PRICES)
    book = Book(prices(config))
    records = [
        a_record("1", tenant="acme"),
        a_record("2", tenant="acme", tokens_in=1_000_003, tokens_out=7),
        a_record("3", tenant="=cmd()", served="n"),
    ]
    rows = [values(row(record.request_id, record, book)) for record in records]
    minute = int(NOON.timestamp()) // 60
    (tariff,) = book.tariffs
    price = (
        tariff.version, tariff.currency, tariff.model, tariff.since, tariff.input, tariff.output,
        tariff.cached,
    )  # fmt: skip
    store = open_store(config)
    store.write(
        [
            Statement(INSERT_USAGE, rows),
            Statement(INSERT_PRICE, [price]),
            Statement(UPSERT_PRESENCE, [(minute + n, "gpu-1", 60.0, 15.0) for n in range(60)]),
        ]
    )
    store.close()
    whole = tmp_path / "headrace.yaml"
    tree = {"metering": {"url": f"sqlite:{tmp_path}/usage.db", "prices": PRICES}}
    whole.write_text(json.dumps(tree), encoding="utf-8")
    return whole


def call(*arguments: str, code: int = 0) -> str:
    done = CliRunner().invoke(app, ["usage", *arguments])
    assert code == done.exit_code, done.output
    return done.output


def asked(*arguments: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(call(*arguments, "--format", "json"))
    return found


def test_sums_are_exact_in_every_format(file: Path) -> None:
    """JSON and CSV have the same numbers, to the last micro-cent; the table has them, too."""
    arguments = ("-c", str(file), "--by", "tenant,model,day")
    listed = asked(*arguments)
    spread = list(csv.DictReader(io.StringIO(call(*arguments, "--format", "csv"))))
    table = call(*arguments)
    cost = 60 * 15 + 40 * 3 + 20 * 60 + (1_000_003 - 40) * 15 + 40 * 3 + 7 * 60

    assert [("=cmd()", "n", 1, "0.00000000"), ("acme", "m", 2, f"{cost / 10**8:.8f}")] == [
        (x["tenant"], x["model"], x["requests"], x["cost"]) for x in listed
    ]
    assert [x["cost"] for x in listed] == [x["cost"] for x in spread]
    assert all(str(x["cost"]) in table for x in listed)
    assert "'=cmd()" == spread[0]["tenant"]  # no formula for a spreadsheet


def test_statement_adds_up_to_usage(file: Path) -> None:
    """Its lines are what usage says of the tenant in the month; its table says the total."""
    (line,) = asked("statement", "-c", str(file), "--month", "2026-11", "--tenant", "acme")
    (total,) = asked("-c", str(file), "--tenant", "acme")
    table = call("statement", "-c", str(file), "--month", "2026-11")

    assert (total["cost"], total["requests"]) == (line["cost"], line["requests"])
    assert ("0.15", "0.03", "0.6", "EUR") == (
        line["price_in"], line["price_cached"], line["price_out"], line["currency"],
    )  # fmt: skip
    assert f"exactly {line['cost']}" in table


def test_cost_of_the_fleet(file: Path) -> None:
    """An hour at 6, three quarters of it idle, and what a thousand tokens came to."""
    one, fleet = asked("cost", "-c", str(file))

    assert ("gpu-1", 0.25, "6.0000", "4.5000", "0.005998") == (
        one["replica"], one["utilisation"], one["cost"], one["idle_cost"], one["per_1k_tokens"],
    )  # fmt: skip
    assert ("(all)", "6.0000") == (fleet["replica"], fleet["cost"])


def test_nothing_used(file: Path) -> None:
    """An empty time has no rows, and says so to people."""
    arguments = ("-c", str(file), "--since", "2020-01-01", "--until", "2020-01-02")

    assert [] == asked(*arguments)
    assert "Nothing was used in this time." in call(*arguments)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("--by", "colour"), "--by 'colour' is unknown; there are tenant, key, model"),
        (("--since", "yesterday"), "--since 'yesterday' is no time; write a day"),
        (("statement", "--month", "11"), "--month '11' is no month; write it like 2026-11."),
    ],
)
def test_what_is_wrong_is_told(file: Path, arguments: tuple[str, ...], text: str) -> None:
    """In one sentence with what would be right, and exit code 2."""
    command = [a for a in arguments if a == "statement"]
    rest = [a for a in arguments if a != "statement"]

    assert text in call(*command, "-c", str(file), *rest, code=2)


def test_no_ledger_is_told(tmp_path: Path) -> None:
    """Neither configured nor there."""
    empty = tmp_path / "empty.yaml"
    empty.write_text("server: {}\n", encoding="utf-8")
    away = tmp_path / "away.yaml"
    away.write_text(f"metering: {{url: 'sqlite:{tmp_path}/no.db'}}\n", encoding="utf-8")

    assert "set `metering.url`" in call("-c", str(empty), code=2)
    assert "There is no ledger at" in call("cost", "-c", str(away), code=2)


def test_times_are_as_people_write_them() -> None:
    """A day, a time with or without a zone, or how long ago; what is not given is open."""
    now = datetime(2026, 11, 21, 12, tzinfo=UTC)

    assert (0, MOST_US) == span(None, None, now)
    assert at(datetime(2026, 11, 1, tzinfo=UTC)) == span("2026-11-01", None, now).since_us
    assert (
        at(datetime(2026, 11, 1, 6, tzinfo=UTC))
        == span(None, "2026-11-01T08:00+02:00", now).until_us
    )
    assert at(datetime(2026, 11, 14, 12, tzinfo=UTC)) == span("7d", None, now).since_us
    with pytest.raises(ConfigError, match="how long ago"):
        span("7 d", None, now)
