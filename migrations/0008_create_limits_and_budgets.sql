-- What teams and keys may use and spend, and what else a team's calls carry.
-- `version` is the tenancy_version of the last change: serving processes read what is newer than what they know.

ALTER TABLE teams ADD COLUMN guardrail_id TEXT;
ALTER TABLE teams ADD COLUMN guardrail_version TEXT;
ALTER TABLE teams ADD COLUMN request_metadata TEXT;                          -- JSON object of strings
ALTER TABLE teams ADD COLUMN profiles TEXT;                                  -- JSON object: model -> ARN of an application inference profile
ALTER TABLE teams ADD COLUMN unknown_price TEXT NOT NULL DEFAULT 'refuse';   -- or allow_unpriced
ALTER TABLE teams ADD COLUMN revoked_at BIGINT;
ALTER TABLE teams ADD COLUMN version BIGINT NOT NULL DEFAULT 1;
CREATE INDEX teams_version ON teams (version);

ALTER TABLE keys ADD COLUMN networks TEXT;                                   -- JSON array of CIDRs; NULL: from anywhere
ALTER TABLE keys ADD COLUMN on_disconnect TEXT NOT NULL DEFAULT 'cancel';    -- or drain
ALTER TABLE keys ADD COLUMN sealed_secret TEXT;                              -- of a key that may sign as AWS clients do
ALTER TABLE keys ADD COLUMN previous_sha256 TEXT;                            -- the secret before the last rotation
ALTER TABLE keys ADD COLUMN previous_sealed TEXT;
ALTER TABLE keys ADD COLUMN previous_until BIGINT;
ALTER TABLE keys ADD COLUMN version BIGINT NOT NULL DEFAULT 1;
CREATE INDEX keys_version ON keys (version);

-- A row that was removed stays as a mark, so that serving processes learn of it.
CREATE TABLE limits (
    id TEXT NOT NULL PRIMARY KEY,
    subject_kind TEXT NOT NULL,          -- everyone, team, key
    subject_id TEXT NOT NULL,            -- empty for everyone
    model TEXT NOT NULL,                 -- a name, or the beginning of names and *; empty: every model
    requests_per_minute BIGINT,
    tokens_per_minute BIGINT,
    concurrent_requests BIGINT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    removed_at BIGINT,
    version BIGINT NOT NULL,
    UNIQUE (subject_kind, subject_id, model)
);
CREATE INDEX limits_version ON limits (version);

CREATE TABLE budgets (
    id TEXT NOT NULL PRIMARY KEY,
    subject_kind TEXT NOT NULL,          -- team, key
    subject_id TEXT NOT NULL,
    period TEXT NOT NULL,                -- day, week, month, total
    limit_micro_usd BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    removed_at BIGINT,
    version BIGINT NOT NULL,
    UNIQUE (subject_kind, subject_id, period)
);
CREATE INDEX budgets_version ON budgets (version);
