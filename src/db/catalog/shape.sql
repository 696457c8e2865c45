with recursive family as (
  select oid from pg_catalog.unnest($1::oid[]) as named (oid)
  union
  select i.inhrelid from family f join pg_catalog.pg_inherits i on i.inhparent = f.oid
), lines as (
  select 'table ' || c.oid || ' ' || c.relkind::text || ' ' || c.relname as line
  from family f join pg_catalog.pg_class c on c.oid = f.oid
  union all
  select 'parent ' || i.inhparent || ' ' || i.inhrelid
  from family f join pg_catalog.pg_inherits i on i.inhparent = f.oid
  union all
  -- A stored column is written with its row; one that is only computed changes with its expression.
  select 'column ' || a.attrelid || ' ' || a.attnum || ' ' || a.attname || ' ' || a.atttypid || ' ' || a.atttypmod
    || case when a.attgenerated <> '' then ' ' || coalesce(pg_catalog.pg_get_expr(d.adbin, d.adrelid), '') else '' end
  from family f
  join pg_catalog.pg_attribute a on a.attrelid = f.oid and a.attnum > 0 and not a.attisdropped
  left join pg_catalog.pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
  union all
  -- A renamed label changes what its rows say without touching them.
  select 'label ' || e.enumtypid || ' ' || e.oid || ' ' || e.enumlabel from pg_catalog.pg_enum e
  where e.enumtypid in (
    select t.oid from family f
    join pg_catalog.pg_attribute a on a.attrelid = f.oid and a.attnum > 0 and not a.attisdropped
    join pg_catalog.pg_type c on c.oid = a.atttypid
    join pg_catalog.pg_type t on t.oid in (c.oid, c.typelem, c.typbasetype))
)
select pg_catalog.md5(coalesce(string_agg(line, E'\n' order by line collate "C"), '')) as shape,
       (select bool_and(c.relkind in ('r', 'p')) from family f join pg_catalog.pg_class c on c.oid = f.oid) as plain
from lines
