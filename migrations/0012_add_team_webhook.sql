-- Who is told of a team's batches, and what those messages are signed with.

ALTER TABLE teams ADD COLUMN webhook_url TEXT;
ALTER TABLE teams ADD COLUMN webhook_secret TEXT;                            -- sealed; there is one where there is a URL
ALTER TABLE teams ADD COLUMN webhook_previous TEXT;                          -- the secret before the last rotation, sealed
ALTER TABLE teams ADD COLUMN webhook_previous_until BIGINT;
