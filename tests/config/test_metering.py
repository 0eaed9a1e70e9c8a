"""The sections of metering: ledgers, and price books."""

from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest
from pydantic import ValidationError
from typer.testing import CliRunner

from headrace.cli.app import app
from headrace.config.dump import to_yaml
from headrace.config.load import load
from headrace.config.metering import Metering
from headrace.config.pricebook import prices
from headrace.config.schema import Config
from headrace.errors import ConfigError

BOOK = """\
currency: EUR
tokens:
  - model: m
    since: 2026-11-01
    input: 0.1
    output: 0.3
"""


@pytest.mark.parametrize("url", ["usage.db", "sqlite:", "mysql://a/b", "postgresql://host", ""])
def test_url_that_names_no_ledger_is_refused(url: str) -> None:
    """What would be right is told, and the url, which may hold a password, is not."""
    with pytest.raises(ValidationError, match="must be sqlite:PATH or postgresql://"):
        Metering.model_validate({"url": url})


def test_password_is_never_shown() -> None:
    """Not by `config show`, not in logs and errors."""
    url = "postgresql://me:s3cret@db/usage"
    config = Config.model_validate({"metering": {"url": url}})

    assert url == config.metering.address
    assert "postgresql://me:********@db/usage" == config.metering.shown
    assert "s3cret" not in to_yaml(config) + repr(config)


def test_prices_are_exact(tmp_path: Path) -> None:
    """A price is the decimal that was written, from the configuration and from a file."""
    file = tmp_path / "prices.yaml"
    file.write_text(BOOK, encoding="utf-8")
    whole = tmp_path / "headrace.yaml"
    whole.write_text(f"metering:\n  prices_file: {file}\n", encoding="utf-8")
    book = prices(load(whole, {}).metering)

    assert ("EUR", date(2026, 11, 1)) == (book.currency, book.tokens[0].since)
    assert (Decimal("0.1"), Decimal("0.3")) == (book.tokens[0].input, book.tokens[0].output)


def test_price_in_yaml_is_read_back(tmp_path: Path) -> None:
    """What `config show` prints is the same price book."""
    tokens = [{"model": "m", "since": "2026-11-01", "input": "0.1", "output": 3}]
    config = Config.model_validate({"metering": {"prices": {"tokens": tokens}}})
    file = tmp_path / "shown.yaml"
    file.write_text(to_yaml(config, reveal=True), encoding="utf-8")

    assert config.metering.prices == load(file, {}).metering.prices


@pytest.mark.parametrize(
    ("text", "where"),
    [
        (BOOK.replace("0.3", "-1"), ":6: tokens.0.output: "),
        (BOOK.replace("input", "inptu"), ":5: tokens.0.inptu: "),
        (BOOK + BOOK.partition("tokens:\n")[2], "two prices of the model 'm' since 2026-11-01"),
        ("- 1\n", ":1: "),
        ("tokens: [\n", "prices.yaml"),
    ],
)
def test_file_that_is_wrong_is_refused(text: str, where: str, tmp_path: Path) -> None:
    """With the line, and what is wrong there."""
    file = tmp_path / "prices.yaml"
    file.write_text(text, encoding="utf-8")

    with pytest.raises(ConfigError) as caught:
        prices(Metering(prices_file=file))
    assert where in str(caught.value)


def test_file_that_is_missing_is_refused(tmp_path: Path) -> None:
    """The setting and the file are named."""
    with pytest.raises(ConfigError, match=r"metering\.prices_file .*no\.yaml: No such file"):
        prices(Metering(prices_file=tmp_path / "no.yaml"))


def test_one_price_book() -> None:
    """Not one here and one in a file."""
    gpus = {"gpus": [{"replica": "*", "per_hour": 1}]}
    with pytest.raises(ValidationError, match="keep one of them"):
        Metering.model_validate({"prices": gpus, "prices_file": "prices.yaml"})


def test_check_reads_the_price_book(tmp_path: Path) -> None:
    """`headrace config check` tells what is wrong with its file, before a gateway is started."""
    whole = tmp_path / "headrace.yaml"
    whole.write_text(f"metering:\n  prices_file: {tmp_path}/no.yaml\n", encoding="utf-8")
    done = CliRunner().invoke(app, ["config", "check", str(whole)])

    assert 2 == done.exit_code
    assert "metering.prices_file" in done.output
