-- The control schema of diffmig. It lives in the target database, so that progress commits together with
-- the rows it describes. Nothing here is unlogged: an unlogged table is empty after a crash.
create schema diffmig;
revoke all on schema diffmig from public;

create table diffmig.installation (
  only_row boolean primary key default true check (only_row),
  installation_id uuid not null default gen_random_uuid(),
  schema_version integer not null,
  created_at timestamptz not null default now()
);

-- What became of a source row: applied (its content is in the target), quarantined (it cannot go),
-- held (it waits for a parent), conflicted (both sides changed and the target's edit was kept).
create type diffmig.outcome as enum ('applied', 'quarantined', 'held', 'conflicted');

create table diffmig.session (
  session_id uuid primary key,
  number integer generated always as identity unique,
  command text not null,
  state text not null default 'pending' check (state in ('pending', 'running', 'pausing', 'paused',
    'cancelling', 'cancelled', 'completed', 'completed_with_rejects', 'failed')),
  detection_id uuid,
  mapping_digest text not null,
  host text not null,
  process_id integer not null,
  version text not null,
  created_at timestamptz not null default now(),
  started_at timestamptz,
  finished_at timestamptz,
  error text,
  constraint finished_if_final check ((finished_at is not null)
    = (state in ('cancelled', 'completed', 'completed_with_rejects', 'failed')))
);
create unique index session_one_live on diffmig.session ((true))
  where state in ('pending', 'running', 'pausing', 'paused', 'cancelling');

create table diffmig.step (
  session_id uuid not null references diffmig.session on delete cascade,
  entity text not null,
  wave integer not null,
  state text not null default 'pending' check (state in ('pending', 'running', 'completed', 'failed')),
  rows_total bigint not null default 0,
  started_at timestamptz,
  finished_at timestamptz,
  error text,
  primary key (session_id, entity)
);

-- One row: who may write for this target. Changed only by acquire and takeover; every batch holds a share lock on it.
create table diffmig.lease (
  name text primary key,
  epoch bigint not null,
  session_id uuid,
  host text not null,
  process_id integer not null,
  acquired_at timestamptz not null default now()
);

-- The heartbeat and the operators' signal, apart from the lease so that renewing never waits for a batch.
create table diffmig.lease_beat (
  name text primary key references diffmig.lease on delete cascade,
  renewed_at timestamptz not null default now(),
  expires_at timestamptz not null,
  desired_state text not null default 'run' check (desired_state in ('run', 'pause', 'cancel'))
);

create table diffmig.detection (
  detection_id uuid primary key,
  mode text not null,
  mapping_digest text not null,
  source_identity jsonb not null,
  started_at timestamptz not null,
  finished_at timestamptz
);

create table diffmig.detection_entity (
  detection_id uuid not null references diffmig.detection on delete cascade,
  entity text not null,
  source_rows bigint not null,
  filtered bigint not null,
  unchanged bigint not null,
  new_rows bigint not null,
  modified bigint not null,
  deleted bigint not null,
  set_aside bigint not null,
  primary key (detection_id, entity)
);

-- One row per change; a run of new keys without a known key between them is one row with its last key.
create table diffmig.change (
  detection_id uuid not null references diffmig.detection on delete cascade,
  entity text not null,
  ordinal bigint not null,
  kind text not null check (kind in ('new', 'modified', 'deleted')),
  key jsonb not null,
  last_key jsonb,
  row_count bigint not null default 1,
  primary key (detection_id, entity, ordinal)
);

create table diffmig.checkpoint (
  session_id uuid not null references diffmig.session on delete cascade,
  entity text not null,
  range integer not null,
  last_key jsonb,
  rows_done bigint not null,
  updated_at timestamptz not null default now(),
  primary key (session_id, entity, range)
);

create table diffmig.batch (
  session_id uuid not null references diffmig.session on delete cascade,
  entity text not null,
  number integer not null,
  epoch bigint not null,
  rows_in bigint not null,
  inserted bigint not null,
  updated bigint not null,
  identical bigint not null,
  retired bigint not null,
  conflicted bigint not null,
  held bigint not null,
  quarantined bigint not null,
  elapsed_ms integer not null,
  committed_at timestamptz not null default now(),
  primary key (session_id, entity, number),
  constraint adds_up check (rows_in = inserted + updated + identical + retired + conflicted + held + quarantined)
);

create table diffmig.quarantine (
  entity text not null,
  key jsonb not null,
  status text not null check (status in ('open', 'held', 'conflict', 'waived', 'resolved')),
  sqlstate text not null,
  constraint_name text,
  reason text not null,
  attempts integer not null default 1,
  first_session uuid not null,
  last_session uuid not null,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  primary key (entity, key)
);

-- Rows that wait for a parent, or whose reference is NULL until the parent arrives.
create table diffmig.pending_reference (
  entity text not null,
  key jsonb not null,
  column_name text not null,
  parent_entity text not null,
  parent_key jsonb not null,
  primary key (entity, key, column_name)
);

create table diffmig.event (
  event_id bigint generated always as identity primary key,
  at timestamptz not null default clock_timestamp(),
  level text not null check (level in ('debug', 'info', 'warn', 'error')),
  session_id uuid,
  entity text,
  operation text not null,
  message text not null,
  context jsonb
);
create index event_by_session on diffmig.event (session_id, event_id);
