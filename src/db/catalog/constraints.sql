-- Expressions are digested and not printed: printing one waits for whoever has locked its table.
select f.conrelid::bigint as relation_oid,
       f.conname::text as name,
       f.contype = 'f' as is_foreign_key,
       f.condeferrable as is_deferrable,
       case when f.contype = 'f' then
         concat_ws(' ', case f.confdeltype when 'c' then 'ON DELETE CASCADE' when 'n' then 'ON DELETE SET NULL'
                          when 'd' then 'ON DELETE SET DEFAULT' when 'r' then 'ON DELETE RESTRICT' end,
                        case f.confupdtype when 'c' then 'ON UPDATE CASCADE' when 'n' then 'ON UPDATE SET NULL'
                          when 'd' then 'ON UPDATE SET DEFAULT' when 'r' then 'ON UPDATE RESTRICT' end,
                        case when f.condeferrable then 'DEFERRABLE' end,
                        case when f.condeferred then 'INITIALLY DEFERRED' end,
                        case when not f.convalidated then 'NOT VALID' end)
       else
         concat_ws(' ', case f.contype when 'u' then 'unique' when 'c' then 'check' else 'exclude' end,
                        case when f.condeferrable then 'deferrable' end,
                        '#' || pg_catalog.md5(concat_ws(' ', f.conexclop::text, to_jsonb(i) ->> 'indnullsnotdistinct',
                          pg_catalog.regexp_replace(concat_ws(' ', f.conbin::text, i.indexprs::text, i.indpred::text),
                                                    ':location -?[0-9]+', '', 'g'))))
       end as definition,
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
left join pg_catalog.pg_index i on i.indexrelid = f.conindid and f.contype in ('u', 'x')
where f.contype in ('f', 'u', 'c', 'x')
  and f.conparentid = 0
  and n.nspname = any($1::text[])
union all
-- Unique indexes that no constraint made.
select i.indrelid::bigint, x.relname::text, false, false,
       'unique #' || pg_catalog.md5(concat_ws(' ', to_jsonb(i) ->> 'indnullsnotdistinct',
         pg_catalog.regexp_replace(concat_ws(' ', i.indexprs::text, i.indpred::text), ':location -?[0-9]+', '', 'g'))),
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
