-- What `verify` found, the latest ones, so that others than its terminal can show it.
create table diffmig.verification (
  verification_id bigint generated always as identity primary key,
  verified_at timestamptz not null default now(),
  -- The source's clock at its snapshot.
  snapshot_at timestamptz not null,
  mapping_digest text not null,
  -- The share of the keys in percent; null when all were compared.
  sample double precision,
  proved boolean not null,
  differences bigint not null,
  -- Per entity the counts and digests of the certificate and the first rows that differ: keys and a column, no values.
  entities jsonb not null
);

-- Requests over HTTP that began or took up a session and carried a key: the same key gives the same session again.
create table diffmig.request_key (
  key text primary key,
  -- What was asked for; another body under the same key is refused.
  body jsonb not null,
  session_id uuid not null references diffmig.session on delete cascade,
  resumed boolean not null,
  created_at timestamptz not null default now()
);
create index request_key_by_session on diffmig.request_key (session_id);
