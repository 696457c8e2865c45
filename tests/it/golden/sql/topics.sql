-- source: whole entity
select "t"."id"::bigint, ("t"."parent_id")::bigint, (btrim(regexp_replace(("t"."title")::text, '\s+', ' ', 'g'),
E' \t\n\r\f\x0b'))::text, ("t"."position")::int4, (("t"."created_at")::timestamp at time zone 'America/Denver')::timestamptz, (case
when ((btrim(regexp_replace(("t"."title")::text, '\s+', ' ', 'g'),
E' \t\n\r\f\x0b'))::text) is null then '23502|NULL in a required column|title'
when ((("t"."created_at")::timestamp at time zone 'America/Denver')::timestamptz) is null then '23502|NULL in a required column|created_at' end)::text, case
when isfinite("t"."created_at") then (extract(epoch
from "t"."created_at") * 1000)::bigint end
from "public"."shop_topic" as "t" order by "t"."id"

-- source: key range
select "t"."id"::bigint, ("t"."parent_id")::bigint, (btrim(regexp_replace(("t"."title")::text, '\s+', ' ', 'g'),
E' \t\n\r\f\x0b'))::text, ("t"."position")::int4, (("t"."created_at")::timestamp at time zone 'America/Denver')::timestamptz, (case
when ((btrim(regexp_replace(("t"."title")::text, '\s+', ' ', 'g'),
E' \t\n\r\f\x0b'))::text) is null then '23502|NULL in a required column|title'
when ((("t"."created_at")::timestamp at time zone 'America/Denver')::timestamptz) is null then '23502|NULL in a required column|created_at' end)::text, case
when isfinite("t"."created_at") then (extract(epoch
from "t"."created_at") * 1000)::bigint end
from "public"."shop_topic" as "t"
where ("t"."id") >= ('1'::bigint) and ("t"."id") <= ('9'::bigint) order by "t"."id"

-- source: since a time
select "t"."id"::bigint, ("t"."parent_id")::bigint, (btrim(regexp_replace(("t"."title")::text, '\s+', ' ', 'g'),
E' \t\n\r\f\x0b'))::text, ("t"."position")::int4, (("t"."created_at")::timestamp at time zone 'America/Denver')::timestamptz, (case
when ((btrim(regexp_replace(("t"."title")::text, '\s+', ' ', 'g'),
E' \t\n\r\f\x0b'))::text) is null then '23502|NULL in a required column|title'
when ((("t"."created_at")::timestamp at time zone 'America/Denver')::timestamptz) is null then '23502|NULL in a required column|created_at' end)::text, case
when isfinite("t"."created_at") then (extract(epoch
from "t"."created_at") * 1000)::bigint end
from "public"."shop_topic" as "t" order by "t"."id"

-- source: keys
select "t"."id"::bigint
from "public"."shop_topic" as "t" order by "t"."id"

-- source: keys as bits
select "t"."id"::bigint >> 6, bit_or(1::bigint << ("t"."id"::bigint & 63)::integer)
from "public"."shop_topic" as "t" group by 1

-- source: slice
select "t"."id"::bigint, ("t"."parent_id")::bigint, (btrim(regexp_replace(("t"."title")::text, '\s+', ' ', 'g'),
E' \t\n\r\f\x0b'))::text, ("t"."position")::int4, (("t"."created_at")::timestamp at time zone 'America/Denver')::timestamptz, (case
when ((btrim(regexp_replace(("t"."title")::text, '\s+', ' ', 'g'),
E' \t\n\r\f\x0b'))::text) is null then '23502|NULL in a required column|title'
when ((("t"."created_at")::timestamp at time zone 'America/Denver')::timestamptz) is null then '23502|NULL in a required column|created_at' end)::text, case
when isfinite("t"."created_at") then (extract(epoch
from "t"."created_at") * 1000)::bigint end
from "public"."shop_topic" as "t"
where ("t"."id") >= ('3'::bigint) and ("t"."id") < ('8'::bigint) order by "t"."id"

-- source: key list
select "t"."id"::bigint, ("t"."parent_id")::bigint, (btrim(regexp_replace(("t"."title")::text, '\s+', ' ', 'g'),
E' \t\n\r\f\x0b'))::text, ("t"."position")::int4, (("t"."created_at")::timestamp at time zone 'America/Denver')::timestamptz, (case
when ((btrim(regexp_replace(("t"."title")::text, '\s+', ' ', 'g'),
E' \t\n\r\f\x0b'))::text) is null then '23502|NULL in a required column|title'
when ((("t"."created_at")::timestamp at time zone 'America/Denver')::timestamptz) is null then '23502|NULL in a required column|created_at' end)::text, case
when isfinite("t"."created_at") then (extract(epoch
from "t"."created_at") * 1000)::bigint end
from "public"."shop_topic" as "t"
where "t"."id" = any('{3,-4}'::bigint[]) order by "t"."id"

