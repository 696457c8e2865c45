-- source: whole entity
select "c"."id"::bigint, (('CL-' || lpad(("c"."id")::text, greatest(6, length(("c"."id")::text)),
'0')))::text, ("c"."user_id")::bigint, ("c"."luthier_id")::bigint, ("c"."workshop_id")::bigint, (coalesce(nullif(btrim(regexp_replace(((coalesce(("u"."first_name")::text, '') || ' ' || coalesce(("u"."last_name")::text, '')))::text, '\s+', ' ', 'g'),
E' \t\n\r\f\x0b'),
''),
'(unnamed)'))::text, case
when (case
when ("c"."sex")::text is null then null else case ("c"."sex")::text
when '0' then 'female'
when '1' then 'male'
when '2' then 'other' else 'unknown' end end)::text in ('female', 'male', 'other', 'unknown') then (case
when ("c"."sex")::text is null then null else case ("c"."sex")::text
when '0' then 'female'
when '1' then 'male'
when '2' then 'other' else 'unknown' end end)::text end, (nullif(regexp_replace(("c"."phone")::text, '[^0-9]', '', 'g'),
''))::text, ("c"."prefs")::text, (((NOT "c"."suspended")))::bool, (("c"."created_at")::timestamp at time zone 'America/Denver')::timestamptz, (case
when ((('CL-' || lpad(("c"."id")::text, greatest(6, length(("c"."id")::text)),
'0')))::text) is null then '23502|NULL in a required column|client_no'
when "c"."user_id" is null then '23502|NULL in a required column|profile_id'
when ((coalesce(nullif(btrim(regexp_replace(((coalesce(("u"."first_name")::text, '') || ' ' || coalesce(("u"."last_name")::text, '')))::text, '\s+', ' ', 'g'),
E' \t\n\r\f\x0b'),
''),
'(unnamed)'))::text) is null then '23502|NULL in a required column|full_name'
when (case
when ("c"."sex")::text is null then null else case ("c"."sex")::text
when '0' then 'female'
when '1' then 'male'
when '2' then 'other' else 'unknown' end end) is not null and not ((case
when ("c"."sex")::text is null then null else case ("c"."sex")::text
when '0' then 'female'
when '1' then 'male'
when '2' then 'other' else 'unknown' end end)::text in ('female', 'male', 'other', 'unknown')) then '22P02|not a label of the enum|sex'
when ((((NOT "c"."suspended")))::bool) is null then '23502|NULL in a required column|is_active'
when ((("c"."created_at")::timestamp at time zone 'America/Denver')::timestamptz) is null then '23502|NULL in a required column|created_at' end)::text, case
when isfinite("c"."created_at") then (extract(epoch
from "c"."created_at") * 1000)::bigint end
from "public"."shop_client" as "c"
left join "public"."auth_user" as "u" on ("u"."id" = "c"."user_id")
where ((NOT "c"."archived")) order by "c"."id"

-- source: key range
select "c"."id"::bigint, (('CL-' || lpad(("c"."id")::text, greatest(6, length(("c"."id")::text)),
'0')))::text, ("c"."user_id")::bigint, ("c"."luthier_id")::bigint, ("c"."workshop_id")::bigint, (coalesce(nullif(btrim(regexp_replace(((coalesce(("u"."first_name")::text, '') || ' ' || coalesce(("u"."last_name")::text, '')))::text, '\s+', ' ', 'g'),
E' \t\n\r\f\x0b'),
''),
'(unnamed)'))::text, case
when (case
when ("c"."sex")::text is null then null else case ("c"."sex")::text
when '0' then 'female'
when '1' then 'male'
when '2' then 'other' else 'unknown' end end)::text in ('female', 'male', 'other', 'unknown') then (case
when ("c"."sex")::text is null then null else case ("c"."sex")::text
when '0' then 'female'
when '1' then 'male'
when '2' then 'other' else 'unknown' end end)::text end, (nullif(regexp_replace(("c"."phone")::text, '[^0-9]', '', 'g'),
''))::text, ("c"."prefs")::text, (((NOT "c"."suspended")))::bool, (("c"."created_at")::timestamp at time zone 'America/Denver')::timestamptz, (case
when ((('CL-' || lpad(("c"."id")::text, greatest(6, length(("c"."id")::text)),
'0')))::text) is null then '23502|NULL in a required column|client_no'
when "c"."user_id" is null then '23502|NULL in a required column|profile_id'
when ((coalesce(nullif(btrim(regexp_replace(((coalesce(("u"."first_name")::text, '') || ' ' || coalesce(("u"."last_name")::text, '')))::text, '\s+', ' ', 'g'),
E' \t\n\r\f\x0b'),
''),
'(unnamed)'))::text) is null then '23502|NULL in a required column|full_name'
when (case
when ("c"."sex")::text is null then null else case ("c"."sex")::text
when '0' then 'female'
when '1' then 'male'
when '2' then 'other' else 'unknown' end end) is not null and not ((case
when ("c"."sex")::text is null then null else case ("c"."sex")::text
when '0' then 'female'
when '1' then 'male'
when '2' then 'other' else 'unknown' end end)::text in ('female', 'male', 'other', 'unknown')) then '22P02|not a label of the enum|sex'
when ((((NOT "c"."suspended")))::bool) is null then '23502|NULL in a required column|is_active'
when ((("c"."created_at")::timestamp at time zone 'America/Denver')::timestamptz) is null then '23502|NULL in a required column|created_at' end)::text, case
when isfinite("c"."created_at") then (extract(epoch
from "c"."created_at") * 1000)::bigint end
from "public"."shop_client" as "c"
left join "public"."auth_user" as "u" on ("u"."id" = "c"."user_id")
where ((NOT "c"."archived")) and ("c"."id") >= ('1'::bigint) and ("c"."id") <= ('9'::bigint) order by "c"."id"

