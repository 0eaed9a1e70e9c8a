-- Decision records (docs/explain.md): what a request met on its way and why, as JSON. The columns
-- beside it are for finding one.
CREATE TABLE decision (
    id              TEXT PRIMARY KEY,   -- ours: clients may repeat a request_id
    at_us           BIGINT NOT NULL,    -- when the request ended
    request_id      TEXT NOT NULL,
    trace_id        TEXT NOT NULL,
    tenant          TEXT NOT NULL,
    model           TEXT NOT NULL,
    replica         TEXT NOT NULL,
    outcome         TEXT NOT NULL,
    total_ms        DOUBLE PRECISION NOT NULL,
    record          TEXT NOT NULL
);

CREATE INDEX decision_request ON decision (request_id, at_us);
CREATE INDEX decision_at ON decision (at_us);
