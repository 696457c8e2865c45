-- A default that names a sequence depends on it; a column that owns one is named by the sequence.
select distinct n.nspname::text as schema, c.relname::text as relation, a.attname::text as column_name,
       sn.nspname::text as sequence_schema, s.relname::text as sequence_name,
       exists (select from pg_catalog.pg_depend o
               where o.classid = 'pg_catalog.pg_class'::regclass and o.objid = s.oid and o.deptype in ('a', 'i')
                 and o.refclassid = 'pg_catalog.pg_class'::regclass and o.refobjid = c.oid
                 and o.refobjsubid = a.attnum) as is_owned,
       pg_catalog.has_sequence_privilege(s.oid, 'usage') and pg_catalog.has_sequence_privilege(s.oid, 'select')
         and pg_catalog.has_sequence_privilege(s.oid, 'update') as is_granted
from rows from (pg_catalog.unnest($1::text[]), pg_catalog.unnest($2::text[])) as w (schema, name)
join pg_catalog.pg_namespace n on n.nspname = w.schema
join pg_catalog.pg_class c on c.relnamespace = n.oid and c.relname = w.name
join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
join lateral (
  select d.refobjid as sequence
  from pg_catalog.pg_attrdef f
  join pg_catalog.pg_depend d on d.classid = 'pg_catalog.pg_attrdef'::regclass and d.objid = f.oid
    and d.refclassid = 'pg_catalog.pg_class'::regclass
  where f.adrelid = c.oid and f.adnum = a.attnum
  union
  select o.objid
  from pg_catalog.pg_depend o
  where o.classid = 'pg_catalog.pg_class'::regclass and o.deptype in ('a', 'i')
    and o.refclassid = 'pg_catalog.pg_class'::regclass and o.refobjid = c.oid and o.refobjsubid = a.attnum
) b on true
join pg_catalog.pg_class s on s.oid = b.sequence and s.relkind = 'S'
join pg_catalog.pg_namespace sn on sn.oid = s.relnamespace
order by 1, 2, 3
