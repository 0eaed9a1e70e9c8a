"""past.py: what the ledger knows to be used since a time."""

from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from headrace.errors import ConfigError, StartError
from headrace.metering.past import Spent, past
from headrace.metering.rows import Row, micros
from headrace.metering.statements import INSERT_USAGE
from headrace.metering.stores import Statement, open_store
from tests.metering.conftest import settings
from tests.metering.rows import a_row, values

MONTH, DAY = datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 11, 22, tzinfo=UTC)
SINCE_S = {"month": MONTH.timestamp(), "day": DAY.timestamp()}


def keep(folder: Path, *rows: Row) -> None:
    with closing(open_store(settings(folder))) as store:
        store.write([Statement(INSERT_USAGE, [values(row) for row in rows])])


def test_by_whom(tmp_path: Path) -> None:
    """Tokens of prompts and answers and the cost, by tenant, key and model, of each span."""
    keep(
        tmp_path,
        a_row("1", tenant="a", key_id="k", model="m", at_us=micros(MONTH) - 1, cost=1),
        a_row("2", tenant="a", key_id="k", model="m", at_us=micros(MONTH), cost=2),
        a_row("3", tenant="a", key_id="k", model="m", at_us=micros(DAY), cost=4),
        a_row("4", tenant="b", key_id="l", model="n", at_us=micros(DAY), cost=8),
    )

    assert {
        "month": (Spent("a", "k", "m", 240, 6), Spent("b", "l", "n", 120, 8)),
        "day": (Spent("a", "k", "m", 120, 4), Spent("b", "l", "n", 120, 8)),
    } == past(settings(tmp_path), SINCE_S)


def test_without_a_ledger(tmp_path: Path) -> None:
    """One that is not there yet, or not configured, is said to be so."""
    with pytest.raises(StartError, match="There is no ledger at"):
        past(settings(tmp_path), SINCE_S)
    with pytest.raises(ConfigError, match="No ledger is configured"):
        past(settings(tmp_path).model_copy(update={"url": None}), SINCE_S)
