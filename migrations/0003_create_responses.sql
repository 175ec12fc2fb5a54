-- Responses that clients may come back to. No foreign keys: what a row points at may expire before it.

CREATE TABLE responses (
    id TEXT NOT NULL PRIMARY KEY,
    team_id TEXT NOT NULL,
    previous_id TEXT, -- the response that this one goes on from
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL, -- from then on it is as if it were gone
    model TEXT NOT NULL,
    input TEXT NOT NULL,    -- JSON array: the items this request added
    output TEXT NOT NULL,   -- JSON array: the items of the answer
    response TEXT NOT NULL, -- JSON object: the answer, its output left out
    bytes BIGINT NOT NULL   -- of input and output
);
CREATE INDEX responses_expires_at ON responses (expires_at);
