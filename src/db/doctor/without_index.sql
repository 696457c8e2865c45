select w.place
from rows from (pg_catalog.unnest($1::text[]), pg_catalog.unnest($2::text[]), pg_catalog.unnest($3::text[]))
  with ordinality as w (schema, name, column_name, place)
join pg_catalog.pg_namespace n on n.nspname = w.schema
join pg_catalog.pg_class c on c.relnamespace = n.oid and c.relname = w.name
join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attname = w.column_name and not a.attisdropped
-- Views and foreign tables have their indexes elsewhere.
where c.relkind in ('r', 'p')
  and not exists (
    select from pg_catalog.pg_index i
    where i.indrelid = c.oid and i.indisvalid and i.indpred is null and i.indkey[0] = a.attnum)
order by 1
