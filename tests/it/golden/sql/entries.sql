-- source: whole entity
select "e"."id"::bigint, case
when (case
when ("e"."target_type_id")::text is null then null else case ("e"."target_type_id")::text
when '11' then 'client'
when '12' then 'profile'
when '14' then 'ticket' else null end end)::text in ('client', 'profile', 'ticket') then (case
when ("e"."target_type_id")::text is null then null else case ("e"."target_type_id")::text
when '11' then 'client'
when '12' then 'profile'
when '14' then 'ticket' else null end end)::text end, (case
when (case
when "e"."target_id" is not null then case ("e"."target_type_id")::text
when '11' then 'clients'
when '12' then 'profiles'
when '14' then 'tickets' end end) is not null then "e"."target_id" end)::bigint, (case
when "e"."target_id" is not null then case ("e"."target_type_id")::text
when '11' then 'clients'
when '12' then 'profiles'
when '14' then 'tickets' end end)::text, ("e"."author_id")::bigint, ("e"."subject")::text, ("e"."body")::text, ((left(("e"."body")::text, 50)))::text, ("e"."is_read")::bool, (("e"."sent_at")::timestamp at time zone 'America/Denver')::timestamptz, (case
when ("e"."target_type_id")::text not in ('11', '12', '14') then '22023|unknown code|target_kind'
when (case
when ("e"."target_type_id")::text is null then null else case ("e"."target_type_id")::text
when '11' then 'client'
when '12' then 'profile'
when '14' then 'ticket' else null end end) is not null and not ((case
when ("e"."target_type_id")::text is null then null else case ("e"."target_type_id")::text
when '11' then 'client'
when '12' then 'profile'
when '14' then 'ticket' else null end end)::text in ('client', 'profile', 'ticket')) then '22P02|not a label of the enum|target_kind'
when (case
when (case
when ("e"."target_type_id")::text is null then null else case ("e"."target_type_id")::text
when '11' then 'client'
when '12' then 'profile'
when '14' then 'ticket' else null end end)::text in ('client', 'profile', 'ticket') then (case
when ("e"."target_type_id")::text is null then null else case ("e"."target_type_id")::text
when '11' then 'client'
when '12' then 'profile'
when '14' then 'ticket' else null end end)::text end) is null then '23502|NULL in a required column|target_kind'
when "e"."target_id" is not null and (case
when "e"."target_id" is not null then case ("e"."target_type_id")::text
when '11' then 'clients'
when '12' then 'profiles'
when '14' then 'tickets' end end) is null then '22023|unknown type of a generic reference|target_id'
when "e"."target_id" is null then '23502|NULL in a required column|target_id'
when char_length(("e"."subject")::text) > 100 then '22001|longer than the column|subject'
when ((("e"."sent_at")::timestamp at time zone 'America/Denver')::timestamptz) is null then '23502|NULL in a required column|sent_at' end)::text, case
when isfinite("e"."sent_at") then (extract(epoch
from "e"."sent_at") * 1000)::bigint end
from "public"."shop_entry" as "e" order by "e"."id"

-- source: key range
select "e"."id"::bigint, case
when (case
when ("e"."target_type_id")::text is null then null else case ("e"."target_type_id")::text
when '11' then 'client'
when '12' then 'profile'
when '14' then 'ticket' else null end end)::text in ('client', 'profile', 'ticket') then (case
when ("e"."target_type_id")::text is null then null else case ("e"."target_type_id")::text
when '11' then 'client'
when '12' then 'profile'
when '14' then 'ticket' else null end end)::text end, (case
when (case
when "e"."target_id" is not null then case ("e"."target_type_id")::text
when '11' then 'clients'
when '12' then 'profiles'
when '14' then 'tickets' end end) is not null then "e"."target_id" end)::bigint, (case
when "e"."target_id" is not null then case ("e"."target_type_id")::text
when '11' then 'clients'
when '12' then 'profiles'
when '14' then 'tickets' end end)::text, ("e"."author_id")::bigint, ("e"."subject")::text, ("e"."body")::text, ((left(("e"."body")::text, 50)))::text, ("e"."is_read")::bool, (("e"."sent_at")::timestamp at time zone 'America/Denver')::timestamptz, (case
when ("e"."target_type_id")::text not in ('11', '12', '14') then '22023|unknown code|target_kind'
when (case
when ("e"."target_type_id")::text is null then null else case ("e"."target_type_id")::text
when '11' then 'client'
when '12' then 'profile'
when '14' then 'ticket' else null end end) is not null and not ((case
when ("e"."target_type_id")::text is null then null else case ("e"."target_type_id")::text
when '11' then 'client'
when '12' then 'profile'
when '14' then 'ticket' else null end end)::text in ('client', 'profile', 'ticket')) then '22P02|not a label of the enum|target_kind'
when (case
when (case
when ("e"."target_type_id")::text is null then null else case ("e"."target_type_id")::text
when '11' then 'client'
when '12' then 'profile'
when '14' then 'ticket' else null end end)::text in ('client', 'profile', 'ticket') then (case
when ("e"."target_type_id")::text is null then null else case ("e"."target_type_id")::text
when '11' then 'client'
when '12' then 'profile'
when '14' then 'ticket' else null end end)::text end) is null then '23502|NULL in a required column|target_kind'
when "e"."target_id" is not null and (case
when "e"."target_id" is not null then case ("e"."target_type_id")::text
when '11' then 'clients'
when '12' then 'profiles'
when '14' then 'tickets' end end) is null then '22023|unknown type of a generic reference|target_id'
when "e"."target_id" is null then '23502|NULL in a required column|target_id'
when char_length(("e"."subject")::text) > 100 then '22001|longer than the column|subject'
when ((("e"."sent_at")::timestamp at time zone 'America/Denver')::timestamptz) is null then '23502|NULL in a required column|sent_at' end)::text, case
when isfinite("e"."sent_at") then (extract(epoch
from "e"."sent_at") * 1000)::bigint end
from "public"."shop_entry" as "e"
where ("e"."id") >= ('1'::bigint) and ("e"."id") <= ('9'::bigint) order by "e"."id"