-- source: since a time
select "c"."id"::bigint, (('CL-' || lpad(("c"."id")::text, greatest(6, length(("c"."id")::text)),
'0')))::text, ("c"."user_id")::bigint, ("c"."luthier_id")::bigint, ("c"."workshop_id")::bigint, (coalesce(nullif(btrim(regexp_replace(((coalesce(("u"."first_name")::text, '') || ' ' || coalesce(("u"."last_name")::text, '')))::text, '\s+', ' ', 'g'),
E' \t\n\r\f\x0b'),
''),
'(unnamed)'))::text, case
when (case
when ("c"."sex")::text is null then null else case ("c"."sex")::text
when '0' then 'female'
when '1' then 'male'
when '2' then 'other' else 'unknown' end end)::text in ('female', 'male', 'other', 'unknown') then (case
when ("c"."sex")::text is null then null else case ("c"."sex")::text
when '0' then 'female'
when '1' then 'male'
when '2' then 'other' else 'unknown' end end)::text end, (nullif(regexp_replace(("c"."phone")::text, '[^0-9]', '', 'g'),
''))::text, ("c"."prefs")::text, (((NOT "c"."suspended")))::bool, (("c"."created_at")::timestamp at time zone 'America/Denver')::timestamptz, (case
when ((('CL-' || lpad(("c"."id")::text, greatest(6, length(("c"."id")::text)),
'0')))::text) is null then '23502|NULL in a required column|client_no'
when "c"."user_id" is null then '23502|NULL in a required column|profile_id'
when ((coalesce(nullif(btrim(regexp_replace(((coalesce(("u"."first_name")::text, '') || ' ' || coalesce(("u"."last_name")::text, '')))::text, '\s+', ' ', 'g'),
E' \t\n\r\f\x0b'),
''),
'(unnamed)'))::text) is null then '23502|NULL in a required column|full_name'
when (case
when ("c"."sex")::text is null then null else case ("c"."sex")::text
when '0' then 'female'
when '1' then 'male'
when '2' then 'other' else 'unknown' end end) is not null and not ((case
when ("c"."sex")::text is null then null else case ("c"."sex")::text
when '0' then 'female'
when '1' then 'male'
when '2' then 'other' else 'unknown' end end)::text in ('female', 'male', 'other', 'unknown')) then '22P02|not a label of the enum|sex'
when ((((NOT "c"."suspended")))::bool) is null then '23502|NULL in a required column|is_active'
when ((("c"."created_at")::timestamp at time zone 'America/Denver')::timestamptz) is null then '23502|NULL in a required column|created_at' end)::text, case
when isfinite("c"."created_at") then (extract(epoch
from "c"."created_at") * 1000)::bigint end
from "public"."shop_client" as "c"
left join "public"."auth_user" as "u" on ("u"."id" = "c"."user_id")
where ((NOT "c"."archived")) order by "c"."id"

-- source: keys
select "c"."id"::bigint
from "public"."shop_client" as "c"
left join "public"."auth_user" as "u" on ("u"."id" = "c"."user_id")
where ((NOT "c"."archived")) order by "c"."id"

-- source: keys as bits
select "c"."id"::bigint >> 6, bit_or(1::bigint << ("c"."id"::bigint & 63)::integer)
from "public"."shop_client" as "c"
left join "public"."auth_user" as "u" on ("u"."id" = "c"."user_id")
where ((NOT "c"."archived")) group by 1

-- source: slice
select "c"."id"::bigint, (('CL-' || lpad(("c"."id")::text, greatest(6, length(("c"."id")::text)),
'0')))::text, ("c"."user_id")::bigint, ("c"."luthier_id")::bigint, ("c"."workshop_id")::bigint, (coalesce(nullif(btrim(regexp_replace(((coalesce(("u"."first_name")::text, '') || ' ' || coalesce(("u"."last_name")::text, '')))::text, '\s+', ' ', 'g'),
E' \t\n\r\f\x0b'),
''),
'(unnamed)'))::text, case
when (case
when ("c"."sex")::text is null then null else case ("c"."sex")::text
when '0' then 'female'
when '1' then 'male'
when '2' then 'other' else 'unknown' end end)::text in ('female', 'male', 'other', 'unknown') then (case
when ("c"."sex")::text is null then null else case ("c"."sex")::text
when '0' then 'female'
when '1' then 'male'
when '2' then 'other' else 'unknown' end end)::text end, (nullif(regexp_replace(("c"."phone")::text, '[^0-9]', '', 'g'),
''))::text, ("c"."prefs")::text, (((NOT "c"."suspended")))::bool, (("c"."created_at")::timestamp at time zone 'America/Denver')::timestamptz, (case
when ((('CL-' || lpad(("c"."id")::text, greatest(6, length(("c"."id")::text)),
'0')))::text) is null then '23502|NULL in a required column|client_no'
when "c"."user_id" is null then '23502|NULL in a required column|profile_id'
when ((coalesce(nullif(btrim(regexp_replace(((coalesce(("u"."first_name")::text, '') || ' ' || coalesce(("u"."last_name")::text, '')))::text, '\s+', ' ', 'g'),
E' \t\n\r\f\x0b'),
''),
'(unnamed)'))::text) is null then '23502|NULL in a required column|full_name'
when (case
when ("c"."sex")::text is null then null else case ("c"."sex")::text
when '0' then 'female'
when '1' then 'male'
when '2' then 'other' else 'unknown' end end) is not null and not ((case
when ("c"."sex")::text is null then null else case ("c"."sex")::text
when '0' then 'female'
when '1' then 'male'
when '2' then 'other' else 'unknown' end end)::text in ('female', 'male', 'other', 'unknown')) then '22P02|not a label of the enum|sex'
when ((((NOT "c"."suspended")))::bool) is null then '23502|NULL in a required column|is_active'
when ((("c"."created_at")::timestamp at time zone 'America/Denver')::timestamptz) is null then '23502|NULL in a required column|created_at' end)::text, case
when isfinite("c"."created_at") then (extract(epoch
from "c"."created_at") * 1000)::bigint end
from "public"."shop_client" as "c"
left join "public"."auth_user" as "u" on ("u"."id" = "c"."user_id")
where ((NOT "c"."archived")) and ("c"."id") >= ('3'::bigint) and ("c"."id") < ('8'::bigint) order by "c"."id"

