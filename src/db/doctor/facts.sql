select pg_catalog.split_part(pg_catalog.current_setting('server_version'), ' ', 1) as version,
       pg_catalog.current_setting('server_version_num')::integer as version_number,
       current_user::text as role,
       r.rolsuper as superuser,
       r.rolbypassrls as bypasses_row_security,
       pg_catalog.has_database_privilege(d.oid, 'create') as may_create_schema,
       pg_catalog.has_database_privilege(d.oid, 'temporary') as may_create_temporary,
       (select s.version from pg_catalog.pg_stat_ssl s
        where s.pid = pg_catalog.pg_backend_pid() and s.ssl) as tls,
       pg_catalog.pg_is_in_recovery() as standby,
       d.datname::text as database,
       pg_catalog.pg_encoding_to_char(d.encoding)::text as encoding,
       pg_catalog.age(d.datfrozenxid)::bigint as frozen_age
from pg_catalog.pg_database d
join pg_catalog.pg_roles r on r.rolname = current_user
where d.datname = pg_catalog.current_database()
