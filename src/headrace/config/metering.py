"""Where usage is kept, how safely, and what it costs. Keeping it is the metering room's."""

from pathlib import Path
from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from headrace.config.database import Database
from headrace.config.prices import Prices
from headrace.config.section import MIB, Seconds, Section

MASK = "********"


class Metering(Section):
    """The ledger of usage: one row for each request."""

    url: Database | None = Field(
        default=None,
        description="The ledger: sqlite:PATH, or postgresql://user:password@host/database (extra"
        " `postgres`); by default nothing is kept.",
    )
    durability: Literal["batch", "strict"] = Field(
        default="batch",
        description="What a crash may lose: `batch` the requests of the latest interval; `strict`"
        " none whose answer was complete, for a few ms before its last bytes.",
    )
    interval_s: Seconds = Field(
        default=0.2, description="How often rows are written; what a crash may lose with `batch`."
    )
    batch_rows: int = Field(
        default=1000, ge=1, le=10_000, description="Rows in one transaction at most."
    )
    timeout_s: Seconds = Field(
        default=5.0, description="How long the ledger may take; then it counts as down."
    )
    hold_s: Seconds = Field(
        default=1.0,
        description="With `strict`, how long the end of an answer may wait for a disk that hangs.",
    )
    spill_dir: Path = Field(
        default=Path("~/.local/state/headrace/metering"),
        description="Folder for rows that are not in the ledger yet; on a disk that stays.",
    )
    spill_bytes: int = Field(
        default=256 * MIB,
        ge=64 * 1024,
        description="Size of these files at most; beyond it rows are dropped, and counted.",
    )
    retention_days: int | None = Field(
        default=None, ge=1, description="Rows older than this are removed; by default none are."
    )
    prices: Prices = Prices()
    prices_file: Path | None = Field(
        default=None, description="The price book in a file of its own, instead of `prices`."
    )

    @model_validator(mode="after")
    def _one_book(self) -> Self:
        if self.prices_file is not None and (self.prices.tokens or self.prices.gpus):
            raise ValueError("has both `prices` and `prices_file`; keep one of them")
        return self

    @property
    def address(self) -> str:
        """The ledger's URL; empty where nothing is kept."""
        return self.url.get_secret_value() if self.url is not None else ""

    @property
    def shown(self) -> str:
        """The ledger's URL for people, without its password."""
        parts = urlsplit(self.address)
        if parts.password is None:
            return self.address
        return self.address.replace(f":{parts.password}@", f":{MASK}@", 1)
