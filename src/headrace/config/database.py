"""Which databases a URL may name: the ledger's and the archive's. Opening them is metering/'s."""

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, SecretStr

SQLITE = "sqlite:"
POSTGRES = ("postgresql://", "postgres://")


def _named(url: SecretStr) -> SecretStr:
    text = url.get_secret_value()
    if text.startswith(SQLITE) and text.removeprefix(SQLITE).removeprefix("//"):
        return url
    if text.startswith(POSTGRES) and urlsplit(text).path.strip("/"):
        return url
    raise ValueError("must be sqlite:PATH or postgresql://user:password@host/database")


Database = Annotated[SecretStr, AfterValidator(_named)]
