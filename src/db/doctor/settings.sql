-- `reset_val` is what a session of the role begins with, whatever it has set since.
select s.name,
       coalesce(s.reset_val, '') as value,
       o.of_role,
       o.of_database,
       current_user::text as role,
       pg_catalog.current_database()::text as database
from pg_catalog.pg_settings s
left join lateral (
  select d.setrole <> 0 as of_role, d.setdatabase <> 0 as of_database
  from pg_catalog.pg_db_role_setting d
  cross join lateral unnest(d.setconfig) as line
  where pg_catalog.split_part(line, '=', 1) = s.name
    and d.setrole in (0, (select r.oid from pg_catalog.pg_roles r where r.rolname = current_user))
    and d.setdatabase in (0, (select b.oid from pg_catalog.pg_database b where b.datname = pg_catalog.current_database()))
  -- The most particular one counts.
  order by d.setrole <> 0 desc, d.setdatabase <> 0 desc
  limit 1
) o on true
where s.name = any($1)
order by s.name
