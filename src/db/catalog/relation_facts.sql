-- What is neither a table of its own (a partition, a part of an extension), and what triggers may do to its rows.
select c.oid::bigint as oid,
       c.relispartition
         or exists (select from pg_catalog.pg_depend d
                    where d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass and d.objid = c.oid
                      and d.deptype = 'e') as is_part,
       exists (select from pg_catalog.pg_trigger g
               where g.tgrelid = c.oid and not g.tgisinternal and g.tgenabled <> 'D'
                 and g.tgtype & 3 = 3 and g.tgtype & 20 <> 0) as is_touched
from pg_catalog.pg_class c
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where n.nspname = any($1::text[])
  and c.relkind in ('r', 'p')
order by 1