-- source: since a time
select "e"."id"::bigint, case
when (case
when ("e"."target_type_id")::text is null then null else case ("e"."target_type_id")::text
when '11' then 'client'
when '12' then 'profile'
when '14' then 'ticket' else null end end)::text in ('client', 'profile', 'ticket') then (case
when ("e"."target_type_id")::text is null then null else case ("e"."target_type_id")::text
when '11' then 'client'
when '12' then 'profile'
when '14' then 'ticket' else null end end)::text end, (case
when (case
when "e"."target_id" is not null then case ("e"."target_type_id")::text
when '11' then 'clients'
when '12' then 'profiles'
when '14' then 'tickets' end end) is not null then "e"."target_id" end)::bigint, (case
when "e"."target_id" is not null then case ("e"."target_type_id")::text
when '11' then 'clients'
when '12' then 'profiles'
when '14' then 'tickets' end end)::text, ("e"."author_id")::bigint, ("e"."subject")::text, ("e"."body")::text, ((left(("e"."body")::text, 50)))::text, ("e"."is_read")::bool, (("e"."sent_at")::timestamp at time zone 'America/Denver')::timestamptz, (case
when ("e"."target_type_id")::text not in ('11', '12', '14') then '22023|unknown code|target_kind'
when (case
when ("e"."target_type_id")::text is null then null else case ("e"."target_type_id")::text
when '11' then 'client'
when '12' then 'profile'
when '14' then 'ticket' else null end end) is not null and not ((case
when ("e"."target_type_id")::text is null then null else case ("e"."target_type_id")::text
when '11' then 'client'
when '12' then 'profile'
when '14' then 'ticket' else null end end)::text in ('client', 'profile', 'ticket')) then '22P02|not a label of the enum|target_kind'
when (case
when (case
when ("e"."target_type_id")::text is null then null else case ("e"."target_type_id")::text
when '11' then 'client'
when '12' then 'profile'
when '14' then 'ticket' else null end end)::text in ('client', 'profile', 'ticket') then (case
when ("e"."target_type_id")::text is null then null else case ("e"."target_type_id")::text
when '11' then 'client'
when '12' then 'profile'
when '14' then 'ticket' else null end end)::text end) is null then '23502|NULL in a required column|target_kind'
when "e"."target_id" is not null and (case
when "e"."target_id" is not null then case ("e"."target_type_id")::text
when '11' then 'clients'
when '12' then 'profiles'
when '14' then 'tickets' end end) is null then '22023|unknown type of a generic reference|target_id'
when "e"."target_id" is null then '23502|NULL in a required column|target_id'
when char_length(("e"."subject")::text) > 100 then '22001|longer than the column|subject'
when ((("e"."sent_at")::timestamp at time zone 'America/Denver')::timestamptz) is null then '23502|NULL in a required column|sent_at' end)::text, case
when isfinite("e"."sent_at") then (extract(epoch
from "e"."sent_at") * 1000)::bigint end
from "public"."shop_entry" as "e" order by "e"."id"

-- source: keys
select "e"."id"::bigint
from "public"."shop_entry" as "e" order by "e"."id"

-- source: keys as bits
select "e"."id"::bigint >> 6, bit_or(1::bigint << ("e"."id"::bigint & 63)::integer)
from "public"."shop_entry" as "e" group by 1

-- source: slice
select "e"."id"::bigint, case
when (case
when ("e"."target_type_id")::text is null then null else case ("e"."target_type_id")::text
when '11' then 'client'
when '12' then 'profile'
when '14' then 'ticket' else null end end)::text in ('client', 'profile', 'ticket') then (case
when ("e"."target_type_id")::text is null then null else case ("e"."target_type_id")::text
when '11' then 'client'
when '12' then 'profile'
when '14' then 'ticket' else null end end)::text end, (case
when (case
when "e"."target_id" is not null then case ("e"."target_type_id")::text
when '11' then 'clients'
when '12' then 'profiles'
when '14' then 'tickets' end end) is not null then "e"."target_id" end)::bigint, (case
when "e"."target_id" is not null then case ("e"."target_type_id")::text
when '11' then 'clients'
when '12' then 'profiles'
when '14' then 'tickets' end end)::text, ("e"."author_id")::bigint, ("e"."subject")::text, ("e"."body")::text, ((left(("e"."body")::text, 50)))::text, ("e"."is_read")::bool, (("e"."sent_at")::timestamp at time zone 'America/Denver')::timestamptz, (case
when ("e"."target_type_id")::text not in ('11', '12', '14') then '22023|unknown code|target_kind'
when (case
when ("e"."target_type_id")::text is null then null else case ("e"."target_type_id")::text
when '11' then 'client'
when '12' then 'profile'
when '14' then 'ticket' else null end end) is not null and not ((case
when ("e"."target_type_id")::text is null then null else case ("e"."target_type_id")::text
when '11' then 'client'
when '12' then 'profile'
when '14' then 'ticket' else null end end)::text in ('client', 'profile', 'ticket')) then '22P02|not a label of the enum|target_kind'
when (case
when (case
when ("e"."target_type_id")::text is null then null else case ("e"."target_type_id")::text
when '11' then 'client'
when '12' then 'profile'
when '14' then 'ticket' else null end end)::text in ('client', 'profile', 'ticket') then (case
when ("e"."target_type_id")::text is null then null else case ("e"."target_type_id")::text
when '11' then 'client'
when '12' then 'profile'
when '14' then 'ticket' else null end end)::text end) is null then '23502|NULL in a required column|target_kind'
when "e"."target_id" is not null and (case
when "e"."target_id" is not null then case ("e"."target_type_id")::text
when '11' then 'clients'
when '12' then 'profiles'
when '14' then 'tickets' end end) is null then '22023|unknown type of a generic reference|target_id'
when "e"."target_id" is null then '23502|NULL in a required column|target_id'
when char_length(("e"."subject")::text) > 100 then '22001|longer than the column|subject'
when ((("e"."sent_at")::timestamp at time zone 'America/Denver')::timestamptz) is null then '23502|NULL in a required column|sent_at' end)::text, case
when isfinite("e"."sent_at") then (extract(epoch
from "e"."sent_at") * 1000)::bigint end
from "public"."shop_entry" as "e"
where ("e"."id") >= ('3'::bigint) and ("e"."id") < ('8'::bigint) order by "e"."id"