-- source: key list
select "c"."id"::bigint, (('CL-' || lpad(("c"."id")::text, greatest(6, length(("c"."id")::text)),
'0')))::text, ("c"."user_id")::bigint, ("c"."luthier_id")::bigint, ("c"."workshop_id")::bigint, (coalesce(nullif(btrim(regexp_replace(((coalesce(("u"."first_name")::text, '') || ' ' || coalesce(("u"."last_name")::text, '')))::text, '\s+', ' ', 'g'),
E' \t\n\r\f\x0b'),
''),
'(unnamed)'))::text, case
when (case
when ("c"."sex")::text is null then null else case ("c"."sex")::text
when '0' then 'female'
when '1' then 'male'
when '2' then 'other' else 'unknown' end end)::text in ('female', 'male', 'other', 'unknown') then (case
when ("c"."sex")::text is null then null else case ("c"."sex")::text
when '0' then 'female'
when '1' then 'male'
when '2' then 'other' else 'unknown' end end)::text end, (nullif(regexp_replace(("c"."phone")::text, '[^0-9]', '', 'g'),
''))::text, ("c"."prefs")::text, (((NOT "c"."suspended")))::bool, (("c"."created_at")::timestamp at time zone 'America/Denver')::timestamptz, (case
when ((('CL-' || lpad(("c"."id")::text, greatest(6, length(("c"."id")::text)),
'0')))::text) is null then '23502|NULL in a required column|client_no'
when "c"."user_id" is null then '23502|NULL in a required column|profile_id'
when ((coalesce(nullif(btrim(regexp_replace(((coalesce(("u"."first_name")::text, '') || ' ' || coalesce(("u"."last_name")::text, '')))::text, '\s+', ' ', 'g'),
E' \t\n\r\f\x0b'),
''),
'(unnamed)'))::text) is null then '23502|NULL in a required column|full_name'
when (case
when ("c"."sex")::text is null then null else case ("c"."sex")::text
when '0' then 'female'
when '1' then 'male'
when '2' then 'other' else 'unknown' end end) is not null and not ((case
when ("c"."sex")::text is null then null else case ("c"."sex")::text
when '0' then 'female'
when '1' then 'male'
when '2' then 'other' else 'unknown' end end)::text in ('female', 'male', 'other', 'unknown')) then '22P02|not a label of the enum|sex'
when ((((NOT "c"."suspended")))::bool) is null then '23502|NULL in a required column|is_active'
when ((("c"."created_at")::timestamp at time zone 'America/Denver')::timestamptz) is null then '23502|NULL in a required column|created_at' end)::text, case
when isfinite("c"."created_at") then (extract(epoch
from "c"."created_at") * 1000)::bigint end
from "public"."shop_client" as "c"
left join "public"."auth_user" as "u" on ("u"."id" = "c"."user_id")
where ((NOT "c"."archived")) and "c"."id" = any('{3,-4}'::bigint[]) order by "c"."id"

-- source: rows of the relation
select count(*)
from "public"."shop_client" as "c"

-- source: rows that pass
select count(*)
from "public"."shop_client" as "c"
left join "public"."auth_user" as "u" on ("u"."id" = "c"."user_id")
where (NOT "c"."archived")

-- ledger: create
create table if not exists diffmig."ledger_clients" (k0 bigint not null, target_id uuid not null, row_hash bytea not null, applied_hash bytea, target_xmin xid, outcome diffmig.outcome not null default 'applied', pending boolean not null default false, session_number integer not null, deleted_at timestamptz) with (fillfactor = 90)

-- ledger: read
select k0, row_hash, case
when deleted_at is null and outcome = 'applied' then 'a'::"char"
when outcome in ('applied', 'conflicted') and deleted_at is not null then 'd'::"char"
when outcome = 'conflicted' then 'c'::"char"
when outcome = 'quarantined' then case
when target_xmin is null or deleted_at is not null then 'q'::"char" else 'Q'::"char" end
when outcome = 'held' then case
when target_xmin is null or deleted_at is not null then 'h'::"char" else 'H'::"char" end else 'u'::"char" end
from diffmig."ledger_clients" order by k0

-- ledger: read keys
select k0, row_hash, case
when deleted_at is null and outcome = 'applied' then 'a'::"char"
when outcome in ('applied', 'conflicted') and deleted_at is not null then 'd'::"char"
when outcome = 'conflicted' then 'c'::"char"
when outcome = 'quarantined' then case
when target_xmin is null or deleted_at is not null then 'q'::"char" else 'Q'::"char" end
when outcome = 'held' then case
when target_xmin is null or deleted_at is not null then 'h'::"char" else 'H'::"char" end else 'u'::"char" end
from diffmig."ledger_clients"
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
from diffmig."ledger_clients"
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
from diffmig."ledger_clients"
where outcome > 'applied' and (outcome <> 'applied' or deleted_at is not null or pending) and (deleted_at is null or outcome not in ('applied', 'conflicted')) order by k0

-- ledger: keys as bits
select k0 >> 6, bit_or(1::bigint << (k0 & 63)::integer)
from diffmig."ledger_clients"
where (deleted_at is null or outcome not in ('applied', 'conflicted')) group by 1

-- ledger: count
select count(*)
from diffmig."ledger_clients"
where (deleted_at is null or outcome not in ('applied', 'conflicted'))

-- ledger: count what is gone
select count(*)
from diffmig."ledger_clients"
where outcome in ('applied', 'conflicted') and deleted_at is not null

-- ledger: count by outcome, all rows
with g as materialized (select key
from diffmig.quarantine
where entity = 'clients' and status = 'waived'),
a as materialized (select count(*) as n
from diffmig."ledger_clients")
select (select n
from a) - count(*) + count(*) filter (where outcome = 'applied' and deleted_at is null),
count(*) filter (where outcome = 'quarantined'),
count(*) filter (where outcome = 'held'),
count(*) filter (where outcome = 'conflicted' and deleted_at is null),
count(*) filter (where deleted_at is not null and outcome in ('applied', 'conflicted')),
count(*) filter (where pending),
count(*) filter (where outcome = 'conflicted' and deleted_at is not null or outcome not in ('applied', 'quarantined', 'held', 'conflicted')),
(select count(*)
from g join diffmig."ledger_clients" l on l.k0 = (g.key ->> 0)::bigint
where l.outcome <> 'applied'),
(select n
from a) - count(*) + count(*) filter (where (deleted_at is null or outcome not in ('applied', 'conflicted'))),
(select n
from a)
from diffmig."ledger_clients"
where (outcome <> 'applied' or deleted_at is not null or pending)

