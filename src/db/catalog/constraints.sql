select f.conrelid::bigint as relation_oid,
       f.conname::text as name,
       f.contype = 'f' as is_foreign_key,
       f.condeferrable as is_deferrable,
       pg_catalog.pg_get_constraintdef(f.oid) as definition,
       array(select a.attname::text
             from unnest(f.conkey) with ordinality as k (number, place)
             join pg_catalog.pg_attribute a on a.attrelid = f.conrelid and a.attnum = k.number
             order by k.place) as columns,
       pn.nspname::text as schema,
       p.relname::text as relation,
       array(select a.attname::text
             from unnest(f.confkey) with ordinality as k (number, place)
             join pg_catalog.pg_attribute a on a.attrelid = f.confrelid and a.attnum = k.number
             order by k.place) as referenced_columns
from pg_catalog.pg_constraint f
join pg_catalog.pg_class c on c.oid = f.conrelid
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
left join pg_catalog.pg_class p on p.oid = f.confrelid
left join pg_catalog.pg_namespace pn on pn.oid = p.relnamespace
where f.contype in ('f', 'u', 'c', 'x')
  and f.conparentid = 0
  and n.nspname = any($1::text[])
union all
-- Unique indexes that no constraint made.
select i.indrelid::bigint, x.relname::text, false, false,
       substring(pg_catalog.pg_get_indexdef(i.indexrelid) from ' USING .*$'),
       array(select a.attname::text
             from unnest((i.indkey::smallint[])[0:i.indnkeyatts - 1]) with ordinality as k (number, place)
             join pg_catalog.pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.number
             order by k.place),
       null, null, '{}'
from pg_catalog.pg_index i
join pg_catalog.pg_class x on x.oid = i.indexrelid
join pg_catalog.pg_class c on c.oid = i.indrelid
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where i.indisunique and not i.indisprimary and not x.relispartition
  and n.nspname = any($1::text[])
  and not exists (select from pg_catalog.pg_constraint k where k.conindid = i.indexrelid and k.contype in ('u', 'x'))
order by 1, 2
