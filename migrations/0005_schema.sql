-- What both databases looked like, and what the mapping said, when a session had ended well.
create table diffmig.catalog_snapshot (
  side text not null check (side in ('source', 'target')),
  digest text not null,
  -- The tables that the mapping names, and the names of those beside them: no rows, no counts.
  structure jsonb not null,
  -- Sessions that saw it, by their numbers; null when somebody accepted it without one.
  first_session integer,
  last_session integer,
  taken_at timestamptz not null default now(),
  -- The latest one is what drift is measured by.
  seen_at timestamptz not null default now(),
  primary key (side, digest)
);

create table diffmig.mapping_version (
  digest text primary key,
  -- The mapping file, passwords of URLs in it masked; constants and codes that were written there are part of it.
  text text not null,
  first_session integer not null,
  last_session integer not null,
  first_at timestamptz not null default now(),
  last_at timestamptz not null default now()
);
