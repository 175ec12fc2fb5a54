-- What is left of the ledger when its rows are as old as they may become: sums by UTC day. No foreign keys, as in the ledger.

CREATE TABLE usage_daily (
    id TEXT NOT NULL PRIMARY KEY, -- SHA-256 of the columns up to outcome, in lowercase hex: some of them have no bound
    day BIGINT NOT NULL,          -- since the Unix epoch, in UTC
    team_id TEXT NOT NULL,
    key_id TEXT NOT NULL,
    model TEXT NOT NULL,
    region TEXT NOT NULL,         -- empty: none answered
    tier TEXT NOT NULL,
    surface TEXT NOT NULL,
    operation TEXT NOT NULL,
    outcome TEXT NOT NULL,
    requests BIGINT NOT NULL,
    unpriced BIGINT NOT NULL,     -- requests whose price is not known
    input_tokens BIGINT NOT NULL,
    output_tokens BIGINT NOT NULL,
    cache_read_tokens BIGINT NOT NULL,
    cache_write_tokens BIGINT NOT NULL,
    cost_micro_usd BIGINT         -- of the others; NULL: there are none
);
CREATE INDEX usage_daily_day ON usage_daily (day);
CREATE INDEX usage_daily_team_id_day ON usage_daily (team_id, day);
CREATE INDEX usage_daily_key_id_day ON usage_daily (key_id, day);

-- What a key spent, and what it was used for.
CREATE INDEX ledger_key_id_at ON ledger (key_id, at);
