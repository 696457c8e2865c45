select n.nspname::text, c.relname::text, p.pubname::text, p.puballtables,
       p.pubupdate and (c.relreplident = 'n' or c.relreplident = 'd' and not exists (
         select from pg_catalog.pg_index i where i.indrelid = c.oid and i.indisprimary))
from rows from (pg_catalog.unnest($1::text[]), pg_catalog.unnest($2::text[])) as w (schema, name)
join pg_catalog.pg_namespace n on n.nspname = w.schema
join pg_catalog.pg_class c on c.relnamespace = n.oid and c.relname = w.name
join pg_catalog.pg_publication_tables t on t.schemaname = n.nspname and t.tablename = c.relname
join pg_catalog.pg_publication p on p.pubname = t.pubname
order by 1, 2, 3
