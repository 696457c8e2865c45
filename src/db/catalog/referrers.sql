select f.confrelid::bigint as referenced_oid,
       f.conname::text as name,
       n.nspname::text as schema,
       c.relname::text as relation,
       a.attname::text as column_name,
       b.attname::text as referenced_column
from pg_catalog.pg_constraint f
join pg_catalog.pg_class p on p.oid = f.confrelid
join pg_catalog.pg_namespace pn on pn.oid = p.relnamespace
join pg_catalog.pg_class c on c.oid = f.conrelid
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
cross join lateral unnest(f.conkey, f.confkey) as k (number, referenced)
join pg_catalog.pg_attribute a on a.attrelid = f.conrelid and a.attnum = k.number
join pg_catalog.pg_attribute b on b.attrelid = f.confrelid and b.attnum = k.referenced
where f.contype = 'f'
  and f.confdeltype in ('c', 'n', 'd')
  and f.conparentid = 0
  and pn.nspname = any($1::text[])
order by 1, 2, 5