-- source: rows of the relation
select count(*)
from "public"."shop_topic" as "t"

-- source: rows that pass
select count(*)
from "public"."shop_topic" as "t"

-- ledger: create
create table if not exists diffmig."ledger_topics" (k0 bigint not null, target_id uuid not null, row_hash bytea not null, applied_hash bytea, target_xmin xid, outcome diffmig.outcome not null default 'applied', pending boolean not null default false, session_number integer not null, deleted_at timestamptz) with (fillfactor = 90)

-- ledger: read
select k0, row_hash, case
when deleted_at is null and outcome = 'applied' then 'a'::"char"
when outcome in ('applied', 'conflicted') and deleted_at is not null then 'd'::"char"
when outcome = 'conflicted' then 'c'::"char"
when outcome = 'quarantined' then case
when target_xmin is null or deleted_at is not null then 'q'::"char" else 'Q'::"char" end
when outcome = 'held' then case
when target_xmin is null or deleted_at is not null then 'h'::"char" else 'H'::"char" end else 'u'::"char" end
from diffmig."ledger_topics" order by k0

-- ledger: read keys
select k0, row_hash, case
when deleted_at is null and outcome = 'applied' then 'a'::"char"
when outcome in ('applied', 'conflicted') and deleted_at is not null then 'd'::"char"
when outcome = 'conflicted' then 'c'::"char"
when outcome = 'quarantined' then case
when target_xmin is null or deleted_at is not null then 'q'::"char" else 'Q'::"char" end
when outcome = 'held' then case
when target_xmin is null or deleted_at is not null then 'h'::"char" else 'H'::"char" end else 'u'::"char" end
from diffmig."ledger_topics"
where k0 = any('{3,-4}'::bigint[]) order by k0

-- ledger: read a slice
select k0, row_hash, case
when deleted_at is null and outcome = 'applied' then 'a'::"char"
when outcome in ('applied', 'conflicted') and deleted_at is not null then 'd'::"char"
when outcome = 'conflicted' then 'c'::"char"
when outcome = 'quarantined' then case
when target_xmin is null or deleted_at is not null then 'q'::"char" else 'Q'::"char" end
when outcome = 'held' then case
when target_xmin is null or deleted_at is not null then 'h'::"char" else 'H'::"char" end else 'u'::"char" end
from diffmig."ledger_topics"
where (k0) >= ('3'::bigint) order by k0

-- ledger: read what is open
select k0, row_hash, case
when deleted_at is null and outcome = 'applied' then 'a'::"char"
when outcome in ('applied', 'conflicted') and deleted_at is not null then 'd'::"char"
when outcome = 'conflicted' then 'c'::"char"
when outcome = 'quarantined' then case
when target_xmin is null or deleted_at is not null then 'q'::"char" else 'Q'::"char" end
when outcome = 'held' then case
when target_xmin is null or deleted_at is not null then 'h'::"char" else 'H'::"char" end else 'u'::"char" end
from diffmig."ledger_topics"
where outcome > 'applied' and (outcome <> 'applied' or deleted_at is not null or pending) and (deleted_at is null or outcome not in ('applied', 'conflicted')) order by k0

-- ledger: keys as bits
select k0 >> 6, bit_or(1::bigint << (k0 & 63)::integer)
from diffmig."ledger_topics"
where (deleted_at is null or outcome not in ('applied', 'conflicted')) group by 1

-- ledger: count
select count(*)
from diffmig."ledger_topics"
where (deleted_at is null or outcome not in ('applied', 'conflicted'))

-- ledger: count what is gone
select count(*)
from diffmig."ledger_topics"
where outcome in ('applied', 'conflicted') and deleted_at is not null

-- ledger: count by outcome, all rows
with g as materialized (select key
from diffmig.quarantine
where entity = 'topics' and status = 'waived'),
a as materialized (select count(*) as n
from diffmig."ledger_topics")
select (select n
from a) - count(*) + count(*) filter (where outcome = 'applied' and deleted_at is null),
count(*) filter (where outcome = 'quarantined'),
count(*) filter (where outcome = 'held'),
count(*) filter (where outcome = 'conflicted' and deleted_at is null),
count(*) filter (where deleted_at is not null and outcome in ('applied', 'conflicted')),
count(*) filter (where pending),
count(*) filter (where outcome = 'conflicted' and deleted_at is not null or outcome not in ('applied', 'quarantined', 'held', 'conflicted')),
(select count(*)
from g join diffmig."ledger_topics" l on l.k0 = (g.key ->> 0)::bigint
where l.outcome <> 'applied'),
(select n
from a) - count(*) + count(*) filter (where (deleted_at is null or outcome not in ('applied', 'conflicted'))),
(select n
from a)
from diffmig."ledger_topics"
where (outcome <> 'applied' or deleted_at is not null or pending)

