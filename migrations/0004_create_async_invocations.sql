-- Whose an asynchronous invocation is, and what was last heard of it. No foreign key: it outlives its team.

CREATE TABLE async_invocations (
    id TEXT NOT NULL PRIMARY KEY, -- Region/last part of the ARN
    team_id TEXT NOT NULL,
    arn TEXT NOT NULL,            -- AWS's, with the account
    model_arn TEXT NOT NULL,
    token TEXT,                   -- the caller's own
    status TEXT NOT NULL,         -- AWS's word
    failure TEXT,
    output_uri TEXT NOT NULL,     -- as the caller sees it
    submitted_at BIGINT NOT NULL,
    modified_at BIGINT,
    ended_at BIGINT
);
CREATE INDEX async_invocations_team ON async_invocations (team_id, submitted_at, id);
