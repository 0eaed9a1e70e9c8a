"""What a call is told that names what is not there; each part of the API says it in these words."""

from collections.abc import Iterable

from fastapi import HTTPException


def absent(what: str, name: str, known: Iterable[str]) -> HTTPException:
    """404, with the names that there are; ``what`` is the kind of thing."""
    there = ", ".join(known) or "none"
    return HTTPException(404, f"There is no {what} {name!r}; there are: {there}.")