-- ledger: count by outcome, special rows only
with g as materialized (select key
from diffmig.quarantine
where entity = 'clients' and status = 'waived'),
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
from g join diffmig."ledger_clients" l on l.k0 = (g.key ->> 0)::bigint
where l.outcome <> 'applied'),
(select n
from a) - count(*) + count(*) filter (where (deleted_at is null or outcome not in ('applied', 'conflicted'))),
(select n
from a)
from diffmig."ledger_clients"
where (outcome <> 'applied' or deleted_at is not null or pending)

-- source: since a horizon
select "c"."id"::bigint, (('CL-' || lpad(("c"."id")::text, greatest(6, length(("c"."id")::text)),
'0')))::text, ("c"."user_id")::bigint, ("c"."luthier_id")::bigint, ("c"."workshop_id")::bigint, (coalesce(nullif(btrim(regexp_replace(((coalesce(("u"."first_name")::text, '') || ' ' || coalesce(("u"."last_name")::text, '')))::text, '\s+', ' ', 'g'),
E' \t\n\r\f\x0b'),
''),
'(unnamed)'))::text, case
when (case
when ("c"."sex")::text is null then null else case ("c"."sex")::text
when '0' then 'female'
when '1' then 'male'
when '2' then 'other' else 'unknown' end end)::text in ('female', 'male', 'other', 'unknown') then (case
when ("c"."sex")::text is null then null else case ("c"."sex")::text
when '0' then 'female'
when '1' then 'male'
when '2' then 'other' else 'unknown' end end)::text end, (nullif(regexp_replace(("c"."phone")::text, '[^0-9]', '', 'g'),
''))::text, ("c"."prefs")::text, (((NOT "c"."suspended")))::bool, (("c"."created_at")::timestamp at time zone 'America/Denver')::timestamptz, (case
when ((('CL-' || lpad(("c"."id")::text, greatest(6, length(("c"."id")::text)),
'0')))::text) is null then '23502|NULL in a required column|client_no'
when "c"."user_id" is null then '23502|NULL in a required column|profile_id'
when ((coalesce(nullif(btrim(regexp_replace(((coalesce(("u"."first_name")::text, '') || ' ' || coalesce(("u"."last_name")::text, '')))::text, '\s+', ' ', 'g'),
E' \t\n\r\f\x0b'),
''),
'(unnamed)'))::text) is null then '23502|NULL in a required column|full_name'
when (case
when ("c"."sex")::text is null then null else case ("c"."sex")::text
when '0' then 'female'
when '1' then 'male'
when '2' then 'other' else 'unknown' end end) is not null and not ((case
when ("c"."sex")::text is null then null else case ("c"."sex")::text
when '0' then 'female'
when '1' then 'male'
when '2' then 'other' else 'unknown' end end)::text in ('female', 'male', 'other', 'unknown')) then '22P02|not a label of the enum|sex'
when ((((NOT "c"."suspended")))::bool) is null then '23502|NULL in a required column|is_active'
when ((("c"."created_at")::timestamp at time zone 'America/Denver')::timestamptz) is null then '23502|NULL in a required column|created_at' end)::text, case
when isfinite("c"."created_at") then (extract(epoch
from "c"."created_at") * 1000)::bigint end
from "public"."shop_client" as "c"
left join "public"."auth_user" as "u" on ("u"."id" = "c"."user_id")
where ((NOT "c"."archived")) and (pg_catalog.xidsend("c".xmin) >= '\xfffffffa'::bytea or pg_catalog.xidsend("c".xmin) <= '\x00000004'::bytea) order by "c"."id"

-- source: since a horizon, on PostgreSQL 14
select "c"."id"::bigint, (('CL-' || lpad(("c"."id")::text, greatest(6, length(("c"."id")::text)),
'0')))::text, ("c"."user_id")::bigint, ("c"."luthier_id")::bigint, ("c"."workshop_id")::bigint, (coalesce(nullif(btrim(regexp_replace(((coalesce(("u"."first_name")::text, '') || ' ' || coalesce(("u"."last_name")::text, '')))::text, '\s+', ' ', 'g'),
E' \t\n\r\f\x0b'),
''),
'(unnamed)'))::text, case
when (case
when ("c"."sex")::text is null then null else case ("c"."sex")::text
when '0' then 'female'
when '1' then 'male'
when '2' then 'other' else 'unknown' end end)::text in ('female', 'male', 'other', 'unknown') then (case
when ("c"."sex")::text is null then null else case ("c"."sex")::text
when '0' then 'female'
when '1' then 'male'
when '2' then 'other' else 'unknown' end end)::text end, (nullif(regexp_replace(("c"."phone")::text, '[^0-9]', '', 'g'),
''))::text, ("c"."prefs")::text, (((NOT "c"."suspended")))::bool, (("c"."created_at")::timestamp at time zone 'America/Denver')::timestamptz, (case
when ((('CL-' || lpad(("c"."id")::text, greatest(6, length(("c"."id")::text)),
'0')))::text) is null then '23502|NULL in a required column|client_no'
when "c"."user_id" is null then '23502|NULL in a required column|profile_id'
when ((coalesce(nullif(btrim(regexp_replace(((coalesce(("u"."first_name")::text, '') || ' ' || coalesce(("u"."last_name")::text, '')))::text, '\s+', ' ', 'g'),
E' \t\n\r\f\x0b'),
''),
'(unnamed)'))::text) is null then '23502|NULL in a required column|full_name'
when (case
when ("c"."sex")::text is null then null else case ("c"."sex")::text
when '0' then 'female'
when '1' then 'male'
when '2' then 'other' else 'unknown' end end) is not null and not ((case
when ("c"."sex")::text is null then null else case ("c"."sex")::text
when '0' then 'female'
when '1' then 'male'
when '2' then 'other' else 'unknown' end end)::text in ('female', 'male', 'other', 'unknown')) then '22P02|not a label of the enum|sex'
when ((((NOT "c"."suspended")))::bool) is null then '23502|NULL in a required column|is_active'
when ((("c"."created_at")::timestamp at time zone 'America/Denver')::timestamptz) is null then '23502|NULL in a required column|created_at' end)::text, case
when isfinite("c"."created_at") then (extract(epoch
from "c"."created_at") * 1000)::bigint end
from "public"."shop_client" as "c"
left join "public"."auth_user" as "u" on ("u"."id" = "c"."user_id")
where ((NOT "c"."archived")) and ("c".xmin = any ('{4294967290,4294967291,4294967292,4294967293,4294967294,4294967295,0,1,2,3}'::xid[])) order by "c"."id"

