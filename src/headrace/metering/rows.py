"""
The ledger's rows: what a finished request leaves, and one that a crash has ended. Pure values;
where they are kept is not known here.
"""

from datetime import UTC, datetime

from msgspec import Struct

from headrace.metering.prices import Book
from headrace.telemetry.records import Record

# The outcome of a request whose gateway was gone before its end.
LOST = "lost"
# Outcomes after which the engine's work is charged although no token was seen.
CHARGED = frozenset({"completed", "client_gone", LOST})
# A count beyond this is an engine's mistake, and its cost would not fit into a column.
MOST_TOKENS = 1_000_000_000
# Of a client's name for a model; a database may refuse the character of no code.
NAME_LENGTH = 256
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# Of an answer that a crash ended, where the ledger knows no mean of its model.
EXPECTED_OUTPUT = 256


class Row(Struct, frozen=True, gc=False, array_like=True):
    """One request. The fields are the columns of the table ``usage``, in its order."""

    id: str
    at_us: int
    request_id: str
    tenant: str
    key_id: str
    endpoint: str
    asked: str
    model: str
    replica: str
    tokens_in: int
    tokens_out: int
    tokens_cached: int
    estimated: int
    queue_ms: float
    ttft_ms: float | None
    total_ms: float
    outcome: str
    status: int
    attempts: int
    price: str
    cost: int


class Begun(Struct, frozen=True, gc=False, array_like=True):
    """A request that has begun: what is needed to settle it by estimate should its end not come."""

    id: str
    at_us: int
    request_id: str
    tenant: str
    key_id: str
    endpoint: str
    asked: str
    model: str
    prompt_tokens: int
    max_tokens: int


def row(identity: str, record: Record, book: Book) -> Row:
    """
    What a finished request leaves.

    Tokens are those that count.
    """
    at_us = micros(record.time)
    asked, out, cached = counted(record)
    price, cost = book.charge(record.served, at_us, asked, out, cached)
    return Row(
        id=identity,
        at_us=at_us,
        request_id=record.request_id,
        tenant=record.tenant,
        key_id=record.key,
        endpoint=record.endpoint,
        asked=name(record.model),
        model=record.served,
        replica=record.replica,
        tokens_in=asked,
        tokens_out=out,
        tokens_cached=cached,
        estimated=int(record.estimated),
        queue_ms=record.decision.queue if record.decision is not None else 0.0,
        ttft_ms=record.ttft_ms,
        total_ms=record.total_ms,
        outcome=record.outcome,
        status=record.status,
        attempts=record.attempts,
        price=price,
        cost=cost,
    )


def counted(record: Record) -> tuple[int, int, int]:
    """
    Tokens in, out and cached that count: none where the client got an error and no token of an
    answer.
    """
    found = asked, out, cached = record.tokens_in, record.tokens_out, record.tokens_cached
    if min(found) < 0 or max(found) > MOST_TOKENS:
        asked, out, cached = map(_count, found)
    spent = record.attempts and (record.outcome in CHARGED or (record.status < 400 and out))
    return (asked, out, cached) if spent else (0, 0, 0)


def lost(begun: Begun, mean_output: float | None, book: Book) -> Row:
    """
    The estimate for a request that a crash has ended: its prompt, and the mean answer of its
    model, as long as the client allowed.
    """
    out = EXPECTED_OUTPUT if mean_output is None else round(mean_output)
    if begun.max_tokens:
        out = min(out, begun.max_tokens)
    price, cost = book.charge(begun.model, begun.at_us, begun.prompt_tokens, out, 0)
    return Row(
        id=begun.id,
        at_us=begun.at_us,
        request_id=begun.request_id,
        tenant=begun.tenant,
        key_id=begun.key_id,
        endpoint=begun.endpoint,
        asked=name(begun.asked),
        model=begun.model,
        replica="",
        tokens_in=begun.prompt_tokens,
        tokens_out=out,
        tokens_cached=0,
        estimated=1,
        queue_ms=0.0,
        ttft_ms=None,
        total_ms=0.0,
        outcome=LOST,
        status=0,
        attempts=1,
        price=price,
        cost=cost,
    )


def name(given: str) -> str:
    """A client's name for a model as every database takes it."""
    kept = given[:NAME_LENGTH].replace("\0", "")
    return kept.encode("utf-8", "replace").decode()


def _count(tokens: int) -> int:
    return max(0, min(tokens, MOST_TOKENS))


def micros(at: datetime) -> int:
    """Microseconds since 1970, exactly."""
    passed = at - EPOCH
    return (passed.days * 86_400 + passed.seconds) * 1_000_000 + passed.microseconds
