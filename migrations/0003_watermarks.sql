-- From where on an entity's changes are unknown: the horizon of the last pass whose findings were all applied.
create table diffmig.watermark (
  entity text primary key,
  -- The oldest transaction that was still running then; what it wrote is looked at again.
  horizon bigint not null,
  -- The source's clock at that snapshot.
  seen_at timestamptz not null,
  -- What must be the same for the horizon to mean anything: database, server, timeline, tables, projection.
  ground jsonb not null,
  -- Rows of the joined or watched tables at that snapshot.
  watched_rows jsonb not null,
  -- Rows of the ledger that stand for a source row, counted when the session with that number had ended.
  live_rows bigint not null,
  session_number integer not null,
  -- Which slice of the keys was read in full last, and the keys that part the slices.
  slice integer not null,
  slice_keys jsonb,
  -- Why the shortcut is not taken any more.
  distrust text
);

alter table diffmig.detection add column horizon bigint;
alter table diffmig.detection_entity add column mode text not null default 'full';
alter table diffmig.detection_entity add column reason text not null default '';
alter table diffmig.detection_entity add column rows_read bigint not null default 0;
alter table diffmig.detection_entity add column could_miss text;
-- The watermark that holds once the detection is applied.
alter table diffmig.detection_entity add column watermark jsonb;
