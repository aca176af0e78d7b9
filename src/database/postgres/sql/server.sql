select json_build_object(
    'version', current_setting('server_version'),
    'version_num', current_setting('server_version_num')::int,
    'role', r.rolname,
    'superuser', r.rolsuper,
    'may_create', r.rolsuper or r.rolcreatedb,
    'in_recovery', pg_catalog.pg_is_in_recovery(),
    'started', pg_catalog.pg_postmaster_start_time()::text,
    'age_seconds', extract(epoch from pg_catalog.clock_timestamp() - pg_catalog.pg_postmaster_start_time()))
from pg_catalog.pg_roles r where r.rolname = current_user;
