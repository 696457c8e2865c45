with recursive declared as (
  select a.attrelid, a.attnum, a.attname, a.atttypid, a.atttypmod, a.attnotnull, a.atthasdef,
         a.attgenerated, a.attidentity,
         pg_catalog.md5(pg_catalog.regexp_replace(x.adbin::text, ':location -?[0-9]+', '', 'g')) as default_digest
  from pg_catalog.pg_attribute a
  join pg_catalog.pg_class c on c.oid = a.attrelid
  join pg_catalog.pg_namespace n on n.oid = c.relnamespace
  left join pg_catalog.pg_attrdef x on x.adrelid = a.attrelid and x.adnum = a.attnum
  where n.nspname = any($1::text[])
    and c.relkind in ('r', 'p', 'v', 'm', 'f')
    and a.attnum > 0
    and not a.attisdropped
), based as (
  select d.attrelid, d.attnum, t.oid as type_oid, d.atttypmod as modifier, t.typnotnull as not_null, t.typdefault is not null as has_default
  from declared d join pg_catalog.pg_type t on t.oid = d.atttypid
  union all
  select b.attrelid, b.attnum, t.typbasetype, t.typtypmod, b.not_null or t.typnotnull, b.has_default or t.typdefault is not null
  from based b join pg_catalog.pg_type t on t.oid = b.type_oid and t.typtype = 'd'
)
select d.attrelid::bigint as relation_oid,
       d.attname::text as name,
       pg_catalog.format_type(d.atttypid, d.atttypmod) as display,
       bt.typname::text as base,
       coalesce(substring(pg_catalog.format_type(bt.oid, b.modifier) from '\(.*\)'), '') as modifier,
       case when bt.typtype = 'e' then
         (select array_agg(e.enumlabel::text order by e.enumsortorder)
          from pg_catalog.pg_enum e where e.enumtypid = bt.oid) end as enum_labels,
       dt.typtype = 'd' as is_domain,
       bn.nspname = 'pg_catalog' as is_builtin,
       d.attnotnull or b.not_null as not_null,
       d.atthasdef or d.attidentity <> '' or b.has_default as has_default,
       d.attgenerated <> '' as is_generated,
       d.attidentity = 'a' as identity_always,
       d.attnum as number,
       d.default_digest
from declared d
join pg_catalog.pg_type dt on dt.oid = d.atttypid
join based b on b.attrelid = d.attrelid and b.attnum = d.attnum
join pg_catalog.pg_type bt on bt.oid = b.type_oid and bt.typtype <> 'd'
join pg_catalog.pg_namespace bn on bn.oid = bt.typnamespace
order by d.attrelid, d.attnum