-- source: key list
select "e"."id"::bigint, case
when (case
when ("e"."target_type_id")::text is null then null else case ("e"."target_type_id")::text
when '11' then 'client'
when '12' then 'profile'
when '14' then 'ticket' else null end end)::text in ('client', 'profile', 'ticket') then (case
when ("e"."target_type_id")::text is null then null else case ("e"."target_type_id")::text
when '11' then 'client'
when '12' then 'profile'
when '14' then 'ticket' else null end end)::text end, (case
when (case
when "e"."target_id" is not null then case ("e"."target_type_id")::text
when '11' then 'clients'
when '12' then 'profiles'
when '14' then 'tickets' end end) is not null then "e"."target_id" end)::bigint, (case
when "e"."target_id" is not null then case ("e"."target_type_id")::text
when '11' then 'clients'
when '12' then 'profiles'
when '14' then 'tickets' end end)::text, ("e"."author_id")::bigint, ("e"."subject")::text, ("e"."body")::text, ((left(("e"."body")::text, 50)))::text, ("e"."is_read")::bool, (("e"."sent_at")::timestamp at time zone 'America/Denver')::timestamptz, (case
when ("e"."target_type_id")::text not in ('11', '12', '14') then '22023|unknown code|target_kind'
when (case
when ("e"."target_type_id")::text is null then null else case ("e"."target_type_id")::text
when '11' then 'client'
when '12' then 'profile'
when '14' then 'ticket' else null end end) is not null and not ((case
when ("e"."target_type_id")::text is null then null else case ("e"."target_type_id")::text
when '11' then 'client'
when '12' then 'profile'
when '14' then 'ticket' else null end end)::text in ('client', 'profile', 'ticket')) then '22P02|not a label of the enum|target_kind'
when (case
when (case
when ("e"."target_type_id")::text is null then null else case ("e"."target_type_id")::text
when '11' then 'client'
when '12' then 'profile'
when '14' then 'ticket' else null end end)::text in ('client', 'profile', 'ticket') then (case
when ("e"."target_type_id")::text is null then null else case ("e"."target_type_id")::text
when '11' then 'client'
when '12' then 'profile'
when '14' then 'ticket' else null end end)::text end) is null then '23502|NULL in a required column|target_kind'
when "e"."target_id" is not null and (case
when "e"."target_id" is not null then case ("e"."target_type_id")::text
when '11' then 'clients'
when '12' then 'profiles'
when '14' then 'tickets' end end) is null then '22023|unknown type of a generic reference|target_id'
when "e"."target_id" is null then '23502|NULL in a required column|target_id'
when char_length(("e"."subject")::text) > 100 then '22001|longer than the column|subject'
when ((("e"."sent_at")::timestamp at time zone 'America/Denver')::timestamptz) is null then '23502|NULL in a required column|sent_at' end)::text, case
when isfinite("e"."sent_at") then (extract(epoch
from "e"."sent_at") * 1000)::bigint end
from "public"."shop_entry" as "e"
where "e"."id" = any('{3,-4}'::bigint[]) order by "e"."id"

-- source: rows of the relation
select count(*)
from "public"."shop_entry" as "e"

-- source: rows that pass
select count(*)
from "public"."shop_entry" as "e"

-- ledger: create
create table if not exists diffmig."ledger_entries" (k0 bigint not null, target_id uuid not null, row_hash bytea not null, applied_hash bytea, target_xmin xid, outcome diffmig.outcome not null default 'applied', pending boolean not null default false, session_number integer not null, deleted_at timestamptz) with (fillfactor = 90)

-- ledger: read
select k0, row_hash, case
when deleted_at is null and outcome = 'applied' then 'a'::"char"
when outcome in ('applied', 'conflicted') and deleted_at is not null then 'd'::"char"
when outcome = 'conflicted' then 'c'::"char"
when outcome = 'quarantined' then case
when target_xmin is null or deleted_at is not null then 'q'::"char" else 'Q'::"char" end
when outcome = 'held' then case
when target_xmin is null or deleted_at is not null then 'h'::"char" else 'H'::"char" end else 'u'::"char" end
from diffmig."ledger_entries" order by k0

-- ledger: read keys
select k0, row_hash, case
when deleted_at is null and outcome = 'applied' then 'a'::"char"
when outcome in ('applied', 'conflicted') and deleted_at is not null then 'd'::"char"
when outcome = 'conflicted' then 'c'::"char"
when outcome = 'quarantined' then case
when target_xmin is null or deleted_at is not null then 'q'::"char" else 'Q'::"char" end
when outcome = 'held' then case
when target_xmin is null or deleted_at is not null then 'h'::"char" else 'H'::"char" end else 'u'::"char" end
from diffmig."ledger_entries"
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
from diffmig."ledger_entries"
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
from diffmig."ledger_entries"
where outcome > 'applied' and (outcome <> 'applied' or deleted_at is not null or pending) and (deleted_at is null or outcome not in ('applied', 'conflicted')) order by k0

-- ledger: keys as bits
select k0 >> 6, bit_or(1::bigint << (k0 & 63)::integer)
from diffmig."ledger_entries"
where (deleted_at is null or outcome not in ('applied', 'conflicted')) group by 1

-- ledger: count
select count(*)
from diffmig."ledger_entries"
where (deleted_at is null or outcome not in ('applied', 'conflicted'))

-- ledger: count what is gone
select count(*)
from diffmig."ledger_entries"
where outcome in ('applied', 'conflicted') and deleted_at is not null

-- ledger: count by outcome, all rows
with g as materialized (select key
from diffmig.quarantine
where entity = 'entries' and status = 'waived'),
a as materialized (select count(*) as n
from diffmig."ledger_entries")
select (select n
from a) - count(*) + count(*) filter (where outcome = 'applied' and deleted_at is null),
count(*) filter (where outcome = 'quarantined'),
count(*) filter (where outcome = 'held'),
count(*) filter (where outcome = 'conflicted' and deleted_at is null),
count(*) filter (where deleted_at is not null and outcome in ('applied', 'conflicted')),
count(*) filter (where pending),
count(*) filter (where outcome = 'conflicted' and deleted_at is not null or outcome not in ('applied', 'quarantined', 'held', 'conflicted')),
(select count(*)
from g join diffmig."ledger_entries" l on l.k0 = (g.key ->> 0)::bigint
where l.outcome <> 'applied'),
(select n
from a) - count(*) + count(*) filter (where (deleted_at is null or outcome not in ('applied', 'conflicted'))),
(select n
from a)
from diffmig."ledger_entries"
where (outcome <> 'applied' or deleted_at is not null or pending)

-- ledger: count by outcome, special rows only
with g as materialized (select key
from diffmig.quarantine
where entity = 'entries' and status = 'waived'),
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
from g join diffmig."ledger_entries" l on l.k0 = (g.key ->> 0)::bigint
where l.outcome <> 'applied'),
(select n
from a) - count(*) + count(*) filter (where (deleted_at is null or outcome not in ('applied', 'conflicted'))),
(select n
from a)
from diffmig."ledger_entries"
where (outcome <> 'applied' or deleted_at is not null or pending)

