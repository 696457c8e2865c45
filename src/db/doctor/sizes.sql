select n.nspname::text, c.relname::text,
       coalesce((select sum(pg_catalog.pg_total_relation_size(t.relid))
                 from pg_catalog.pg_partition_tree(c.oid) t
                 where c.relkind = 'p'),
                pg_catalog.pg_total_relation_size(c.oid))::bigint
from rows from (pg_catalog.unnest($1::text[]), pg_catalog.unnest($2::text[])) as w (schema, name)
join pg_catalog.pg_namespace n on n.nspname = w.schema
join pg_catalog.pg_class c on c.relnamespace = n.oid and c.relname = w.name
where c.relkind in ('r', 'p', 'm')
order by 1, 2
