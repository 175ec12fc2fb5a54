-- One row per call. No foreign keys: the record of a call outlives the team and key that made it.

CREATE TABLE ledger (
    id TEXT NOT NULL PRIMARY KEY,
    request_id TEXT NOT NULL,
    at BIGINT NOT NULL, -- when the call was settled
    team_id TEXT NOT NULL,
    key_id TEXT NOT NULL,
    surface TEXT NOT NULL,
    operation TEXT NOT NULL,
    model TEXT NOT NULL,
    region TEXT,
    input_tokens BIGINT NOT NULL,
    output_tokens BIGINT NOT NULL,
    cache_read_tokens BIGINT NOT NULL,
    cache_write_tokens BIGINT NOT NULL,
    cost_micro_usd BIGINT, -- NULL: the price is not known
    latency_ms BIGINT NOT NULL,
    ttft_ms BIGINT,
    attempts BIGINT NOT NULL,
    status BIGINT NOT NULL,
    outcome TEXT NOT NULL,
    usage_source TEXT NOT NULL,
    streamed BIGINT NOT NULL,
    end_user TEXT
);
CREATE INDEX ledger_at ON ledger (at);
CREATE INDEX ledger_team_id_at ON ledger (team_id, at);
