-- Owners and grants may be left out of a dump only where nothing is lost by it: everything belongs to the role that
-- dumps, and nobody was granted or denied anything. Objects of the bootstrap superuser (oid 10) are not in pg_shdepend,
-- and neither are grants to PUBLIC, so the catalogues themselves are read too. Below oid 16384 is what initdb made.
with me as (select oid from pg_catalog.pg_roles where rolname = current_user),
owned as (
    select oid, relowner as owner from pg_catalog.pg_class
    union all select oid, proowner from pg_catalog.pg_proc
    union all select oid, nspowner from pg_catalog.pg_namespace
    union all select oid, typowner from pg_catalog.pg_type
    union all select oid, oprowner from pg_catalog.pg_operator
    union all select oid, opcowner from pg_catalog.pg_opclass
    union all select oid, opfowner from pg_catalog.pg_opfamily
    union all select oid, collowner from pg_catalog.pg_collation
    union all select oid, conowner from pg_catalog.pg_conversion
    union all select oid, extowner from pg_catalog.pg_extension
    union all select oid, lanowner from pg_catalog.pg_language
    union all select oid, fdwowner from pg_catalog.pg_foreign_data_wrapper
    union all select oid, srvowner from pg_catalog.pg_foreign_server
    union all select oid, stxowner from pg_catalog.pg_statistic_ext
    union all select oid, cfgowner from pg_catalog.pg_ts_config
    union all select oid, dictowner from pg_catalog.pg_ts_dict
    union all select oid, pubowner from pg_catalog.pg_publication
    union all select oid, evtowner from pg_catalog.pg_event_trigger
    union all select oid, lomowner from pg_catalog.pg_largeobject_metadata),
-- pg_dump never looks into information_schema, whose own grants are not in pg_init_privs.
schemas as (select oid from pg_catalog.pg_namespace where nspname <> 'information_schema'),
granted as (
    select 'pg_class'::regclass as class, oid, 0 as part, relacl as acl from pg_catalog.pg_class
    where relnamespace in (select oid from schemas)
    union all select 'pg_class'::regclass, attrelid, attnum, attacl from pg_catalog.pg_attribute
    union all select 'pg_proc'::regclass, oid, 0, proacl from pg_catalog.pg_proc
    where pronamespace in (select oid from schemas)
    union all select 'pg_namespace'::regclass, oid, 0, nspacl from pg_catalog.pg_namespace
    where oid in (select oid from schemas)
    union all select 'pg_type'::regclass, oid, 0, typacl from pg_catalog.pg_type
    where typnamespace in (select oid from schemas)
    union all select 'pg_language'::regclass, oid, 0, lanacl from pg_catalog.pg_language
    union all select 'pg_foreign_data_wrapper'::regclass, oid, 0, fdwacl from pg_catalog.pg_foreign_data_wrapper
    union all select 'pg_foreign_server'::regclass, oid, 0, srvacl from pg_catalog.pg_foreign_server
    union all select 'pg_largeobject'::regclass, oid, 0, lomacl from pg_catalog.pg_largeobject_metadata),
loses as (
    select exists (
        select from pg_catalog.pg_shdepend s, me
        where s.dbid = (select oid from pg_catalog.pg_database where datname = current_database())
          and s.refclassid = 'pg_authid'::regclass
          and (s.deptype = 'a' or (s.deptype = 'o' and s.refobjid <> me.oid)))
    or exists (select from owned, me where owned.oid >= 16384 and owned.owner <> me.oid)
    or exists (
        select from granted g
        left join pg_catalog.pg_init_privs i on i.classoid = g.class and i.objoid = g.oid and i.objsubid = g.part
        where g.acl is not null and i.initprivs is distinct from g.acl)
    or exists (select from pg_catalog.pg_default_acl)
    or exists (
        select from pg_catalog.pg_namespace n
        where n.nspname = 'public' and pg_catalog.pg_get_userbyid(n.nspowner) <> 'pg_database_owner' and n.nspowner <> 10)
    or exists (
        select from pg_catalog.pg_database d, me where d.datname = current_database() and d.datdba <> me.oid) as it)
select json_build_object(
    'tables', count(*),
    -- reltuples is -1 until the first analyze; the counters of the statistics system know more then.
    'rows_estimate', coalesce(sum(case when c.reltuples > 0 then c.reltuples
                                       else coalesce(pg_catalog.pg_stat_get_live_tuples(c.oid), 0) end)::int8, 0),
    'owners', case when (select it from loses) then 'kept' else 'omitted' end)
from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where c.relkind = 'r' and n.nspname not in ('pg_catalog', 'information_schema') and n.nspname not like 'pg\_toast%'
  and n.nspname not like 'pg\_temp%';