-- source: since a horizon, from a block on
select "c"."id"::bigint, (('CL-' || lpad(("c"."id")::text, greatest(6, length(("c"."id")::text)),
'0')))::text, ("c"."user_id")::bigint, ("c"."luthier_id")::bigint, ("c"."workshop_id")::bigint, (coalesce(nullif(btrim(regexp_replace(((coalesce(("u"."first_name")::text, '') || ' ' || coalesce(("u"."last_name")::text, '')))::text, '\s+', ' ', 'g'),
E' \t\n\r\f\x0b'),
''),
'(unnamed)'))::text, case
when (case
when ("c"."sex")::text is null then null else case ("c"."sex")::text
when '0' then 'female'
when '1' then 'male'
when '2' then 'other' else 'unknown' end end)::text in ('female', 'male', 'other', 'unknown') then (case
when ("c"."sex")::text is null then null else case ("c"."sex")::text
when '0' then 'female'
when '1' then 'male'
when '2' then 'other' else 'unknown' end end)::text end, (nullif(regexp_replace(("c"."phone")::text, '[^0-9]', '', 'g'),
''))::text, ("c"."prefs")::text, (((NOT "c"."suspended")))::bool, (("c"."created_at")::timestamp at time zone 'America/Denver')::timestamptz, (case
when ((('CL-' || lpad(("c"."id")::text, greatest(6, length(("c"."id")::text)),
'0')))::text) is null then '23502|NULL in a required column|client_no'
when "c"."user_id" is null then '23502|NULL in a required column|profile_id'
when ((coalesce(nullif(btrim(regexp_replace(((coalesce(("u"."first_name")::text, '') || ' ' || coalesce(("u"."last_name")::text, '')))::text, '\s+', ' ', 'g'),
E' \t\n\r\f\x0b'),
''),
'(unnamed)'))::text) is null then '23502|NULL in a required column|full_name'
when (case
when ("c"."sex")::text is null then null else case ("c"."sex")::text
when '0' then 'female'
when '1' then 'male'
when '2' then 'other' else 'unknown' end end) is not null and not ((case
when ("c"."sex")::text is null then null else case ("c"."sex")::text
when '0' then 'female'
when '1' then 'male'
when '2' then 'other' else 'unknown' end end)::text in ('female', 'male', 'other', 'unknown')) then '22P02|not a label of the enum|sex'
when ((((NOT "c"."suspended")))::bool) is null then '23502|NULL in a required column|is_active'
when ((("c"."created_at")::timestamp at time zone 'America/Denver')::timestamptz) is null then '23502|NULL in a required column|created_at' end)::text, case
when isfinite("c"."created_at") then (extract(epoch
from "c"."created_at") * 1000)::bigint end
from "public"."shop_client" as "c"
left join "public"."auth_user" as "u" on ("u"."id" = "c"."user_id")
where ((NOT "c"."archived")) and "c".ctid >= '(41,0)'::tid and ("c".xmin = any ('{4294967290,4294967291,4294967292,4294967293,4294967294,4294967295,0,1,2,3}'::xid[])) order by "c"."id"

-- stage: create
drop table if exists pg_temp.diffmig_stage; create temporary table diffmig_stage (k0 bigint, c0 text, c1 bigint, c2 bigint, c3 bigint, c4 text, c5 text, c6 text, c7 jsonb, c8 bool, c9 timestamptz, fault text, new_id uuid, row_hash bytea, n integer, seen xid) on commit preserve rows

-- stage: fill
copy pg_temp.diffmig_stage (k0, c0, c1, c2, c3, c4, c5, c6, c7, c8, c9, fault, new_id, row_hash, n)
from stdin (format binary)

-- stage: forget earlier findings
update diffmig.quarantine q set status = 'resolved', updated_at = now()
from pg_temp.diffmig_stage s
where q.entity = 'clients' and q.key = jsonb_build_array(s.k0) and q.status <> 'resolved'; delete
from diffmig.pending_reference w using pg_temp.diffmig_stage s
where w.entity = 'clients' and w.key = jsonb_build_array(s.k0)

