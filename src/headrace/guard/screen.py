"""What comes of findings: a text without them, counts, or a refusal. Who looks is elsewhere."""

from collections import Counter
from collections.abc import Iterable, Sequence

from headrace.config.guards import Mode
from headrace.guard.quoting import Quotes
from headrace.guard.types import Finding

Found = tuple[str, Mode, Sequence[Finding]]
"""A guard's name and mode, and what it found in a text."""


class Refused(Exception):
    """A guard that blocks has found something; ``guard`` is its name, ``entities`` what it was."""

    def __init__(self, guard: str, entities: Iterable[str]) -> None:
        self.guard = guard
        self.entities = dict(Counter(entities))
        super().__init__(guard)


class Tally:
    """
    What was found in one request, over all of its texts: guard, mode and counts by entity;
    ``misses`` are guards that could not look. ``kept`` are the findings themselves, where the
    tenant allows that they are logged.
    """

    __slots__ = ("counts", "kept", "misses", "modes")

    def __init__(self, *, keeps: bool = False) -> None:
        self.counts: dict[str, Counter[str]] = {}
        self.modes: dict[str, Mode] = {}
        self.misses: dict[str, str] = {}
        self.kept: list[tuple[str, str, str]] | None = [] if keeps else None

    def add(self, guard: str, mode: Mode, entities: Iterable[str]) -> None:
        """Count what a guard found."""
        self.modes[guard] = mode
        self.counts.setdefault(guard, Counter()).update(entities)

    def keep(self, text: str, found: Iterable[Found], start: int = 0) -> None:
        """Keep the findings themselves from a place on, where that is allowed."""
        if self.kept is None:
            return
        for guard, _, findings in found:
            self.kept += [
                (guard, each.entity, text[each.start : each.end])
                for each in findings
                if each.end > start
            ]


def redacted(
    text: str,
    found: Iterable[Found],
    tally: Tally,
    start: int = 0,
    quotes: Quotes | None = None,
) -> str:
    """
    The text from ``start`` on, without what guards that redact found there.

    What lies before ``start`` is what detectors saw for context, and was judged already.
    ``quotes`` are those of a text that must stay JSON.

    Raises:
        Refused: a guard that blocks has found something.

    """
    spans: list[Finding] = []
    refusal: Refused | None = None
    for guard, mode, findings in found:
        fresh = [each for each in findings if each.end > start]
        if not fresh:
            continue
        tally.add(guard, mode, (each.entity for each in fresh))
        if mode == "redact":
            spans += fresh
        elif mode == "block" and refusal is None:
            refusal = Refused(guard, (each.entity for each in fresh))
    if refusal is not None:
        raise refusal
    if not spans and quotes is None:
        return text[start:]
    return _without(text, spans, start, quotes)


def _without(text: str, spans: list[Finding], start: int, quotes: Quotes | None) -> str:
    """Each span replaced by its entity's name; of overlapping ones the first, all of them gone."""
    parts, position = [], start
    for each in sorted(spans, key=lambda each: (each.start, -each.end)):
        if each.start >= position or each.start < start:
            before = text[position : max(position, each.start)]
            parts.append(before)
            name = f"<{each.entity}>"
            if quotes is not None:
                quotes.follow(before)
                name = quotes.name(name)
                quotes.follow(text[max(position, each.start) : each.end])
            parts.append(name)
        elif quotes is not None:
            quotes.follow(text[position : max(position, each.end)])
        position = max(position, each.end)
    rest = text[position:]
    if quotes is not None:
        quotes.follow(rest)
    return "".join([*parts, rest])
