-- $1 is the quoted name of a table, $2 the name of an integer column.
select exists (
         select from pg_catalog.pg_index i
         where i.indrelid = c.oid and i.indisvalid and i.indisunique and i.indpred is null
           and i.indnkeyatts = 1 and i.indkey[0] = a.attnum)
       -- The rows of tables that inherit from it are read with it, but its indexes do not have them.
       and not exists (select from pg_catalog.pg_inherits h where h.inhparent = c.oid) as has_all,
       c.relpages, c.relallvisible, s.correlation::float8 as correlation,
       s.histogram_bounds::text::bigint[] as histogram
from pg_catalog.pg_class c
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attname = $2
left join pg_catalog.pg_stats s
  on s.schemaname = n.nspname and s.tablename = c.relname and s.attname = a.attname and not s.inherited
where c.oid = pg_catalog.to_regclass($1)
