-- Unique indexes over columns that are never NULL, other than primary keys.
select i.indrelid::bigint as oid,
       array(select a.attname::text
             from unnest((i.indkey::smallint[])[0:i.indnkeyatts - 1]) with ordinality as k (number, place)
             join pg_catalog.pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.number
             order by k.place) as columns
from pg_catalog.pg_index i
join pg_catalog.pg_class c on c.oid = i.indrelid
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where n.nspname = any($1::text[])
  and i.indisunique and i.indisvalid and not i.indisprimary and i.indpred is null and i.indexprs is null
  and not exists (select from pg_catalog.pg_attribute a
                  where a.attrelid = i.indrelid and not a.attnotnull
                    and a.attnum = any((i.indkey::smallint[])[0:i.indnkeyatts - 1]))
order by i.indexrelid