-- ledger: count by outcome, special rows only
with g as materialized (select key
from diffmig.quarantine
where entity = 'topics' and status = 'waived'),
a as materialized (select 1000::bigint as n)
select (select n
from a) - count(*) + count(*) filter (where outcome = 'applied' and deleted_at is null),
count(*) filter (where outcome = 'quarantined'),
count(*) filter (where outcome = 'held'),
count(*) filter (where outcome = 'conflicted' and deleted_at is null),
count(*) filter (where deleted_at is not null and outcome in ('applied', 'conflicted')),
count(*) filter (where pending),
count(*) filter (where outcome = 'conflicted' and deleted_at is not null or outcome not in ('applied', 'quarantined', 'held', 'conflicted')),
(select count(*)
from g join diffmig."ledger_topics" l on l.k0 = (g.key ->> 0)::bigint
where l.outcome <> 'applied'),
(select n
from a) - count(*) + count(*) filter (where (deleted_at is null or outcome not in ('applied', 'conflicted'))),
(select n
from a)
from diffmig."ledger_topics"
where (outcome <> 'applied' or deleted_at is not null or pending)

-- source: since a horizon
select "t"."id"::bigint, ("t"."parent_id")::bigint, (btrim(regexp_replace(("t"."title")::text, '\s+', ' ', 'g'),
E' \t\n\r\f\x0b'))::text, ("t"."position")::int4, (("t"."created_at")::timestamp at time zone 'America/Denver')::timestamptz, (case
when ((btrim(regexp_replace(("t"."title")::text, '\s+', ' ', 'g'),
E' \t\n\r\f\x0b'))::text) is null then '23502|NULL in a required column|title'
when ((("t"."created_at")::timestamp at time zone 'America/Denver')::timestamptz) is null then '23502|NULL in a required column|created_at' end)::text, case
when isfinite("t"."created_at") then (extract(epoch
from "t"."created_at") * 1000)::bigint end
from "public"."shop_topic" as "t"
where (pg_catalog.xidsend("t".xmin) >= '\xfffffffa'::bytea or pg_catalog.xidsend("t".xmin) <= '\x00000004'::bytea) order by "t"."id"

-- source: since a horizon, on PostgreSQL 14
select "t"."id"::bigint, ("t"."parent_id")::bigint, (btrim(regexp_replace(("t"."title")::text, '\s+', ' ', 'g'),
E' \t\n\r\f\x0b'))::text, ("t"."position")::int4, (("t"."created_at")::timestamp at time zone 'America/Denver')::timestamptz, (case
when ((btrim(regexp_replace(("t"."title")::text, '\s+', ' ', 'g'),
E' \t\n\r\f\x0b'))::text) is null then '23502|NULL in a required column|title'
when ((("t"."created_at")::timestamp at time zone 'America/Denver')::timestamptz) is null then '23502|NULL in a required column|created_at' end)::text, case
when isfinite("t"."created_at") then (extract(epoch
from "t"."created_at") * 1000)::bigint end
from "public"."shop_topic" as "t"
where ("t".xmin = any ('{4294967290,4294967291,4294967292,4294967293,4294967294,4294967295,0,1,2,3}'::xid[])) order by "t"."id"

-- source: since a horizon, from a block on
select "t"."id"::bigint, ("t"."parent_id")::bigint, (btrim(regexp_replace(("t"."title")::text, '\s+', ' ', 'g'),
E' \t\n\r\f\x0b'))::text, ("t"."position")::int4, (("t"."created_at")::timestamp at time zone 'America/Denver')::timestamptz, (case
when ((btrim(regexp_replace(("t"."title")::text, '\s+', ' ', 'g'),
E' \t\n\r\f\x0b'))::text) is null then '23502|NULL in a required column|title'
when ((("t"."created_at")::timestamp at time zone 'America/Denver')::timestamptz) is null then '23502|NULL in a required column|created_at' end)::text, case
when isfinite("t"."created_at") then (extract(epoch
from "t"."created_at") * 1000)::bigint end
from "public"."shop_topic" as "t"
where "t".ctid >= '(41,0)'::tid and ("t".xmin = any ('{4294967290,4294967291,4294967292,4294967293,4294967294,4294967295,0,1,2,3}'::xid[])) order by "t"."id"

-- source: keys counted by ranges
select diffmig_range.place, (select count(*)
from "public"."shop_topic" as "t"
where "t"."id" >= diffmig_range.low and "t"."id" <= diffmig_range.high)
from rows
from (pg_catalog.unnest('{1,10}'::bigint[]),
pg_catalog.unnest('{9,99}'::bigint[])) with ordinality as diffmig_range (low, high, place)

