with named as (
  select c.oid
  from rows from (pg_catalog.unnest($1::text[]), pg_catalog.unnest($2::text[])) as w (schema, name)
join pg_catalog.pg_namespace n on n.nspname = w.schema
join pg_catalog.pg_class c on c.relnamespace = n.oid and c.relname = w.name
)
select n.nspname::text, c.relname::text, f.conname::text,
       array(select a.attname::text
             from unnest(f.conkey) with ordinality as k (number, place)
             join pg_catalog.pg_attribute a on a.attrelid = f.conrelid and a.attnum = k.number
             order by k.place),
       pn.nspname::text, p.relname::text
from pg_catalog.pg_constraint f
join pg_catalog.pg_class c on c.oid = f.conrelid
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
join pg_catalog.pg_class p on p.oid = f.confrelid
join pg_catalog.pg_namespace pn on pn.oid = p.relnamespace
where f.contype = 'f'
  and f.conparentid = 0
  and (f.conrelid in (select oid from named) or f.confrelid in (select oid from named))
  and not exists (
    select from pg_catalog.pg_index i
    where i.indrelid = f.conrelid and i.indisvalid and i.indpred is null
      -- Its first columns are those of the key, in whatever order.
      and (i.indkey::smallint[])[0:pg_catalog.cardinality(f.conkey) - 1] @> f.conkey)
order by 1, 2, 3
