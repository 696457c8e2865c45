-- An event is written once, also when the answer to its commit was lost and it is sent again: it carries the
-- journal that wrote it and its place there.
alter table diffmig.event add column journal uuid;
alter table diffmig.event add column ordinal bigint;
create unique index event_once on diffmig.event (journal, ordinal) where journal is not null;

-- With which exit code the process of a failed session ended; the other states tell it by themselves.
alter table diffmig.session add column exit_code smallint;

-- What the holder says of its process with each heartbeat.
alter table diffmig.lease_beat add column memory_bytes bigint;
alter table diffmig.lease_beat add column connections integer;

-- Where the time of a batch went: how long its writer waited for rows, how long they took to come from the source,
-- how long hashing and packing them took, and how long somebody's lock was waited for. NULL: nobody measured it.
alter table diffmig.batch add column idle_ms integer;
alter table diffmig.batch add column source_ms integer;
alter table diffmig.batch add column hash_ms integer;
alter table diffmig.batch add column lock_ms integer;