-- apply
with recursive resolved as materialized (select s.*, l.ctid as l_ctid, l.target_id as l_id, l.row_hash as l_hash, l.applied_hash as l_applied, l.target_xmin as l_xmin, l.deleted_at as l_deleted, r1_0.target_id as f1_0, r2_0.target_id as f2_0, r3_0.target_id as f3_0, case
when s.fault is not null then s.fault end as bad, ((s.c1 is not null and r1_0.target_id is null)) as waits, ((s.c2 is not null and r2_0.target_id is null) or (s.c3 is not null and r3_0.target_id is null)) as nulled
from pg_temp.diffmig_stage s
left join diffmig."ledger_clients" l on l.k0 = s.k0
left join diffmig."ledger_profiles" r1_0 on r1_0.k0 = s.c1 and r1_0.target_xmin is not null
left join diffmig."ledger_luthiers" r2_0 on r2_0.k0 = s.c2 and r2_0.target_xmin is not null
left join diffmig."ledger_workshops" r3_0 on r3_0.k0 = s.c3 and r3_0.target_xmin is not null
where s.n between 0 and 4999),
planned as materialized (select r.*, coalesce(r.l_id, r.new_id) as id, t.ctid as t_ctid, t.xmin as t_xmin, e.edited, case
when r.bad is not null then 'quarantined'
when r.waits then 'held' 
when t.xmin is null and r.l_xmin is not null and r.l_deleted is null then 'conflicted'
when t."id" is null then 'inserted'
when r.l_deleted is null and not (t."client_no"::text collate "C" is distinct
from r.c0 collate "C" or t."profile_id" is distinct
from coalesce(r.f1_0) or t."luthier_id" is distinct
from coalesce(r.f2_0) or t."workshop_id" is distinct
from coalesce(r.f3_0) or t."full_name"::text collate "C" is distinct
from r.c4 collate "C" or t."sex"::text collate "C" is distinct
from r.c5 collate "C" or t."phone"::text collate "C" is distinct
from r.c6 collate "C" or t."preferences"::jsonb::text collate "C" is distinct
from r.c7::text collate "C" or t."is_active" is distinct
from r.c8 or t."created_at" is distinct
from r.c9) then 'identical'
when e.edited then 'conflicted' else 'updated' end as action
from resolved r
left join "public"."clients" t on t."id" = coalesce(r.l_id, r.new_id) cross join lateral (select coalesce(t.xmin <> r.l_xmin and t.xmin is distinct
from r.seen, false) as edited) e),
inserted as (insert into "public"."clients" ("id", "legacy_client_id", "client_no", "profile_id", "luthier_id", "workshop_id", "full_name", "sex", "phone", "preferences", "is_active", "created_at")
select p.id, p.k0, p.c0, coalesce(p.f1_0),
coalesce(p.f2_0),
coalesce(p.f3_0),
p.c4, p.c5::sex, p.c6, p.c7, p.c8, p.c9
from planned p
where p.action = 'inserted' order by p.id
returning 1),
updated as (update "public"."clients" t set "client_no" = p.c0, "profile_id" = coalesce(p.f1_0),
"luthier_id" = coalesce(p.f2_0),
"workshop_id" = coalesce(p.f3_0),
"full_name" = p.c4, "sex" = p.c5::sex, "phone" = p.c6, "preferences" = p.c7, "is_active" = p.c8, "created_at" = p.c9, "retired_at" = case
when p.l_deleted is null then t."retired_at" else null end
from planned p
where p.action = 'updated' and t.ctid = p.t_ctid and t."id" = p.id and t.xmin = p.t_xmin
returning 1),
recorded as (update diffmig."ledger_clients" l set target_id = p.id, row_hash = p.row_hash, applied_hash = case
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
added as (insert into diffmig."ledger_clients" (k0, target_id, row_hash, applied_hash, target_xmin, outcome, pending, session_number, deleted_at)
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
select 'clients', jsonb_build_array(p.k0),
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
select 'clients', jsonb_build_array(p.k0),
'profile_id', 'profiles', jsonb_build_array(p.c1)
from planned p
where p.action = 'held' and p.f1_0 is null and p.c1 is not null
union all
select 'clients', jsonb_build_array(p.k0),
'luthier_id', 'luthiers', jsonb_build_array(p.c2)
from planned p
where (p.action not in ('quarantined', 'held') or (p.edited and p.t_xmin is not null)) and p.f2_0 is null and p.c2 is not null
union all
select 'clients', jsonb_build_array(p.k0),
'workshop_id', 'workshops', jsonb_build_array(p.c3)
from planned p
where (p.action not in ('quarantined', 'held') or (p.edited and p.t_xmin is not null)) and p.f3_0 is null and p.c3 is not null
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
select l.k0::bigint, t."client_no"::text, (case
when t."profile_id" is null then (select (w.parent_key ->> 0)
from diffmig.pending_reference w
where w.entity = 'clients' and w.key = jsonb_build_array(l.k0) and w.column_name = 'profile_id')::bigint else coalesce(b1_0.k0) end)::bigint, (case
when t."luthier_id" is null then (select (w.parent_key ->> 0)
from diffmig.pending_reference w
where w.entity = 'clients' and w.key = jsonb_build_array(l.k0) and w.column_name = 'luthier_id')::bigint else coalesce(b2_0.k0) end)::bigint, (case
when t."workshop_id" is null then (select (w.parent_key ->> 0)
from diffmig.pending_reference w
where w.entity = 'clients' and w.key = jsonb_build_array(l.k0) and w.column_name = 'workshop_id')::bigint else coalesce(b3_0.k0) end)::bigint, t."full_name"::text, t."sex"::text, t."phone"::text, t."preferences"::text, t."is_active"::bool, t."created_at"::timestamptz, null::text, null::bigint, t."id" is not null, l.letter
from (select *, case
when deleted_at is null and outcome = 'applied' then 'a'::"char"
when outcome in ('applied', 'conflicted') and deleted_at is not null then 'd'::"char"
when outcome = 'conflicted' then 'c'::"char"
when outcome = 'quarantined' then case
when target_xmin is null or deleted_at is not null then 'q'::"char" else 'Q'::"char" end
when outcome = 'held' then case
when target_xmin is null or deleted_at is not null then 'h'::"char" else 'H'::"char" end else 'u'::"char" end as letter
from diffmig."ledger_clients"
where ('x' || left(md5(k0::text),
8))::bit(32)::bigint & 4294967295 <= 107374182) l
left join "public"."clients" t on t."id" = l.target_id
left join diffmig."ledger_profiles" b1_0 on b1_0.target_id = t."profile_id"
left join diffmig."ledger_luthiers" b2_0 on b2_0.target_id = t."luthier_id"
left join diffmig."ledger_workshops" b3_0 on b3_0.target_id = t."workshop_id" order by l.k0

-- content: native rows
select count(*)
from "public"."clients" t
where not exists (select
from diffmig."ledger_workshops" l
where l.target_id = t."id" and l.target_xmin is not null) and not exists (select
from diffmig."ledger_clients" l
where l.target_id = t."id" and l.target_xmin is not null)

-- source: a sample
select "c"."id"::bigint, (('CL-' || lpad(("c"."id")::text, greatest(6, length(("c"."id")::text)),
'0')))::text, ("c"."user_id")::bigint, ("c"."luthier_id")::bigint, ("c"."workshop_id")::bigint, (coalesce(nullif(btrim(regexp_replace(((coalesce(("u"."first_name")::text, '') || ' ' || coalesce(("u"."last_name")::text, '')))::text, '\s+', ' ', 'g'),
E' \t\n\r\f\x0b'),
''),
'(unnamed)'))::text, case
when (case
when ("c"."sex")::text is null then null else case ("c"."sex")::text
when '0' then 'female'
when '1' then 'male'
when '2' then 'other' else 'unknown' end end)::text in ('female', 'male', 'other', 'unknown') then (case
when ("c"."sex")::text is null then null else case ("c"."sex")::text
when '0' then 'female'
when '1' then 'male'
when '2' then 'other' else 'unknown' end end)::text end, (nullif(regexp_replace(("c"."phone")::text, '[^0-9]', '', 'g'),
''))::text, ("c"."prefs")::text, (((NOT "c"."suspended")))::bool, (("c"."created_at")::timestamp at time zone 'America/Denver')::timestamptz, (case
when ((('CL-' || lpad(("c"."id")::text, greatest(6, length(("c"."id")::text)),
'0')))::text) is null then '23502|NULL in a required column|client_no'
when "c"."user_id" is null then '23502|NULL in a required column|profile_id'
when ((coalesce(nullif(btrim(regexp_replace(((coalesce(("u"."first_name")::text, '') || ' ' || coalesce(("u"."last_name")::text, '')))::text, '\s+', ' ', 'g'),
E' \t\n\r\f\x0b'),
''),
'(unnamed)'))::text) is null then '23502|NULL in a required column|full_name'
when (case
when ("c"."sex")::text is null then null else case ("c"."sex")::text
when '0' then 'female'
when '1' then 'male'
when '2' then 'other' else 'unknown' end end) is not null and not ((case
when ("c"."sex")::text is null then null else case ("c"."sex")::text
when '0' then 'female'
when '1' then 'male'
when '2' then 'other' else 'unknown' end end)::text in ('female', 'male', 'other', 'unknown')) then '22P02|not a label of the enum|sex'
when ((((NOT "c"."suspended")))::bool) is null then '23502|NULL in a required column|is_active'
when ((("c"."created_at")::timestamp at time zone 'America/Denver')::timestamptz) is null then '23502|NULL in a required column|created_at' end)::text, case
when isfinite("c"."created_at") then (extract(epoch
from "c"."created_at") * 1000)::bigint end
from "public"."shop_client" as "c"
left join "public"."auth_user" as "u" on ("u"."id" = "c"."user_id")
where ((NOT "c"."archived")) and ('x' || left(md5(("c"."id"::bigint)::text),
8))::bit(32)::bigint & 4294967295 <= 107374182 order by "c"."id"

-- content: staged rows that seem edited
select l.k0::bigint, t."client_no"::text, (case
when t."profile_id" is null then (select (w.parent_key ->> 0)
from diffmig.pending_reference w
where w.entity = 'clients' and w.key = jsonb_build_array(l.k0) and w.column_name = 'profile_id')::bigint else coalesce(b1_0.k0) end)::bigint, (case
when t."luthier_id" is null then (select (w.parent_key ->> 0)
from diffmig.pending_reference w
where w.entity = 'clients' and w.key = jsonb_build_array(l.k0) and w.column_name = 'luthier_id')::bigint else coalesce(b2_0.k0) end)::bigint, (case
when t."workshop_id" is null then (select (w.parent_key ->> 0)
from diffmig.pending_reference w
where w.entity = 'clients' and w.key = jsonb_build_array(l.k0) and w.column_name = 'workshop_id')::bigint else coalesce(b3_0.k0) end)::bigint, t."full_name"::text, t."sex"::text, t."phone"::text, t."preferences"::text, t."is_active"::bool, t."created_at"::timestamptz, null::text, null::bigint, g.n::integer, t.xmin, coalesce(l.applied_hash, l.row_hash)
from pg_temp.diffmig_stage g join diffmig."ledger_clients" l on l.k0 = g.k0 join "public"."clients" t on t."id" = l.target_id
left join diffmig."ledger_profiles" b1_0 on b1_0.target_id = t."profile_id"
left join diffmig."ledger_luthiers" b2_0 on b2_0.target_id = t."luthier_id"
left join diffmig."ledger_workshops" b3_0 on b3_0.target_id = t."workshop_id"
where l.deleted_at is null and t.xmin <> l.target_xmin

-- retire
with doomed as materialized (select l.*, l.ctid as l_ctid, t.ctid as t_ctid, t.xmin as t_xmin, coalesce(t.xmin <> l.target_xmin and t.xmin is distinct
from g.seen, false) as edited, g.fault as given
from (select k0, null::xid as seen, null::text as fault
from unnest('{3,-4}'::bigint[]) as k (k0)) g join diffmig."ledger_clients" l on l.k0 = g.k0
left join "public"."clients" t on t."id" = l.target_id
where l.deleted_at is null or l.outcome in ('quarantined', 'held')),
judged as materialized (select d.*, d.given as fault
from doomed d),
gone as materialized (select j.*, true and not j.edited and j.fault is null and j.target_xmin is not null and j.t_xmin is not null as acts
from judged j),
changed as (update "public"."clients" t set "is_active" = false, "retired_at" = now()
from gone g
where g.acts and t.ctid = g.t_ctid and t."id" = g.target_id and t.xmin = g.t_xmin
returning 1),
recorded as (update diffmig."ledger_clients" l set deleted_at = case
when g.fault is null then now() end, outcome = (case
when g.fault is not null then 'undeleted'
when g.edited then 'conflicted' else 'applied' end)::diffmig.outcome, pending = false, target_xmin = case
when g.acts then (select ((pg_catalog.txid_current() & 4294967295)::text)::xid)
when g.t_xmin is not null then l.target_xmin end, session_number = 7
from gone g
where l.ctid = g.l_ctid and l.k0 = g.k0
returning 1),
aside as (insert into diffmig.quarantine as old (entity, key, status, sqlstate, constraint_name, reason, first_session, last_session)
select 'clients', jsonb_build_array(g.k0),
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
where not g.edited and g.fault is null and q.entity = 'clients' and q.key = jsonb_build_array(g.k0) and q.status <> 'resolved'),
released as (delete
from diffmig.pending_reference w using gone g
where w.entity = 'clients' and w.key = jsonb_build_array(g.k0))
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
create temporary table "diffmig_keys_clients" (k0 bigint) on commit drop;
create temporary table "diffmig_claims_clients" on commit drop as
select null::bigint as k0, null::uuid as target_id, null::integer as origin
where false
union all
select t."legacy_client_id"::bigint, t."id"::uuid, 1
from "public"."clients" t
where t."legacy_client_id" is not null; analyze pg_temp."diffmig_claims_clients";
create temporary table "diffmig_links_clients" (k0 bigint, target_id uuid, fault text, settled boolean, marked boolean) on commit drop;
create temporary table "diffmig_owned_clients" on commit drop as
select l.target_id::uuid as target_id
from diffmig."ledger_clients" l
where l.target_xmin is not null; analyze pg_temp."diffmig_owned_clients";
insert into pg_temp."diffmig_links_clients" (k0, target_id, fault, settled, marked) with pair as (select c.k0, c.target_id
from pg_temp."diffmig_claims_clients" c
where c.k0 is not null group by c.k0, c.target_id),
doubled as (select distinct k0
from (select c.k0, c.origin
from pg_temp."diffmig_claims_clients" c
where c.k0 is not null group by c.k0, c.target_id, c.origin) d group by k0, origin having count(*) > 1),
seen as (select p.*, t."id"::uuid as row_id, l.target_xmin is not null as settled, l.target_id as known_id, coalesce(l.applied_hash = pg_catalog.decode('ffffffffffffffffffffffffffffffff', 'hex') and l.target_xmin is null, false) as marked, count(*) over (partition by p.k0) as ids, count(*) over (partition by p.target_id) as keys
from pair p
left join "public"."clients" t on t."id"::uuid = p.target_id
left join diffmig."ledger_clients" l on l.k0 = p.k0),
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
left join pg_temp."diffmig_owned_clients" o on o.target_id = s.target_id)
select distinct on (k0) k0, case
when fault is null then row_id end as target_id, fault, settled, marked
from judged order by k0, fault nulls last; analyze pg_temp."diffmig_links_clients";
insert into pg_temp."diffmig_links_clients" (k0, target_id, fault, settled, marked)
select l.k0, null, case
when coalesce(l.applied_hash = pg_catalog.decode('ffffffffffffffffffffffffffffffff', 'hex') and l.target_xmin is null, false) then 'released' end, not coalesce(l.applied_hash = pg_catalog.decode('ffffffffffffffffffffffffffffffff', 'hex') and l.target_xmin is null, false),
coalesce(l.applied_hash = pg_catalog.decode('ffffffffffffffffffffffffffffffff', 'hex') and l.target_xmin is null, false)
from diffmig."ledger_clients" l
left join pg_temp."diffmig_links_clients" x on x.k0 = l.k0
where x.k0 is null; analyze pg_temp."diffmig_links_clients";
select l.k0::bigint, t."client_no"::text, (case
when t."profile_id" is null then null::bigint else coalesce(b1_0.k0) end)::bigint, (case
when t."luthier_id" is null then null::bigint else coalesce(b2_0.k0) end)::bigint, (case
when t."workshop_id" is null then null::bigint else coalesce(b3_0.k0) end)::bigint, t."full_name"::text, t."sex"::text, t."phone"::text, t."preferences"::text, t."is_active"::bool, t."created_at"::timestamptz, null::text, null::bigint, t.xmin, coalesce(t."is_active" = false and t."retired_at" is not null, false),
l.fault, l.settled, l.marked, l.target_id
from pg_temp."diffmig_links_clients" l
left join "public"."clients" t on t."id" = l.target_id and l.fault is null and not l.settled
left join (select k0, target_id
from diffmig."ledger_profiles" l
where target_xmin is not null) b1_0 on b1_0.target_id = t."profile_id"
left join (select k0, target_id
from diffmig."ledger_luthiers" l
where target_xmin is not null) b2_0 on b2_0.target_id = t."luthier_id"
left join (select k0, target_id
from diffmig."ledger_workshops" l
where target_xmin is not null) b3_0 on b3_0.target_id = t."workshop_id" order by l.k0;
select (select count(*)
from pg_temp."diffmig_claims_clients" c
where not (c.k0 is not null)),
array(select distinct c.target_id::text
from pg_temp."diffmig_claims_clients" c
where not (c.k0 is not null) and c.target_id is not null order by 1 limit 10);
select count(*)
from "public"."clients" t
where not exists (select
from pg_temp."diffmig_owned_clients" o
where o.target_id = t."id"::uuid) and not exists (select
from pg_temp."diffmig_claims_clients" c
where c.target_id = t."id"::uuid) and not exists (select
from pg_temp."diffmig_links_clients" l
where l.target_id = t."id")

-- adopt: record
create unique index if not exists "ledger_clients_key" on diffmig."ledger_clients" (k0);
drop table if exists pg_temp.diffmig_adopted; create temporary table diffmig_adopted (k0 bigint, target_id uuid, row_hash bytea, applied_hash bytea, target_xmin xid, outcome text, gone boolean, reason text) on commit preserve rows;
with put as (insert into diffmig."ledger_clients" as l (k0, target_id, row_hash, applied_hash, target_xmin, outcome, pending, session_number, deleted_at)
select s.k0, s.target_id, s.row_hash, s.applied_hash, s.target_xmin, s.outcome::diffmig.outcome, false, 7, case
when s.gone then now() end
from pg_temp.diffmig_adopted s order by s.k0
on conflict (k0) do update set target_id = excluded.target_id, row_hash = excluded.row_hash, applied_hash = excluded.applied_hash, target_xmin = excluded.target_xmin, outcome = excluded.outcome, pending = excluded.pending, session_number = excluded.session_number, deleted_at = excluded.deleted_at
where l.target_xmin is null
returning (l.xmax = 0) as is_new),
settled as (update diffmig.quarantine q set status = 'resolved', updated_at = now()
from pg_temp.diffmig_adopted s
where q.entity = 'clients' and q.key = jsonb_build_array(s.k0) and q.status <> 'resolved' and s.reason is null),
aside as (insert into diffmig.quarantine as old (entity, key, status, sqlstate, reason, first_session, last_session)
select 'clients', jsonb_build_array(s.k0),
'open', 'DM002', s.reason, '00000000-0000-0000-0000-000000000000'::uuid, '00000000-0000-0000-0000-000000000000'::uuid
from pg_temp.diffmig_adopted s
where s.reason is not null order by 2
on conflict (entity, key) do update set status = excluded.status, sqlstate = excluded.sqlstate, constraint_name = null, reason = excluded.reason, attempts = old.attempts + 1, last_session = excluded.last_session, updated_at = now()),
waiting as (delete
from diffmig.pending_reference w using pg_temp.diffmig_adopted s
where w.entity = 'clients' and w.key = jsonb_build_array(s.k0)),
forgotten as (delete
from diffmig.watermark
where entity = 'clients')
select count(*),
count(*) filter (where is_new)
from put

