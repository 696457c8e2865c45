select f.conrelid::bigint as referring_oid,
       f.conname::text as name,
       f.condeferrable as is_deferrable,
       pn.nspname::text as schema,
       p.relname::text as relation,
       array(select a.attname::text
             from unnest(f.conkey) with ordinality as k (number, place)
             join pg_catalog.pg_attribute a on a.attrelid = f.conrelid and a.attnum = k.number
             order by k.place) as columns,
       array(select a.attname::text
             from unnest(f.confkey) with ordinality as k (number, place)
             join pg_catalog.pg_attribute a on a.attrelid = f.confrelid and a.attnum = k.number
             order by k.place) as referenced_columns
from pg_catalog.pg_constraint f
join pg_catalog.pg_class c on c.oid = f.conrelid
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
join pg_catalog.pg_class p on p.oid = f.confrelid
join pg_catalog.pg_namespace pn on pn.oid = p.relnamespace
where f.contype = 'f'
  and f.conparentid = 0
  and n.nspname = any($1::text[])
order by 1, 2