-- source: keys of some ranges as bits
select diffmig_key.key >> 6, bit_or(1::bigint << (diffmig_key.key & 63)::integer)
from rows
from (pg_catalog.unnest('{1,10}'::bigint[]),
pg_catalog.unnest('{9,99}'::bigint[])) with ordinality as diffmig_range (low, high, place) cross join lateral (select "t"."id"::bigint as key
from "public"."shop_topic" as "t"
where "t"."id" >= diffmig_range.low and "t"."id" <= diffmig_range.high offset 0) diffmig_key group by 1

-- stage: create
drop table if exists pg_temp.diffmig_stage; create temporary table diffmig_stage (k0 bigint, c0 bigint, c1 text, c2 int4, c3 timestamptz, fault text, new_id uuid, row_hash bytea, n integer, seen xid) on commit preserve rows; create index on pg_temp.diffmig_stage (c0); create index on pg_temp.diffmig_stage (k0)

-- stage: fill
copy pg_temp.diffmig_stage (k0, c0, c1, c2, c3, fault, new_id, row_hash, n)
from stdin (format binary)

-- stage: forget earlier findings
update diffmig.quarantine q set status = 'resolved', updated_at = now()
from pg_temp.diffmig_stage s
where q.entity = 'topics' and q.key = jsonb_build_array(s.k0) and q.status <> 'resolved'; delete
from diffmig.pending_reference w using pg_temp.diffmig_stage s
where w.entity = 'topics' and w.key = jsonb_build_array(s.k0)

