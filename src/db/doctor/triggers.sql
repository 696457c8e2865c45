select n.nspname::text, c.relname::text, t.tgname::text, p.pronamespace::regnamespace::text || '.' || p.proname,
       pn.nspname in ('supabase_functions', 'net') or p.prosrc ~* '\mnet\.http_|supabase_functions\.http_request'
from rows from (pg_catalog.unnest($1::text[]), pg_catalog.unnest($2::text[])) as w (schema, name)
join pg_catalog.pg_namespace n on n.nspname = w.schema
join pg_catalog.pg_class c on c.relnamespace = n.oid and c.relname = w.name
join pg_catalog.pg_trigger t on t.tgrelid = c.oid
join pg_catalog.pg_proc p on p.oid = t.tgfoid
join pg_catalog.pg_namespace pn on pn.oid = p.pronamespace
where not t.tgisinternal
  -- Enabled for ordinary sessions.
  and t.tgenabled in ('O', 'A')
  -- For each row, on insert (4) or update (16).
  and t.tgtype & 1 = 1 and t.tgtype & 20 <> 0
order by 1, 2, 3
