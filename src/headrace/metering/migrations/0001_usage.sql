-- The ledger. The same text for SQLite and PostgreSQL; times are microseconds since 1970 (UTC),
-- costs micro-cents: hundred-millionths of the currency.

CREATE TABLE usage (
    id              TEXT PRIMARY KEY,   -- ours: clients may repeat a request_id
    at_us           BIGINT NOT NULL,    -- when the request ended
    request_id      TEXT NOT NULL,
    tenant          TEXT NOT NULL,
    key_id          TEXT NOT NULL,
    endpoint        TEXT NOT NULL,
    asked           TEXT NOT NULL,      -- the name that the client used
    model           TEXT NOT NULL,      -- the declared model that answered
    replica         TEXT NOT NULL,
    tokens_in       BIGINT NOT NULL,
    tokens_out      BIGINT NOT NULL,
    tokens_cached   BIGINT NOT NULL,    -- a part of tokens_in
    estimated       BIGINT NOT NULL,    -- 1: the engine reported no usage, the counts are ours
    queue_ms        DOUBLE PRECISION NOT NULL,
    ttft_ms         DOUBLE PRECISION,   -- of streams
    total_ms        DOUBLE PRECISION NOT NULL,
    outcome         TEXT NOT NULL,
    status          BIGINT NOT NULL,
    attempts        BIGINT NOT NULL,
    price           TEXT NOT NULL,      -- version in the table price, empty: none
    cost            BIGINT NOT NULL
);

CREATE INDEX usage_at ON usage (at_us);
CREATE INDEX usage_tenant_at ON usage (tenant, at_us);

-- The prices that were ever charged, so that a bill can be explained later.
-- Micro-cents for a million tokens.
CREATE TABLE price (
    version         TEXT PRIMARY KEY,
    currency        TEXT NOT NULL,
    model           TEXT NOT NULL,
    since           TEXT NOT NULL,
    input           BIGINT NOT NULL,
    output          BIGINT NOT NULL,
    cached          BIGINT NOT NULL
);

-- When replicas were there, and when they had requests in hand: seconds of each minute.
CREATE TABLE presence (
    minute          BIGINT NOT NULL,    -- since 1970
    replica         TEXT NOT NULL,
    up_s            DOUBLE PRECISION NOT NULL,
    busy_s          DOUBLE PRECISION NOT NULL,
    PRIMARY KEY (minute, replica)
);
