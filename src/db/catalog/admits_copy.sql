-- Whether COPY does to a table just what INSERT would, and a key that is there already stops it.
select c.relkind = 'r'
       and not c.relhasrules
       and not pg_catalog.row_security_active(c.oid)
       and pg_catalog.current_setting('session_replication_role') = 'origin'
       and not exists (select from pg_catalog.pg_trigger g
                       where g.tgrelid = c.oid and not g.tgisinternal
                         and g.tgenabled <> 'D' and g.tgtype & 4 <> 0)
       and exists (select from pg_catalog.pg_index i
                   join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attname = $2
                   where i.indrelid = c.oid and i.indisunique and i.indisvalid and i.indimmediate
                     and i.indpred is null and i.indexprs is null
                     and i.indnkeyatts = 1 and i.indkey[0] = a.attnum)
from pg_catalog.pg_class c
where c.oid = pg_catalog.to_regclass($1)
