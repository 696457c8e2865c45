select n.nspname::text, c.relname::text, x.relname::text,
       array(select a.attname::text
             from pg_catalog.pg_attribute a
             where i.indisunique and not i.indisexclusion and i.indpred is null and i.indexprs is null
               and a.attrelid = i.indrelid
               and a.attnum = any((i.indkey::smallint[])[0:i.indnkeyatts - 1])
             order by a.attnum)
from rows from (pg_catalog.unnest($1::text[]), pg_catalog.unnest($2::text[])) as w (schema, name)
join pg_catalog.pg_namespace n on n.nspname = w.schema
join pg_catalog.pg_class c on c.relnamespace = n.oid and c.relname = w.name
join pg_catalog.pg_index i on i.indrelid = c.oid and (i.indisunique or i.indisexclusion) and not i.indisprimary
join pg_catalog.pg_class x on x.oid = i.indexrelid
order by 1, 2, 3