-- apply
with recursive stuck (k0) as (select s.k0
from pg_temp.diffmig_stage s
left join diffmig."ledger_topics" r0_0 on r0_0.k0 = s.c0 and r0_0.target_xmin is not null
where s.n between 0 and 4999 and (s.fault is not null or (s.c0 is not null and r0_0.target_id is null and not exists (select
from pg_temp.diffmig_stage p
where p.k0 = s.c0 and p.n between 0 and 4999))) union
select s.k0
from pg_temp.diffmig_stage s join stuck b on (s.c0 = b.k0 and not exists (select
from diffmig."ledger_topics" l
where l.k0 = s.c0 and l.target_xmin is not null))
where s.n between 0 and 4999),
resolved as materialized (select s.*, l.ctid as l_ctid, l.target_id as l_id, l.row_hash as l_hash, l.applied_hash as l_applied, l.target_xmin as l_xmin, l.deleted_at as l_deleted, coalesce(r0_0.target_id, r0_0_stage.target_id) as f0_0, case
when s.fault is not null then s.fault end as bad, ((s.c0 is not null and coalesce(r0_0.target_id, r0_0_stage.target_id) is null)) as waits, false as nulled
from pg_temp.diffmig_stage s
left join diffmig."ledger_topics" l on l.k0 = s.k0
left join diffmig."ledger_topics" r0_0 on r0_0.k0 = s.c0 and r0_0.target_xmin is not null
left join lateral (select coalesce(lp.target_id, p.new_id) as target_id
from pg_temp.diffmig_stage p
left join diffmig."ledger_topics" lp on lp.k0 = p.k0
where p.k0 = s.c0 and p.n between 0 and 4999 and not exists (select
from stuck b
where b.k0 = p.k0)) r0_0_stage on true
where s.n between 0 and 4999),
planned as materialized (select r.*, coalesce(r.l_id, r.new_id) as id, t.ctid as t_ctid, t.xmin as t_xmin, e.edited, case
when r.bad is not null then 'quarantined'
when r.waits then 'held' 
when t.xmin is null and r.l_xmin is not null and r.l_deleted is null then 'conflicted'
when t."id" is null then 'inserted'
when r.l_deleted is null and not (t."parent_id" is distinct
from coalesce(r.f0_0) or t."title"::text collate "C" is distinct
from r.c1 collate "C" or t."position" is distinct
from r.c2 or t."created_at" is distinct
from r.c3) then 'identical'
when e.edited then 'conflicted' else 'updated' end as action
from resolved r
left join "public"."topics" t on t."id" = coalesce(r.l_id, r.new_id) cross join lateral (select coalesce(t.xmin <> r.l_xmin and t.xmin is distinct
from r.seen, false) as edited) e),
inserted as (insert into "public"."topics" ("id", "legacy_topic_id", "parent_id", "title", "position", "created_at")
select p.id, p.k0, coalesce(p.f0_0),
p.c1, p.c2, p.c3
from planned p
where p.action = 'inserted' order by p.id
returning 1),
updated as (update "public"."topics" t set "parent_id" = coalesce(p.f0_0),
"title" = p.c1, "position" = p.c2, "created_at" = p.c3
from planned p
where p.action = 'updated' and t.ctid = p.t_ctid and t."id" = p.id and t.xmin = p.t_xmin
returning 1),
recorded as (update diffmig."ledger_topics" l set target_id = p.id, row_hash = p.row_hash, applied_hash = case
when p.action in ('quarantined', 'held', 'conflicted') and (p.l_xmin is not null and p.l_deleted is null or p.l_applied = pg_catalog.decode('ffffffffffffffffffffffffffffffff', 'hex')) then coalesce(p.l_applied, p.l_hash) end, target_xmin = case
when p.action in ('inserted', 'updated') then (select ((pg_catalog.txid_current() & 4294967295)::text)::xid)
when p.action = 'identical' then p.t_xmin else p.l_xmin end, outcome = (case
when p.action in ('quarantined', 'held', 'conflicted') then p.action else 'applied' end)::diffmig.outcome, pending = p.nulled and not p.action in ('quarantined', 'held', 'conflicted'),
session_number = 7, deleted_at = case
when p.action in ('quarantined', 'held') then p.l_deleted end
from planned p
where l.ctid = p.l_ctid and l.k0 = p.k0 and (p.action in ('inserted', 'updated') or l.row_hash is distinct
from (p.row_hash) or l.applied_hash is distinct
from (case
when p.action in ('quarantined', 'held', 'conflicted') and (p.l_xmin is not null and p.l_deleted is null or p.l_applied = pg_catalog.decode('ffffffffffffffffffffffffffffffff', 'hex')) then coalesce(p.l_applied, p.l_hash) end) or l.target_xmin is distinct
from (case
when p.action in ('inserted', 'updated') then (select ((pg_catalog.txid_current() & 4294967295)::text)::xid)
when p.action = 'identical' then p.t_xmin else p.l_xmin end) or l.outcome is distinct
from ((case
when p.action in ('quarantined', 'held', 'conflicted') then p.action else 'applied' end)::diffmig.outcome) or l.pending is distinct
from (p.nulled and not p.action in ('quarantined', 'held', 'conflicted')) or l.deleted_at is distinct
from (case
when p.action in ('quarantined', 'held') then p.l_deleted end))
returning p.action in ('inserted', 'updated') as is_written),
added as (insert into diffmig."ledger_topics" (k0, target_id, row_hash, applied_hash, target_xmin, outcome, pending, session_number, deleted_at)
select p.k0, p.id, p.row_hash, case
when p.action in ('quarantined', 'held', 'conflicted') and (p.l_xmin is not null and p.l_deleted is null or p.l_applied = pg_catalog.decode('ffffffffffffffffffffffffffffffff', 'hex')) then coalesce(p.l_applied, p.l_hash) end, case
when p.action in ('inserted', 'updated') then (select ((pg_catalog.txid_current() & 4294967295)::text)::xid)
when p.action = 'identical' then p.t_xmin else p.l_xmin end, (case
when p.action in ('quarantined', 'held', 'conflicted') then p.action else 'applied' end)::diffmig.outcome, p.nulled and not p.action in ('quarantined', 'held', 'conflicted'),
7, case
when p.action in ('quarantined', 'held') then p.l_deleted end
from planned p
where p.l_id is null order by p.k0
returning 1),
aside as (insert into diffmig.quarantine as old (entity, key, status, sqlstate, constraint_name, reason, first_session, last_session)
select 'topics', jsonb_build_array(p.k0),
case p.action
when 'quarantined' then 'open'
when 'held' then 'held' else 'conflict' end, case p.action
when 'quarantined' then split_part(coalesce(p.bad, '40000|' || case
when p.t_xmin is null then 'the row was removed in the target' else case
when p.l_xmin = '0' then 'adopted with other content than the source has' else 'the row was changed on both sides' end end),
'|', 1)
when 'held' then '23503' else '40000' end, case p.action
when 'quarantined' then nullif(split_part(coalesce(p.bad, '40000|' || case
when p.t_xmin is null then 'the row was removed in the target' else case
when p.l_xmin = '0' then 'adopted with other content than the source has' else 'the row was changed on both sides' end end),
'|', 3),
'') end, case
when p.action = 'quarantined' then split_part(coalesce(p.bad, '40000|' || case
when p.t_xmin is null then 'the row was removed in the target' else case
when p.l_xmin = '0' then 'adopted with other content than the source has' else 'the row was changed on both sides' end end),
'|', 2)
when p.action = 'held' then 'waits for a parent that is not there'
when p.t_xmin is null then 'the row was removed in the target' else case
when p.l_xmin = '0' then 'adopted with other content than the source has' else 'the row was changed on both sides' end end, '00000000-0000-0000-0000-000000000000'::uuid, '00000000-0000-0000-0000-000000000000'::uuid
from planned p
where p.action in ('quarantined', 'held', 'conflicted') order by 2
on conflict (entity, key) do update set status = excluded.status, sqlstate = excluded.sqlstate, constraint_name = excluded.constraint_name, reason = excluded.reason, attempts = old.attempts + 1, last_session = excluded.last_session, updated_at = now()),
waiting as (insert into diffmig.pending_reference (entity, key, column_name, parent_entity, parent_key)
select 'topics', jsonb_build_array(p.k0),
'parent_id', 'topics', jsonb_build_array(p.c0)
from planned p
where p.action = 'held' and p.f0_0 is null and p.c0 is not null
on conflict (entity, key, column_name) do update set parent_entity = excluded.parent_entity, parent_key = excluded.parent_key)
select count(*),
count(*) filter (where action = 'inserted'),
count(*) filter (where action = 'updated'),
count(*) filter (where action = 'identical'),
count(*) filter (where action = 'conflicted'),
count(*) filter (where action = 'held'),
count(*) filter (where action = 'quarantined'),
(select count(*)
from inserted),
(select count(*)
from updated),
count(*) filter (where edited and action in ('conflicted', 'quarantined')),
count(*) filter (where l_id is null),
(select count(*)
from added),
count(*) filter (where l_id is not null and action in ('inserted', 'updated')),
(select count(*)
from recorded
where is_written)
from planned