-- source: since a horizon
select "e"."id"::bigint, case
when (case
when ("e"."target_type_id")::text is null then null else case ("e"."target_type_id")::text
when '11' then 'client'
when '12' then 'profile'
when '14' then 'ticket' else null end end)::text in ('client', 'profile', 'ticket') then (case
when ("e"."target_type_id")::text is null then null else case ("e"."target_type_id")::text
when '11' then 'client'
when '12' then 'profile'
when '14' then 'ticket' else null end end)::text end, (case
when (case
when "e"."target_id" is not null then case ("e"."target_type_id")::text
when '11' then 'clients'
when '12' then 'profiles'
when '14' then 'tickets' end end) is not null then "e"."target_id" end)::bigint, (case
when "e"."target_id" is not null then case ("e"."target_type_id")::text
when '11' then 'clients'
when '12' then 'profiles'
when '14' then 'tickets' end end)::text, ("e"."author_id")::bigint, ("e"."subject")::text, ("e"."body")::text, ((left(("e"."body")::text, 50)))::text, ("e"."is_read")::bool, (("e"."sent_at")::timestamp at time zone 'America/Denver')::timestamptz, (case
when ("e"."target_type_id")::text not in ('11', '12', '14') then '22023|unknown code|target_kind'
when (case
when ("e"."target_type_id")::text is null then null else case ("e"."target_type_id")::text
when '11' then 'client'
when '12' then 'profile'
when '14' then 'ticket' else null end end) is not null and not ((case
when ("e"."target_type_id")::text is null then null else case ("e"."target_type_id")::text
when '11' then 'client'
when '12' then 'profile'
when '14' then 'ticket' else null end end)::text in ('client', 'profile', 'ticket')) then '22P02|not a label of the enum|target_kind'
when (case
when (case
when ("e"."target_type_id")::text is null then null else case ("e"."target_type_id")::text
when '11' then 'client'
when '12' then 'profile'
when '14' then 'ticket' else null end end)::text in ('client', 'profile', 'ticket') then (case
when ("e"."target_type_id")::text is null then null else case ("e"."target_type_id")::text
when '11' then 'client'
when '12' then 'profile'
when '14' then 'ticket' else null end end)::text end) is null then '23502|NULL in a required column|target_kind'
when "e"."target_id" is not null and (case
when "e"."target_id" is not null then case ("e"."target_type_id")::text
when '11' then 'clients'
when '12' then 'profiles'
when '14' then 'tickets' end end) is null then '22023|unknown type of a generic reference|target_id'
when "e"."target_id" is null then '23502|NULL in a required column|target_id'
when char_length(("e"."subject")::text) > 100 then '22001|longer than the column|subject'
when ((("e"."sent_at")::timestamp at time zone 'America/Denver')::timestamptz) is null then '23502|NULL in a required column|sent_at' end)::text, case
when isfinite("e"."sent_at") then (extract(epoch
from "e"."sent_at") * 1000)::bigint end
from "public"."shop_entry" as "e"
where (pg_catalog.xidsend("e".xmin) >= '\xfffffffa'::bytea or pg_catalog.xidsend("e".xmin) <= '\x00000004'::bytea) order by "e"."id"

-- source: since a horizon, on PostgreSQL 14
select "e"."id"::bigint, case
when (case
when ("e"."target_type_id")::text is null then null else case ("e"."target_type_id")::text
when '11' then 'client'
when '12' then 'profile'
when '14' then 'ticket' else null end end)::text in ('client', 'profile', 'ticket') then (case
when ("e"."target_type_id")::text is null then null else case ("e"."target_type_id")::text
when '11' then 'client'
when '12' then 'profile'
when '14' then 'ticket' else null end end)::text end, (case
when (case
when "e"."target_id" is not null then case ("e"."target_type_id")::text
when '11' then 'clients'
when '12' then 'profiles'
when '14' then 'tickets' end end) is not null then "e"."target_id" end)::bigint, (case
when "e"."target_id" is not null then case ("e"."target_type_id")::text
when '11' then 'clients'
when '12' then 'profiles'
when '14' then 'tickets' end end)::text, ("e"."author_id")::bigint, ("e"."subject")::text, ("e"."body")::text, ((left(("e"."body")::text, 50)))::text, ("e"."is_read")::bool, (("e"."sent_at")::timestamp at time zone 'America/Denver')::timestamptz, (case
when ("e"."target_type_id")::text not in ('11', '12', '14') then '22023|unknown code|target_kind'
when (case
when ("e"."target_type_id")::text is null then null else case ("e"."target_type_id")::text
when '11' then 'client'
when '12' then 'profile'
when '14' then 'ticket' else null end end) is not null and not ((case
when ("e"."target_type_id")::text is null then null else case ("e"."target_type_id")::text
when '11' then 'client'
when '12' then 'profile'
when '14' then 'ticket' else null end end)::text in ('client', 'profile', 'ticket')) then '22P02|not a label of the enum|target_kind'
when (case
when (case
when ("e"."target_type_id")::text is null then null else case ("e"."target_type_id")::text
when '11' then 'client'
when '12' then 'profile'
when '14' then 'ticket' else null end end)::text in ('client', 'profile', 'ticket') then (case
when ("e"."target_type_id")::text is null then null else case ("e"."target_type_id")::text
when '11' then 'client'
when '12' then 'profile'
when '14' then 'ticket' else null end end)::text end) is null then '23502|NULL in a required column|target_kind'
when "e"."target_id" is not null and (case
when "e"."target_id" is not null then case ("e"."target_type_id")::text
when '11' then 'clients'
when '12' then 'profiles'
when '14' then 'tickets' end end) is null then '22023|unknown type of a generic reference|target_id'
when "e"."target_id" is null then '23502|NULL in a required column|target_id'
when char_length(("e"."subject")::text) > 100 then '22001|longer than the column|subject'
when ((("e"."sent_at")::timestamp at time zone 'America/Denver')::timestamptz) is null then '23502|NULL in a required column|sent_at' end)::text, case
when isfinite("e"."sent_at") then (extract(epoch
from "e"."sent_at") * 1000)::bigint end
from "public"."shop_entry" as "e"
where ("e".xmin = any ('{4294967290,4294967291,4294967292,4294967293,4294967294,4294967295,0,1,2,3}'::xid[])) order by "e"."id"

