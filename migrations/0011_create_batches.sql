-- Files, batches of records, and the shards that batches are run in. Bytes are in S3; a file is one object, or several that
-- are read one after the other.

CREATE TABLE files (
    id TEXT NOT NULL PRIMARY KEY,
    team_id TEXT NOT NULL,
    key_id TEXT NOT NULL,
    purpose TEXT NOT NULL,                -- batch, batch_output
    filename TEXT NOT NULL,
    origin TEXT NOT NULL,                 -- upload, inline (the body of a message batch), result
    state TEXT NOT NULL,                  -- uploading, ready, deleted
    form TEXT,                            -- openai, anthropic, bedrock; NULL: no line could be read
    bytes BIGINT NOT NULL,
    segments TEXT NOT NULL,               -- JSON array of {region, bucket, key, bytes}
    survey TEXT,                          -- JSON: what is known of its records
    upload_id TEXT,                       -- of S3, while it is uploading
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    deleted_at BIGINT
);
CREATE INDEX files_team ON files (team_id, created_at, id);
CREATE INDEX files_expiry ON files (state, expires_at);

CREATE TABLE batches (
    id TEXT NOT NULL PRIMARY KEY,
    team_id TEXT NOT NULL,
    key_id TEXT NOT NULL,
    surface TEXT NOT NULL,                -- openai, anthropic, bedrock
    endpoint TEXT NOT NULL,               -- /v1/chat/completions, /v1/responses, /v1/embeddings, /v1/messages, native
    model TEXT,                           -- of a native job, as its caller named it
    invocation TEXT,                      -- of a native job: Converse, InvokeModel
    input_file_id TEXT NOT NULL,
    output_file_id TEXT,
    error_file_id TEXT,
    state TEXT NOT NULL,                  -- validating, in_progress, finalizing, completed, failed, expired, cancelling, cancelled
    total BIGINT NOT NULL,                -- records
    estimate_micro_usd BIGINT,            -- NULL: unknown
    cost_micro_usd BIGINT NOT NULL,       -- of what is settled
    unpriced BIGINT NOT NULL,             -- records that were settled without a price
    metadata TEXT,                        -- JSON object of strings
    details TEXT,                         -- JSON: what the surface wants back
    errors TEXT,                          -- JSON array of {line, code, message, param}
    reason TEXT,                          -- what it waits for, or why it failed, for its owner
    webhook_url TEXT,
    created_at BIGINT NOT NULL,
    in_progress_at BIGINT,
    finalizing_at BIGINT,
    cancelling_at BIGINT,
    ended_at BIGINT,
    expires_at BIGINT NOT NULL,           -- end of the completion window
    deleted_at BIGINT,
    purged_at BIGINT,                     -- when its objects that are in no file were deleted
    lease_owner TEXT                      -- the process that works on it, of batch_workers
);
CREATE INDEX batches_team ON batches (team_id, created_at, id);
CREATE INDEX batches_state ON batches (state, created_at);
CREATE INDEX batches_owner ON batches (lease_owner, state);

-- Processes that work on batches. Whose time is over has lost its batches to whoever takes them.
CREATE TABLE batch_workers (
    id TEXT NOT NULL PRIMARY KEY,
    lease_until BIGINT NOT NULL
);

-- What waits for jobs of a model in a Region. Who takes a slot locks its row.
CREATE TABLE batch_queues (
    region TEXT NOT NULL,
    model_id TEXT NOT NULL,
    rests_until BIGINT NOT NULL,          -- AWS's own quota said no
    refusals BIGINT NOT NULL,             -- how often in a row
    PRIMARY KEY (region, model_id)
);

CREATE TABLE batch_shards (
    batch_id TEXT NOT NULL,
    number BIGINT NOT NULL,
    kind TEXT NOT NULL,                   -- job, online
    model TEXT NOT NULL,                  -- as the records name it
    model_id TEXT NOT NULL,               -- Bedrock's id of the model
    call_id TEXT NOT NULL,                -- what the job is made with: the model's id or a profile's; empty online
    region TEXT NOT NULL,
    bucket TEXT NOT NULL,
    invocation TEXT NOT NULL,             -- Converse, InvokeModel
    attempt BIGINT NOT NULL,              -- 1: first; a shard of records that failed for a passing reason is one more
    records BIGINT NOT NULL,
    bytes BIGINT NOT NULL,
    worst_micro_usd BIGINT NOT NULL,      -- its part of what the batch holds
    state TEXT NOT NULL,                  -- queued, submitting, submitted, collecting, settled
    job_state TEXT,                       -- AWS's word
    job_arn TEXT,                         -- AWS's, with the account
    why_online TEXT,
    reason TEXT,                          -- what it waits for, or what AWS said
    done BIGINT NOT NULL,                 -- records that have an answer or an error so far
    failed BIGINT NOT NULL,               -- of those, errors
    cancelled BIGINT NOT NULL,            -- of those, never run because the batch was cancelled
    expired BIGINT NOT NULL,              -- of those, never run because its window ended
    output TEXT,                          -- JSON array of segments, when it is collected
    errors TEXT,                          -- JSON array of segments, when it is collected
    queued_at BIGINT NOT NULL,
    submitted_at BIGINT,
    ended_at BIGINT,
    settled_at BIGINT,
    PRIMARY KEY (batch_id, number)
);
CREATE INDEX batch_shards_slots ON batch_shards (state, region, model_id);

-- Answers of a shard that runs online, until it is collected.
CREATE TABLE batch_answers (
    batch_id TEXT NOT NULL,
    shard BIGINT NOT NULL,
    record BIGINT NOT NULL,
    status BIGINT NOT NULL,               -- HTTP
    line TEXT NOT NULL,                   -- of the result
    cost_micro_usd BIGINT,                -- NULL: unknown
    PRIMARY KEY (batch_id, shard, record)
);

-- What is told to teams' webhooks, until it is delivered or given up.
CREATE TABLE webhook_events (
    id TEXT NOT NULL PRIMARY KEY,
    team_id TEXT NOT NULL,
    url TEXT NOT NULL,
    body TEXT NOT NULL,
    tries BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    next_at BIGINT NOT NULL,
    ended_at BIGINT,
    problem TEXT                          -- of the last try
);
CREATE INDEX webhook_events_next ON webhook_events (ended_at, next_at);

-- Whether a file is read by a batch.
CREATE INDEX batches_input ON batches (input_file_id, state);
