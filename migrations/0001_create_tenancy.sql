-- Who may call: teams, their keys, and what administrators did about them.
-- Portable between SQLite and Postgres: TEXT ids, BIGINT milliseconds since the Unix epoch, JSON in TEXT.

CREATE TABLE teams (
    id TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    models TEXT,  -- JSON array of patterns; NULL: every model
    regions TEXT, -- JSON array of Region names; NULL: every Region
    created_at BIGINT NOT NULL
);

CREATE TABLE keys (
    id TEXT NOT NULL PRIMARY KEY,
    team_id TEXT NOT NULL REFERENCES teams (id),
    name TEXT NOT NULL,
    secret_sha256 TEXT NOT NULL, -- of the secret part alone, in lowercase hex
    scopes TEXT NOT NULL,        -- JSON array
    models TEXT,
    regions TEXT,
    created_at BIGINT NOT NULL,
    expires_at BIGINT,
    revoked_at BIGINT,
    last_use BIGINT
);
CREATE INDEX keys_team_id ON keys (team_id);

-- One row. Whoever changes a team or a key adds one, in the same transaction; serving processes watch it.
CREATE TABLE tenancy_version (
    id BIGINT NOT NULL PRIMARY KEY,
    version BIGINT NOT NULL
);
INSERT INTO tenancy_version (id, version) VALUES (1, 1);

CREATE TABLE audit (
    id TEXT NOT NULL PRIMARY KEY,
    at BIGINT NOT NULL,
    actor TEXT NOT NULL,
    action TEXT NOT NULL,
    subject TEXT NOT NULL, -- id of the team or key it was done to
    detail TEXT NOT NULL   -- JSON object
);
CREATE INDEX audit_at ON audit (at);
