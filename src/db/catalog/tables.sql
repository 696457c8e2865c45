select c.oid::bigint as oid,
       n.nspname::text as schema,
       c.relname::text as name,
       c.relkind::text as kind,
       coalesce((select array_agg(a.attname::text order by k.position)
                 from pg_catalog.pg_index i
                 cross join lateral unnest(i.indkey::smallint[]) with ordinality as k (number, position)
                 join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attnum = k.number
                 where i.indrelid = c.oid and i.indisprimary), '{}') as primary_key,
       array(select a.attname::text
             from pg_catalog.pg_index i
             join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attnum = i.indkey[0]
             where i.indrelid = c.oid and i.indisunique and i.indisvalid
               and i.indpred is null and i.indnkeyatts = 1
             order by 1) as unique_columns,
       c.relispartition as is_partition,
       c.reltuples::bigint as estimated_rows
from pg_catalog.pg_class c
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where n.nspname = any($1::text[])
  and c.relkind in ('r', 'p', 'v', 'm', 'f')
order by 2, 3