-- content: everything
select l.k0::bigint, (case
when t."parent_id" is null then (select (w.parent_key ->> 0)
from diffmig.pending_reference w
where w.entity = 'topics' and w.key = jsonb_build_array(l.k0) and w.column_name = 'parent_id')::bigint else coalesce(b0_0.k0) end)::bigint, t."title"::text, t."position"::int4, t."created_at"::timestamptz, null::text, null::bigint, t."id" is not null, l.letter
from (select *, case
when deleted_at is null and outcome = 'applied' then 'a'::"char"
when outcome in ('applied', 'conflicted') and deleted_at is not null then 'd'::"char"
when outcome = 'conflicted' then 'c'::"char"
when outcome = 'quarantined' then case
when target_xmin is null or deleted_at is not null then 'q'::"char" else 'Q'::"char" end
when outcome = 'held' then case
when target_xmin is null or deleted_at is not null then 'h'::"char" else 'H'::"char" end else 'u'::"char" end as letter
from diffmig."ledger_topics"
where ('x' || left(md5(k0::text),
8))::bit(32)::bigint & 4294967295 <= 107374182) l
left join "public"."topics" t on t."id" = l.target_id
left join diffmig."ledger_topics" b0_0 on b0_0.target_id = t."parent_id" order by l.k0

-- content: native rows
select count(*)
from "public"."topics" t
where not exists (select
from diffmig."ledger_workshops" l
where l.target_id = t."id" and l.target_xmin is not null) and not exists (select
from diffmig."ledger_topics" l
where l.target_id = t."id" and l.target_xmin is not null)

-- source: a sample
select "t"."id"::bigint, ("t"."parent_id")::bigint, (btrim(regexp_replace(("t"."title")::text, '\s+', ' ', 'g'),
E' \t\n\r\f\x0b'))::text, ("t"."position")::int4, (("t"."created_at")::timestamp at time zone 'America/Denver')::timestamptz, (case
when ((btrim(regexp_replace(("t"."title")::text, '\s+', ' ', 'g'),
E' \t\n\r\f\x0b'))::text) is null then '23502|NULL in a required column|title'
when ((("t"."created_at")::timestamp at time zone 'America/Denver')::timestamptz) is null then '23502|NULL in a required column|created_at' end)::text, case
when isfinite("t"."created_at") then (extract(epoch
from "t"."created_at") * 1000)::bigint end
from "public"."shop_topic" as "t"
where ('x' || left(md5(("t"."id"::bigint)::text),
8))::bit(32)::bigint & 4294967295 <= 107374182 order by "t"."id"

-- content: staged rows that seem edited
select l.k0::bigint, (case
when t."parent_id" is null then (select (w.parent_key ->> 0)
from diffmig.pending_reference w
where w.entity = 'topics' and w.key = jsonb_build_array(l.k0) and w.column_name = 'parent_id')::bigint else coalesce(b0_0.k0) end)::bigint, t."title"::text, t."position"::int4, t."created_at"::timestamptz, null::text, null::bigint, g.n::integer, t.xmin, coalesce(l.applied_hash, l.row_hash)
from pg_temp.diffmig_stage g join diffmig."ledger_topics" l on l.k0 = g.k0 join "public"."topics" t on t."id" = l.target_id
left join diffmig."ledger_topics" b0_0 on b0_0.target_id = t."parent_id"
where l.deleted_at is null and t.xmin <> l.target_xmin

