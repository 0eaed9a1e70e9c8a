"""database.py: URLs of databases."""

import pytest
from pydantic import SecretStr, TypeAdapter, ValidationError

from headrace.config.database import Database

Urls = TypeAdapter[SecretStr](Database)


@pytest.mark.parametrize("url", ["sqlite:a.db", "sqlite:///b.db", "postgres://u:p@h/d"])
def test_a_database(url: str) -> None:
    """A file of SQLite or a database of a PostgreSQL, as it was written."""
    assert url == Urls.validate_python(url).get_secret_value()


@pytest.mark.parametrize("url", ["", "sqlite:", "sqlite://", "postgres://h", "mysql://h/d"])
def test_no_database(url: str) -> None:
    """Anything else is refused with what would be right."""
    with pytest.raises(ValidationError, match="must be sqlite:PATH or postgresql://user"):
        Urls.validate_python(url)
