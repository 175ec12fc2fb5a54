-- Answers to calls with an Idempotency-Key, and calls that have none yet. No foreign keys: what a row belongs to may be gone
-- before it.

CREATE TABLE idempotent_answers (
    key_id TEXT NOT NULL,
    name TEXT NOT NULL,           -- the Idempotency-Key
    fingerprint TEXT NOT NULL,    -- SHA-256 of method, path and body, in lowercase hex
    owner TEXT NOT NULL,          -- who makes the call, or made it
    state TEXT NOT NULL,          -- running, answered, too_large
    lapses_at BIGINT NOT NULL,    -- running: from then on its owner counts as dead
    expires_at BIGINT NOT NULL,   -- from then on it is as if it were gone
    status BIGINT,
    headers TEXT,                 -- JSON array of pairs
    body TEXT,                    -- base64
    PRIMARY KEY (key_id, name)
);
CREATE INDEX idempotent_answers_expires_at ON idempotent_answers (expires_at);
