-- How many rows a batch added to its entity's ledger. With the rows counted once, their sum says how many there
-- are, without a look at all of them; NULL stands for a batch that was committed before this was noted.
alter table diffmig.batch add column ledger_rows bigint;
-- Rows of the ledger when the session with that number had ended; NULL when nobody can tell any more.
alter table diffmig.watermark add column ledger_rows bigint;