-- source: since a horizon, from a block on
select "e"."id"::bigint, case
when (case
when ("e"."target_type_id")::text is null then null else case ("e"."target_type_id")::text
when '11' then 'client'
when '12' then 'profile'
when '14' then 'ticket' else null end end)::text in ('client', 'profile', 'ticket') then (case
when ("e"."target_type_id")::text is null then null else case ("e"."target_type_id")::text
when '11' then 'client'
when '12' then 'profile'
when '14' then 'ticket' else null end end)::text end, (case
when (case
when "e"."target_id" is not null then case ("e"."target_type_id")::text
when '11' then 'clients'
when '12' then 'profiles'
when '14' then 'tickets' end end) is not null then "e"."target_id" end)::bigint, (case
when "e"."target_id" is not null then case ("e"."target_type_id")::text
when '11' then 'clients'
when '12' then 'profiles'
when '14' then 'tickets' end end)::text, ("e"."author_id")::bigint, ("e"."subject")::text, ("e"."body")::text, ((left(("e"."body")::text, 50)))::text, ("e"."is_read")::bool, (("e"."sent_at")::timestamp at time zone 'America/Denver')::timestamptz, (case
when ("e"."target_type_id")::text not in ('11', '12', '14') then '22023|unknown code|target_kind'
when (case
when ("e"."target_type_id")::text is null then null else case ("e"."target_type_id")::text
when '11' then 'client'
when '12' then 'profile'
when '14' then 'ticket' else null end end) is not null and not ((case
when ("e"."target_type_id")::text is null then null else case ("e"."target_type_id")::text
when '11' then 'client'
when '12' then 'profile'
when '14' then 'ticket' else null end end)::text in ('client', 'profile', 'ticket')) then '22P02|not a label of the enum|target_kind'
when (case
when (case
when ("e"."target_type_id")::text is null then null else case ("e"."target_type_id")::text
when '11' then 'client'
when '12' then 'profile'
when '14' then 'ticket' else null end end)::text in ('client', 'profile', 'ticket') then (case
when ("e"."target_type_id")::text is null then null else case ("e"."target_type_id")::text
when '11' then 'client'
when '12' then 'profile'
when '14' then 'ticket' else null end end)::text end) is null then '23502|NULL in a required column|target_kind'
when "e"."target_id" is not null and (case
when "e"."target_id" is not null then case ("e"."target_type_id")::text
when '11' then 'clients'
when '12' then 'profiles'
when '14' then 'tickets' end end) is null then '22023|unknown type of a generic reference|target_id'
when "e"."target_id" is null then '23502|NULL in a required column|target_id'
when char_length(("e"."subject")::text) > 100 then '22001|longer than the column|subject'
when ((("e"."sent_at")::timestamp at time zone 'America/Denver')::timestamptz) is null then '23502|NULL in a required column|sent_at' end)::text, case
when isfinite("e"."sent_at") then (extract(epoch
from "e"."sent_at") * 1000)::bigint end
from "public"."shop_entry" as "e"
where "e".ctid >= '(41,0)'::tid and ("e".xmin = any ('{4294967290,4294967291,4294967292,4294967293,4294967294,4294967295,0,1,2,3}'::xid[])) order by "e"."id"

-- source: keys counted by ranges
select diffmig_range.place, (select count(*)
from "public"."shop_entry" as "e"
where "e"."id" >= diffmig_range.low and "e"."id" <= diffmig_range.high)
from rows
from (pg_catalog.unnest('{1,10}'::bigint[]),
pg_catalog.unnest('{9,99}'::bigint[])) with ordinality as diffmig_range (low, high, place)

-- source: keys of some ranges as bits
select diffmig_key.key >> 6, bit_or(1::bigint << (diffmig_key.key & 63)::integer)
from rows
from (pg_catalog.unnest('{1,10}'::bigint[]),
pg_catalog.unnest('{9,99}'::bigint[])) with ordinality as diffmig_range (low, high, place) cross join lateral (select "e"."id"::bigint as key
from "public"."shop_entry" as "e"
where "e"."id" >= diffmig_range.low and "e"."id" <= diffmig_range.high offset 0) diffmig_key group by 1

-- stage: create
drop table if exists pg_temp.diffmig_stage; create temporary table diffmig_stage (k0 bigint, c0 text, c1 bigint, c1e text, c2 bigint, c3 text, c4 text, c5 text, c6 bool, c7 timestamptz, fault text, new_id uuid, row_hash bytea, n integer, seen xid) on commit preserve rows

-- stage: fill
copy pg_temp.diffmig_stage (k0, c0, c1, c1e, c2, c3, c4, c5, c6, c7, fault, new_id, row_hash, n)
from stdin (format binary)

-- stage: forget earlier findings
update diffmig.quarantine q set status = 'resolved', updated_at = now()
from pg_temp.diffmig_stage s
where q.entity = 'entries' and q.key = jsonb_build_array(s.k0) and q.status <> 'resolved'; delete
from diffmig.pending_reference w using pg_temp.diffmig_stage s
where w.entity = 'entries' and w.key = jsonb_build_array(s.k0)

