"""The SQL that writes the ledger, the same for SQLite and PostgreSQL. That of reports is theirs."""

from headrace.metering.rows import Row

_COLUMNS = ", ".join(Row.__struct_fields__)
_MARKS = ", ".join(f"${n}" for n in range(1, len(Row.__struct_fields__) + 1))

# A row that is there already is the same row: batches and files may be written twice.
INSERT_USAGE = f"INSERT INTO usage ({_COLUMNS}) VALUES ({_MARKS}) ON CONFLICT (id) DO NOTHING"  # noqa: S608 - constants

INSERT_PRICE = """
INSERT INTO price (version, currency, model, since, input, output, cached)
VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (version) DO NOTHING
"""

# Several gateways see the same replica; who saw more of a minute is right.
UPSERT_PRESENCE = """
INSERT INTO presence (minute, replica, up_s, busy_s) VALUES ($1, $2, $3, $4)
ON CONFLICT (minute, replica) DO UPDATE SET
    up_s = CASE WHEN excluded.up_s > presence.up_s THEN excluded.up_s ELSE presence.up_s END,
    busy_s = CASE WHEN excluded.busy_s > presence.busy_s
        THEN excluded.busy_s ELSE presence.busy_s END
"""

MEAN_OUTPUT = """
SELECT COALESCE(SUM(tokens_out), 0), COUNT(*) FROM usage
WHERE model = $1 AND outcome = 'completed' AND at_us >= $2
"""

FORGET = (
    "DELETE FROM usage WHERE at_us < $1",
    "DELETE FROM presence WHERE minute < $1",
)
