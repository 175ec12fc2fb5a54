-- The service tier that a call was served in, which is part of its price.

ALTER TABLE ledger ADD COLUMN tier TEXT NOT NULL DEFAULT 'default';
