-- What makes ALTER DATABASE … RENAME fail, or would be cut off from its database by it.
select coalesce(json_agg(json_build_object('kind', kind, 'name', name)), '[]') from (
    select 'prepared' as kind, gid as name from pg_catalog.pg_prepared_xacts where database = $NAME$
    union all
    select 'slot', slot_name::text from pg_catalog.pg_replication_slots where database = $NAME$
    union all
    select 'subscription', s.subname::text from pg_catalog.pg_subscription s
    join pg_catalog.pg_database d on d.oid = s.subdbid where d.datname = $NAME$
    union all
    select 'rights', r.rolname::text from pg_catalog.pg_roles r
    where r.rolname = current_user and not r.rolsuper
      and not (r.rolcreatedb and not exists (
          select from pg_catalog.pg_database d
          where d.datname = $NAME$ and not pg_catalog.pg_has_role(d.datdba, 'USAGE')))
) o;
