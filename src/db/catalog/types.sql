with recursive based as (
  select t.oid as type_oid, t.typtypmod as modifier
  from pg_catalog.pg_type t where t.oid = $1::bigint::oid
  union all
  select t.typbasetype, t.typtypmod
  from based b join pg_catalog.pg_type t on t.oid = b.type_oid and t.typtype = 'd'
)
select 0::bigint as relation_oid,
       $2::text as name,
       pg_catalog.format_type($1::bigint::oid, null) as display,
       bt.typname::text as base,
       '' as modifier,
       case when bt.typtype = 'e' then
         (select array_agg(e.enumlabel::text order by e.enumsortorder)
          from pg_catalog.pg_enum e where e.enumtypid = bt.oid) end as enum_labels,
       bt.oid <> $1::bigint::oid as is_domain,
       bn.nspname = 'pg_catalog' as is_builtin,
       false as not_null,
       false as has_default,
       false as is_generated,
       false as identity_always,
       0::smallint as number,
       null::text as default_digest
from based b
join pg_catalog.pg_type bt on bt.oid = b.type_oid and bt.typtype <> 'd'
join pg_catalog.pg_namespace bn on bn.oid = bt.typnamespace
