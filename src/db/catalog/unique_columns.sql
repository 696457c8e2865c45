select c.relname::text as constraint_name,
       a.attname::text as name,
       a.attnotnull as not_null,
       coalesce((to_jsonb(i) ->> 'indnullsnotdistinct')::boolean, false) as nulls_collide,
       coalesce(b.typname, t.typname)::text as base
from pg_catalog.pg_index i
join pg_catalog.pg_class c on c.oid = i.indexrelid
join pg_catalog.pg_attribute a on a.attrelid = i.indrelid and a.attnum > 0 and not a.attisdropped
join pg_catalog.pg_type t on t.oid = a.atttypid
left join pg_catalog.pg_type b on b.oid = t.typbasetype
where i.indrelid = pg_catalog.to_regclass($1)
  and (i.indisunique or i.indisexclusion)
  and ($2::text[] is null or c.relname::text = any($2))
  and a.attgenerated = ''
  and (a.attnum = any(i.indkey::smallint[])
       or exists (select from pg_catalog.pg_depend d
                  where d.classid = 'pg_catalog.pg_class'::regclass and d.objid = i.indexrelid
                    and d.refclassid = 'pg_catalog.pg_class'::regclass and d.refobjid = i.indrelid
                    and d.refobjsubid = a.attnum))
order by 1, a.attnum
