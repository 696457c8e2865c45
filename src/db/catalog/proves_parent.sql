-- Whether a foreign key makes sure that the row a column refers to is there.
select exists (
  select from pg_catalog.pg_constraint k
  join pg_catalog.pg_attribute a on a.attrelid = k.conrelid and a.attname = $2
  join pg_catalog.pg_attribute b on b.attrelid = k.confrelid and b.attname = $4
  where k.contype = 'f' and k.convalidated
    and k.conrelid = pg_catalog.to_regclass($1) and k.conkey = array[a.attnum]
    and k.confrelid = pg_catalog.to_regclass($3) and k.confkey = array[b.attnum]
    and exists (select from pg_catalog.pg_trigger g
                where g.tgconstraint = k.oid and g.tgrelid = k.conrelid and g.tgtype & 4 <> 0
                  and g.tgenabled in ('O', 'A')))