-- retire
with doomed as materialized (select l.*, l.ctid as l_ctid, t.ctid as t_ctid, t.xmin as t_xmin, false as edited, g.fault as given
from (select k0, null::xid as seen, null::text as fault
from unnest('{3,-4}'::bigint[]) as k (k0)) g join diffmig."ledger_topics" l on l.k0 = g.k0
left join "public"."topics" t on t."id" = l.target_id
where l.deleted_at is null or l.outcome in ('quarantined', 'held')),
judged as materialized (select d.*, d.given as fault
from doomed d),
gone as materialized (select j.*, false and not j.edited and j.fault is null and j.target_xmin is not null and j.t_xmin is not null as acts
from judged j),
changed as (select 1
where false),
recorded as (update diffmig."ledger_topics" l set deleted_at = case
when g.fault is null then now() end, outcome = (case
when g.fault is not null then 'undeleted'
when g.edited then 'conflicted' else 'applied' end)::diffmig.outcome, pending = false, target_xmin = case
when g.acts then g.target_xmin
when g.t_xmin is not null then l.target_xmin end, session_number = 7
from gone g
where l.ctid = g.l_ctid and l.k0 = g.k0
returning 1),
aside as (insert into diffmig.quarantine as old (entity, key, status, sqlstate, constraint_name, reason, first_session, last_session)
select 'topics', jsonb_build_array(g.k0),
case
when g.fault is null then 'conflict' else 'open' end, case
when g.fault is null then '40000' else split_part(g.fault, '|', 1) end, nullif(split_part(g.fault, '|', 3),
''),
case
when g.fault is null then 'deleted in the source, changed in the target' else 'gone
from the source, and its target row cannot go: ' || split_part(g.fault, '|', 2) end, '00000000-0000-0000-0000-000000000000'::uuid, '00000000-0000-0000-0000-000000000000'::uuid
from gone g
where g.edited or g.fault is not null
on conflict (entity, key) do update set status = excluded.status, reason = excluded.reason, sqlstate = excluded.sqlstate, constraint_name = excluded.constraint_name, attempts = old.attempts + 1, last_session = excluded.last_session, updated_at = now()),
settled as (update diffmig.quarantine q set status = 'resolved', updated_at = now()
from gone g
where not g.edited and g.fault is null and q.entity = 'topics' and q.key = jsonb_build_array(g.k0) and q.status <> 'resolved'),
released as (delete
from diffmig.pending_reference w using gone g
where w.entity = 'topics' and w.key = jsonb_build_array(g.k0))
select count(*),
count(*) filter (where not edited and fault is null),
count(*) filter (where edited and fault is null),
count(*) filter (where fault is not null),
count(*) filter (where acts),
(select count(*)
from changed),
count(*) filter (where edited),
(select count(*)
from recorded)
from gone