-- apply
with recursive resolved as materialized (select s.*, l.ctid as l_ctid, l.target_id as l_id, l.row_hash as l_hash, l.applied_hash as l_applied, l.target_xmin as l_xmin, l.deleted_at as l_deleted, r1_0.target_id as f1_0, r1_1.target_id as f1_1, r1_2.target_id as f1_2, r2_0.target_id as f2_0, case
when s.fault is not null then s.fault end as bad, ((s.c1 is not null and s.c1e = 'clients' and r1_0.target_id is null) or (s.c1 is not null and s.c1e = 'profiles' and r1_1.target_id is null) or (s.c1 is not null and s.c1e = 'tickets' and r1_2.target_id is null)) as waits, ((s.c2 is not null and r2_0.target_id is null)) as nulled
from pg_temp.diffmig_stage s
left join diffmig."ledger_entries" l on l.k0 = s.k0
left join diffmig."ledger_clients" r1_0 on r1_0.k0 = s.c1 and s.c1e = 'clients' and r1_0.target_xmin is not null
left join diffmig."ledger_profiles" r1_1 on r1_1.k0 = s.c1 and s.c1e = 'profiles' and r1_1.target_xmin is not null
left join diffmig."ledger_tickets" r1_2 on r1_2.k0 = s.c1 and s.c1e = 'tickets' and r1_2.target_xmin is not null
left join diffmig."ledger_profiles" r2_0 on r2_0.k0 = s.c2 and r2_0.target_xmin is not null
where s.n between 0 and 4999),
planned as materialized (select r.*, coalesce(r.l_id, r.new_id) as id, t.ctid as t_ctid, t.xmin as t_xmin, e.edited, case
when r.bad is not null then 'quarantined'
when r.waits then 'held' 
when t.xmin is null and r.l_xmin is not null and r.l_deleted is null then 'conflicted'
when t."id" is null then 'inserted'
when r.l_deleted is null and not (t."target_kind"::text collate "C" is distinct
from r.c0 collate "C" or t."target_id" is distinct
from coalesce(r.f1_0, r.f1_1, r.f1_2) or t."author_id" is distinct
from coalesce(r.f2_0) or t."subject"::text collate "C" is distinct
from r.c3 collate "C" or t."body"::text collate "C" is distinct
from r.c4 collate "C" or t."preview"::text collate "C" is distinct
from r.c5 collate "C" or t."is_read" is distinct
from r.c6 or t."sent_at" is distinct
from r.c7) then 'identical'
when e.edited then 'conflicted' else 'updated' end as action
from resolved r
left join "public"."entries" t on t."id" = coalesce(r.l_id, r.new_id) cross join lateral (select coalesce(t.xmin <> r.l_xmin and t.xmin is distinct
from r.seen, false) as edited) e),
inserted as (insert into "public"."entries" ("id", "legacy_entry_id", "target_kind", "target_id", "author_id", "subject", "body", "preview", "is_read", "sent_at")
select p.id, p.k0, p.c0::entry_target, coalesce(p.f1_0, p.f1_1, p.f1_2),
coalesce(p.f2_0),
p.c3, p.c4, p.c5, p.c6, p.c7
from planned p
where p.action = 'inserted' order by p.id
returning 1),
updated as (update "public"."entries" t set "target_kind" = p.c0::entry_target, "target_id" = coalesce(p.f1_0, p.f1_1, p.f1_2),
"author_id" = coalesce(p.f2_0),
"subject" = p.c3, "body" = p.c4, "preview" = p.c5, "is_read" = p.c6, "sent_at" = p.c7, "deleted_at" = case
when p.l_deleted is null then t."deleted_at" else null end
from planned p
where p.action = 'updated' and t.ctid = p.t_ctid and t."id" = p.id and t.xmin = p.t_xmin
returning 1),
recorded as (update diffmig."ledger_entries" l set target_id = p.id, row_hash = p.row_hash, applied_hash = case
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
added as (insert into diffmig."ledger_entries" (k0, target_id, row_hash, applied_hash, target_xmin, outcome, pending, session_number, deleted_at)
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
select 'entries', jsonb_build_array(p.k0),
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
select 'entries', jsonb_build_array(p.k0),
'target_id', 'clients', jsonb_build_array(p.c1)
from planned p
where p.action = 'held' and p.f1_0 is null and p.c1 is not null and p.c1e = 'clients'
union all
select 'entries', jsonb_build_array(p.k0),
'target_id', 'profiles', jsonb_build_array(p.c1)
from planned p
where p.action = 'held' and p.f1_1 is null and p.c1 is not null and p.c1e = 'profiles'
union all
select 'entries', jsonb_build_array(p.k0),
'target_id', 'tickets', jsonb_build_array(p.c1)
from planned p
where p.action = 'held' and p.f1_2 is null and p.c1 is not null and p.c1e = 'tickets'
union all
select 'entries', jsonb_build_array(p.k0),
'author_id', 'profiles', jsonb_build_array(p.c2)
from planned p
where (p.action not in ('quarantined', 'held') or (p.edited and p.t_xmin is not null)) and p.f2_0 is null and p.c2 is not null
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
select l.k0::bigint, t."target_kind"::text, (case
when t."target_id" is null then (select (w.parent_key ->> 0)
from diffmig.pending_reference w
where w.entity = 'entries' and w.key = jsonb_build_array(l.k0) and w.column_name = 'target_id')::bigint else coalesce(b1_0.k0, b1_1.k0, b1_2.k0) end)::bigint, (case
when t."target_id" is null then (select w.parent_entity
from diffmig.pending_reference w
where w.entity = 'entries' and w.key = jsonb_build_array(l.k0) and w.column_name = 'target_id') else case
when b1_0.k0 is not null then 'clients'
when b1_1.k0 is not null then 'profiles'
when b1_2.k0 is not null then 'tickets' end end)::text, (case
when t."author_id" is null then (select (w.parent_key ->> 0)
from diffmig.pending_reference w
where w.entity = 'entries' and w.key = jsonb_build_array(l.k0) and w.column_name = 'author_id')::bigint else coalesce(b2_0.k0) end)::bigint, t."subject"::text, t."body"::text, t."preview"::text, t."is_read"::bool, t."sent_at"::timestamptz, null::text, null::bigint, t."id" is not null, l.letter
from (select *, case
when deleted_at is null and outcome = 'applied' then 'a'::"char"
when outcome in ('applied', 'conflicted') and deleted_at is not null then 'd'::"char"
when outcome = 'conflicted' then 'c'::"char"
when outcome = 'quarantined' then case
when target_xmin is null or deleted_at is not null then 'q'::"char" else 'Q'::"char" end
when outcome = 'held' then case
when target_xmin is null or deleted_at is not null then 'h'::"char" else 'H'::"char" end else 'u'::"char" end as letter
from diffmig."ledger_entries"
where ('x' || left(md5(k0::text),
8))::bit(32)::bigint & 4294967295 <= 107374182) l
left join "public"."entries" t on t."id" = l.target_id
left join diffmig."ledger_clients" b1_0 on b1_0.target_id = t."target_id"
left join diffmig."ledger_profiles" b1_1 on b1_1.target_id = t."target_id"
left join diffmig."ledger_tickets" b1_2 on b1_2.target_id = t."target_id"
left join diffmig."ledger_profiles" b2_0 on b2_0.target_id = t."author_id" order by l.k0

-- content: native rows
select count(*)
from "public"."entries" t
where not exists (select
from diffmig."ledger_workshops" l
where l.target_id = t."id" and l.target_xmin is not null) and not exists (select
from diffmig."ledger_entries" l
where l.target_id = t."id" and l.target_xmin is not null)

-- source: a sample
select "e"."id"::bigint, case
when (case
when ("e"."target_type_id")::text is null then null else case ("e"."target_type_id")::text
when '11' then 'client'
when '12' then 'profile'
when '14' then 'ticket' else null end end)::text in ('client', 'profile', 'ticket') then (case
when ("e"."target_type_id")::text is null then null else case ("e"."target_type_id")::text
when '11' then 'client'
when '12' then 'profile'
when '14' then 'ticket' else null end end)::text end, (case
when (case
when "e"."target_id" is not null then case ("e"."target_type_id")::text
when '11' then 'clients'
when '12' then 'profiles'
when '14' then 'tickets' end end) is not null then "e"."target_id" end)::bigint, (case
when "e"."target_id" is not null then case ("e"."target_type_id")::text
when '11' then 'clients'
when '12' then 'profiles'
when '14' then 'tickets' end end)::text, ("e"."author_id")::bigint, ("e"."subject")::text, ("e"."body")::text, ((left(("e"."body")::text, 50)))::text, ("e"."is_read")::bool, (("e"."sent_at")::timestamp at time zone 'America/Denver')::timestamptz, (case
when ("e"."target_type_id")::text not in ('11', '12', '14') then '22023|unknown code|target_kind'
when (case
when ("e"."target_type_id")::text is null then null else case ("e"."target_type_id")::text
when '11' then 'client'
when '12' then 'profile'
when '14' then 'ticket' else null end end) is not null and not ((case
when ("e"."target_type_id")::text is null then null else case ("e"."target_type_id")::text
when '11' then 'client'
when '12' then 'profile'
when '14' then 'ticket' else null end end)::text in ('client', 'profile', 'ticket')) then '22P02|not a label of the enum|target_kind'
when (case
when (case
when ("e"."target_type_id")::text is null then null else case ("e"."target_type_id")::text
when '11' then 'client'
when '12' then 'profile'
when '14' then 'ticket' else null end end)::text in ('client', 'profile', 'ticket') then (case
when ("e"."target_type_id")::text is null then null else case ("e"."target_type_id")::text
when '11' then 'client'
when '12' then 'profile'
when '14' then 'ticket' else null end end)::text end) is null then '23502|NULL in a required column|target_kind'
when "e"."target_id" is not null and (case
when "e"."target_id" is not null then case ("e"."target_type_id")::text
when '11' then 'clients'
when '12' then 'profiles'
when '14' then 'tickets' end end) is null then '22023|unknown type of a generic reference|target_id'
when "e"."target_id" is null then '23502|NULL in a required column|target_id'
when char_length(("e"."subject")::text) > 100 then '22001|longer than the column|subject'
when ((("e"."sent_at")::timestamp at time zone 'America/Denver')::timestamptz) is null then '23502|NULL in a required column|sent_at' end)::text, case
when isfinite("e"."sent_at") then (extract(epoch
from "e"."sent_at") * 1000)::bigint end
from "public"."shop_entry" as "e"
where ('x' || left(md5(("e"."id"::bigint)::text),
8))::bit(32)::bigint & 4294967295 <= 107374182 order by "e"."id"

-- content: staged rows that seem edited
select l.k0::bigint, t."target_kind"::text, (case
when t."target_id" is null then (select (w.parent_key ->> 0)
from diffmig.pending_reference w
where w.entity = 'entries' and w.key = jsonb_build_array(l.k0) and w.column_name = 'target_id')::bigint else coalesce(b1_0.k0, b1_1.k0, b1_2.k0) end)::bigint, (case
when t."target_id" is null then (select w.parent_entity
from diffmig.pending_reference w
where w.entity = 'entries' and w.key = jsonb_build_array(l.k0) and w.column_name = 'target_id') else case
when b1_0.k0 is not null then 'clients'
when b1_1.k0 is not null then 'profiles'
when b1_2.k0 is not null then 'tickets' end end)::text, (case
when t."author_id" is null then (select (w.parent_key ->> 0)
from diffmig.pending_reference w
where w.entity = 'entries' and w.key = jsonb_build_array(l.k0) and w.column_name = 'author_id')::bigint else coalesce(b2_0.k0) end)::bigint, t."subject"::text, t."body"::text, t."preview"::text, t."is_read"::bool, t."sent_at"::timestamptz, null::text, null::bigint, g.n::integer, t.xmin, coalesce(l.applied_hash, l.row_hash)
from pg_temp.diffmig_stage g join diffmig."ledger_entries" l on l.k0 = g.k0 join "public"."entries" t on t."id" = l.target_id
left join diffmig."ledger_clients" b1_0 on b1_0.target_id = t."target_id"
left join diffmig."ledger_profiles" b1_1 on b1_1.target_id = t."target_id"
left join diffmig."ledger_tickets" b1_2 on b1_2.target_id = t."target_id"
left join diffmig."ledger_profiles" b2_0 on b2_0.target_id = t."author_id"
where l.deleted_at is null and t.xmin <> l.target_xmin

-- retire
with doomed as materialized (select l.*, l.ctid as l_ctid, t.ctid as t_ctid, t.xmin as t_xmin, coalesce(t.xmin <> l.target_xmin and t.xmin is distinct
from g.seen, false) as edited, g.fault as given
from (select k0, null::xid as seen, null::text as fault
from unnest('{3,-4}'::bigint[]) as k (k0)) g join diffmig."ledger_entries" l on l.k0 = g.k0
left join "public"."entries" t on t."id" = l.target_id
where l.deleted_at is null or l.outcome in ('quarantined', 'held')),
judged as materialized (select d.*, d.given as fault
from doomed d),
gone as materialized (select j.*, true and not j.edited and j.fault is null and j.target_xmin is not null and j.t_xmin is not null as acts
from judged j),
changed as (update "public"."entries" t set "deleted_at" = now()
from gone g
where g.acts and t.ctid = g.t_ctid and t."id" = g.target_id and t.xmin = g.t_xmin
returning 1),
recorded as (update diffmig."ledger_entries" l set deleted_at = case
when g.fault is null then now() end, outcome = (case
when g.fault is not null then 'undeleted'
when g.edited then 'conflicted' else 'applied' end)::diffmig.outcome, pending = false, target_xmin = case
when g.acts then (select ((pg_catalog.txid_current() & 4294967295)::text)::xid)
when g.t_xmin is not null then l.target_xmin end, session_number = 7
from gone g
where l.ctid = g.l_ctid and l.k0 = g.k0
returning 1),
aside as (insert into diffmig.quarantine as old (entity, key, status, sqlstate, constraint_name, reason, first_session, last_session)
select 'entries', jsonb_build_array(g.k0),
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
where not g.edited and g.fault is null and q.entity = 'entries' and q.key = jsonb_build_array(g.k0) and q.status <> 'resolved'),
released as (delete
from diffmig.pending_reference w using gone g
where w.entity = 'entries' and w.key = jsonb_build_array(g.k0))
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
create temporary table "diffmig_keys_entries" (k0 bigint) on commit drop;
create temporary table "diffmig_claims_entries" on commit drop as
select null::bigint as k0, null::uuid as target_id, null::integer as origin
where false
union all
select t."legacy_entry_id"::bigint, t."id"::uuid, 1
from "public"."entries" t
where t."legacy_entry_id" is not null; analyze pg_temp."diffmig_claims_entries";
create temporary table "diffmig_links_entries" (k0 bigint, target_id uuid, fault text, settled boolean, marked boolean) on commit drop;
create temporary table "diffmig_owned_entries" on commit drop as
select l.target_id::uuid as target_id
from diffmig."ledger_entries" l
where l.target_xmin is not null; analyze pg_temp."diffmig_owned_entries";
insert into pg_temp."diffmig_links_entries" (k0, target_id, fault, settled, marked) with pair as (select c.k0, c.target_id
from pg_temp."diffmig_claims_entries" c
where c.k0 is not null group by c.k0, c.target_id),
doubled as (select distinct k0
from (select c.k0, c.origin
from pg_temp."diffmig_claims_entries" c
where c.k0 is not null group by c.k0, c.target_id, c.origin) d group by k0, origin having count(*) > 1),
seen as (select p.*, t."id"::uuid as row_id, l.target_xmin is not null as settled, l.target_id as known_id, coalesce(l.applied_hash = pg_catalog.decode('ffffffffffffffffffffffffffffffff', 'hex') and l.target_xmin is null, false) as marked, count(*) over (partition by p.k0) as ids, count(*) over (partition by p.target_id) as keys
from pair p
left join "public"."entries" t on t."id"::uuid = p.target_id
left join diffmig."ledger_entries" l on l.k0 = p.k0),
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
left join pg_temp."diffmig_owned_entries" o on o.target_id = s.target_id)
select distinct on (k0) k0, case
when fault is null then row_id end as target_id, fault, settled, marked
from judged order by k0, fault nulls last; analyze pg_temp."diffmig_links_entries";
insert into pg_temp."diffmig_links_entries" (k0, target_id, fault, settled, marked)
select l.k0, null, case
when coalesce(l.applied_hash = pg_catalog.decode('ffffffffffffffffffffffffffffffff', 'hex') and l.target_xmin is null, false) then 'released' end, not coalesce(l.applied_hash = pg_catalog.decode('ffffffffffffffffffffffffffffffff', 'hex') and l.target_xmin is null, false),
coalesce(l.applied_hash = pg_catalog.decode('ffffffffffffffffffffffffffffffff', 'hex') and l.target_xmin is null, false)
from diffmig."ledger_entries" l
left join pg_temp."diffmig_links_entries" x on x.k0 = l.k0
where x.k0 is null; analyze pg_temp."diffmig_links_entries";
select l.k0::bigint, t."target_kind"::text, (case
when t."target_id" is null then null::bigint else coalesce(b1_0.k0, b1_1.k0, b1_2.k0) end)::bigint, (case
when t."target_id" is null then null else case
when b1_0.k0 is not null then 'clients'
when b1_1.k0 is not null then 'profiles'
when b1_2.k0 is not null then 'tickets' end end)::text, (case
when t."author_id" is null then null::bigint else coalesce(b2_0.k0) end)::bigint, t."subject"::text, t."body"::text, t."preview"::text, t."is_read"::bool, t."sent_at"::timestamptz, null::text, null::bigint, t.xmin, coalesce(t."deleted_at" is not null, false),
l.fault, l.settled, l.marked, l.target_id
from pg_temp."diffmig_links_entries" l
left join "public"."entries" t on t."id" = l.target_id and l.fault is null and not l.settled
left join (select k0, target_id
from diffmig."ledger_clients" l
where target_xmin is not null) b1_0 on b1_0.target_id = t."target_id"
left join (select k0, target_id
from diffmig."ledger_profiles" l
where target_xmin is not null) b1_1 on b1_1.target_id = t."target_id"
left join (select k0, target_id
from diffmig."ledger_tickets" l
where target_xmin is not null) b1_2 on b1_2.target_id = t."target_id"
left join (select k0, target_id
from diffmig."ledger_profiles" l
where target_xmin is not null) b2_0 on b2_0.target_id = t."author_id" order by l.k0;
select (select count(*)
from pg_temp."diffmig_claims_entries" c
where not (c.k0 is not null)),
array(select distinct c.target_id::text
from pg_temp."diffmig_claims_entries" c
where not (c.k0 is not null) and c.target_id is not null order by 1 limit 10);
select count(*)
from "public"."entries" t
where not exists (select
from pg_temp."diffmig_owned_entries" o
where o.target_id = t."id"::uuid) and not exists (select
from pg_temp."diffmig_claims_entries" c
where c.target_id = t."id"::uuid) and not exists (select
from pg_temp."diffmig_links_entries" l
where l.target_id = t."id")

-- adopt: record
create unique index if not exists "ledger_entries_key" on diffmig."ledger_entries" (k0);
drop table if exists pg_temp.diffmig_adopted; create temporary table diffmig_adopted (k0 bigint, target_id uuid, row_hash bytea, applied_hash bytea, target_xmin xid, outcome text, gone boolean, reason text) on commit preserve rows;
with put as (insert into diffmig."ledger_entries" as l (k0, target_id, row_hash, applied_hash, target_xmin, outcome, pending, session_number, deleted_at)
select s.k0, s.target_id, s.row_hash, s.applied_hash, s.target_xmin, s.outcome::diffmig.outcome, false, 7, case
when s.gone then now() end
from pg_temp.diffmig_adopted s order by s.k0
on conflict (k0) do update set target_id = excluded.target_id, row_hash = excluded.row_hash, applied_hash = excluded.applied_hash, target_xmin = excluded.target_xmin, outcome = excluded.outcome, pending = excluded.pending, session_number = excluded.session_number, deleted_at = excluded.deleted_at
where l.target_xmin is null
returning (l.xmax = 0) as is_new),
settled as (update diffmig.quarantine q set status = 'resolved', updated_at = now()
from pg_temp.diffmig_adopted s
where q.entity = 'entries' and q.key = jsonb_build_array(s.k0) and q.status <> 'resolved' and s.reason is null),
aside as (insert into diffmig.quarantine as old (entity, key, status, sqlstate, reason, first_session, last_session)
select 'entries', jsonb_build_array(s.k0),
'open', 'DM002', s.reason, '00000000-0000-0000-0000-000000000000'::uuid, '00000000-0000-0000-0000-000000000000'::uuid
from pg_temp.diffmig_adopted s
where s.reason is not null order by 2
on conflict (entity, key) do update set status = excluded.status, sqlstate = excluded.sqlstate, constraint_name = null, reason = excluded.reason, attempts = old.attempts + 1, last_session = excluded.last_session, updated_at = now()),
waiting as (delete
from diffmig.pending_reference w using pg_temp.diffmig_adopted s
where w.entity = 'entries' and w.key = jsonb_build_array(s.k0)),
forgotten as (delete
from diffmig.watermark
where entity = 'entries')
select count(*),
count(*) filter (where is_new)
from put

