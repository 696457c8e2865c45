-- What others do may be hidden from the role, but not that they are there.
select case when r.rolsuper then 0 else
         - pg_catalog.current_setting('superuser_reserved_connections')::bigint
         - coalesce(pg_catalog.current_setting('reserved_connections', true), '0')::bigint end
       + pg_catalog.current_setting('max_connections')::bigint as open_to_all,
       (select count(*) from pg_catalog.pg_stat_activity a
        where a.datid is not null and a.usesysid is not null) as used,
       r.rolconnlimit::bigint as role_limit,
       (select count(*) from pg_catalog.pg_stat_activity a where a.usesysid = r.oid and a.datid is not null) as of_role,
       d.datconnlimit::bigint as database_limit,
       (select count(*) from pg_catalog.pg_stat_activity a where a.datid = d.oid and a.usesysid is not null) as of_database,
       r.rolsuper as superuser
from pg_catalog.pg_roles r
cross join pg_catalog.pg_database d
where r.rolname = current_user and d.datname = pg_catalog.current_database()
