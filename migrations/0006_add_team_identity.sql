-- Where a team's calls may go by geography, and the AWS role that they are made with.

ALTER TABLE teams ADD COLUMN geography TEXT; -- such as eu; NULL: anywhere
ALTER TABLE teams ADD COLUMN role_arn TEXT;  -- NULL: the gateway's own identity