-- adopt: judge
create temporary table "diffmig_keys_topics" (k0 bigint) on commit drop;
create temporary table "diffmig_claims_topics" on commit drop as
select null::bigint as k0, null::uuid as target_id, null::integer as origin
where false
union all
select t."legacy_topic_id"::bigint, t."id"::uuid, 1
from "public"."topics" t
where t."legacy_topic_id" is not null; analyze pg_temp."diffmig_claims_topics";
create temporary table "diffmig_links_topics" (k0 bigint, target_id uuid, fault text, settled boolean, marked boolean) on commit drop;
create temporary table "diffmig_owned_topics" on commit drop as
select l.target_id::uuid as target_id
from diffmig."ledger_topics" l
where l.target_xmin is not null; analyze pg_temp."diffmig_owned_topics";
insert into pg_temp."diffmig_links_topics" (k0, target_id, fault, settled, marked) with pair as (select c.k0, c.target_id
from pg_temp."diffmig_claims_topics" c
where c.k0 is not null group by c.k0, c.target_id),
doubled as (select distinct k0
from (select c.k0, c.origin
from pg_temp."diffmig_claims_topics" c
where c.k0 is not null group by c.k0, c.target_id, c.origin) d group by k0, origin having count(*) > 1),
seen as (select p.*, t."id"::uuid as row_id, l.target_xmin is not null as settled, l.target_id as known_id, coalesce(l.applied_hash = pg_catalog.decode('ffffffffffffffffffffffffffffffff', 'hex') and l.target_xmin is null, false) as marked, count(*) over (partition by p.k0) as ids, count(*) over (partition by p.target_id) as keys
from pair p
left join "public"."topics" t on t."id"::uuid = p.target_id
left join diffmig."ledger_topics" l on l.k0 = p.k0),
judged as (select s.*, case
when s.settled then case
when s.known_id::uuid is distinct
from s.target_id then 'contradiction' end
when s.ids > 1 and d.k0 is not null then 'duplicate'
when s.ids > 1 then 'contradiction'
when s.target_id is not null and s.keys > 1 then 'shared'
when o.target_id is not null then 'taken'
when s.row_id is null then 'dangling' end as fault
from seen s
left join doubled d on d.k0 = s.k0
left join pg_temp."diffmig_owned_topics" o on o.target_id = s.target_id)
select distinct on (k0) k0, case
when fault is null then row_id end as target_id, fault, settled, marked
from judged order by k0, fault nulls last; analyze pg_temp."diffmig_links_topics";
insert into pg_temp."diffmig_links_topics" (k0, target_id, fault, settled, marked)
select l.k0, null, case
when coalesce(l.applied_hash = pg_catalog.decode('ffffffffffffffffffffffffffffffff', 'hex') and l.target_xmin is null, false) then 'released' end, not coalesce(l.applied_hash = pg_catalog.decode('ffffffffffffffffffffffffffffffff', 'hex') and l.target_xmin is null, false),
coalesce(l.applied_hash = pg_catalog.decode('ffffffffffffffffffffffffffffffff', 'hex') and l.target_xmin is null, false)
from diffmig."ledger_topics" l
left join pg_temp."diffmig_links_topics" x on x.k0 = l.k0
where x.k0 is null; analyze pg_temp."diffmig_links_topics";
select l.k0::bigint, (case
when t."parent_id" is null then null::bigint else coalesce(b0_0.k0) end)::bigint, t."title"::text, t."position"::int4, t."created_at"::timestamptz, null::text, null::bigint, t.xmin, coalesce(false, false),
l.fault, l.settled, l.marked, l.target_id
from pg_temp."diffmig_links_topics" l
left join "public"."topics" t on t."id" = l.target_id and l.fault is null and not l.settled
left join (select k0, target_id
from diffmig."ledger_topics" l
where target_xmin is not null
union all
select k0, target_id
from pg_temp."diffmig_links_topics"
where fault is null and not settled) b0_0 on b0_0.target_id = t."parent_id" order by l.k0;
select (select count(*)
from pg_temp."diffmig_claims_topics" c
where not (c.k0 is not null)),
array(select distinct c.target_id::text
from pg_temp."diffmig_claims_topics" c
where not (c.k0 is not null) and c.target_id is not null order by 1 limit 10);
select count(*)
from "public"."topics" t
where not exists (select
from pg_temp."diffmig_owned_topics" o
where o.target_id = t."id"::uuid) and not exists (select
from pg_temp."diffmig_claims_topics" c
where c.target_id = t."id"::uuid) and not exists (select
from pg_temp."diffmig_links_topics" l
where l.target_id = t."id")

-- adopt: record
create unique index if not exists "ledger_topics_key" on diffmig."ledger_topics" (k0);
drop table if exists pg_temp.diffmig_adopted; create temporary table diffmig_adopted (k0 bigint, target_id uuid, row_hash bytea, applied_hash bytea, target_xmin xid, outcome text, gone boolean, reason text) on commit preserve rows;
with put as (insert into diffmig."ledger_topics" as l (k0, target_id, row_hash, applied_hash, target_xmin, outcome, pending, session_number, deleted_at)
select s.k0, s.target_id, s.row_hash, s.applied_hash, s.target_xmin, s.outcome::diffmig.outcome, false, 7, case
when s.gone then now() end
from pg_temp.diffmig_adopted s order by s.k0
on conflict (k0) do update set target_id = excluded.target_id, row_hash = excluded.row_hash, applied_hash = excluded.applied_hash, target_xmin = excluded.target_xmin, outcome = excluded.outcome, pending = excluded.pending, session_number = excluded.session_number, deleted_at = excluded.deleted_at
where l.target_xmin is null
returning (l.xmax = 0) as is_new),
settled as (update diffmig.quarantine q set status = 'resolved', updated_at = now()
from pg_temp.diffmig_adopted s
where q.entity = 'topics' and q.key = jsonb_build_array(s.k0) and q.status <> 'resolved' and s.reason is null),
aside as (insert into diffmig.quarantine as old (entity, key, status, sqlstate, reason, first_session, last_session)
select 'topics', jsonb_build_array(s.k0),
'open', 'DM002', s.reason, '00000000-0000-0000-0000-000000000000'::uuid, '00000000-0000-0000-0000-000000000000'::uuid
from pg_temp.diffmig_adopted s
where s.reason is not null order by 2
on conflict (entity, key) do update set status = excluded.status, sqlstate = excluded.sqlstate, constraint_name = null, reason = excluded.reason, attempts = old.attempts + 1, last_session = excluded.last_session, updated_at = now()),
waiting as (delete
from diffmig.pending_reference w using pg_temp.diffmig_adopted s
where w.entity = 'topics' and w.key = jsonb_build_array(s.k0)),
forgotten as (delete
from diffmig.watermark
where entity = 'topics')
select count(*),
count(*) filter (where is_new)
from put

