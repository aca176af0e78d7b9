-- What has an owner in this database, by the names that ALTER … OWNER takes; not what extensions and initdb made.
-- A sequence that belongs to a column follows its table.
objects as (
    select i.type, i.identity, o.owner from (
        select 'pg_class'::regclass::oid as classid, c.oid as objid, c.relowner as owner from pg_catalog.pg_class c
        where c.relkind in ('r', 'p', 'v', 'm', 'f') or (c.relkind = 'S' and not exists (
            select from pg_catalog.pg_depend p where p.classid = 'pg_class'::regclass and p.objid = c.oid
            and p.refclassid = 'pg_class'::regclass and p.deptype in ('a', 'i')))
        union all select 'pg_proc'::regclass, oid, proowner from pg_catalog.pg_proc
        union all select 'pg_namespace'::regclass, oid, nspowner from pg_catalog.pg_namespace where nspname <> 'public'
        union all select 'pg_type'::regclass, t.oid, t.typowner from pg_catalog.pg_type t
        where t.typtype in ('e', 'd', 'r') or (t.typtype = 'c' and exists (
            select from pg_catalog.pg_class c where c.oid = t.typrelid and c.relkind = 'c'))
        union all select 'pg_operator'::regclass, oid, oprowner from pg_catalog.pg_operator
        union all select 'pg_opclass'::regclass, oid, opcowner from pg_catalog.pg_opclass
        union all select 'pg_opfamily'::regclass, oid, opfowner from pg_catalog.pg_opfamily
        union all select 'pg_collation'::regclass, oid, collowner from pg_catalog.pg_collation
        union all select 'pg_conversion'::regclass, oid, conowner from pg_catalog.pg_conversion
        union all select 'pg_statistic_ext'::regclass, oid, stxowner from pg_catalog.pg_statistic_ext
        union all select 'pg_ts_config'::regclass, oid, cfgowner from pg_catalog.pg_ts_config
        union all select 'pg_ts_dict'::regclass, oid, dictowner from pg_catalog.pg_ts_dict
        union all select 'pg_publication'::regclass, oid, pubowner from pg_catalog.pg_publication
        union all select 'pg_largeobject'::regclass, oid, lomowner from pg_catalog.pg_largeobject_metadata
    ) o, lateral pg_catalog.pg_identify_object(o.classid, o.objid, 0) i
    where o.objid >= 16384 and not exists (
        select from pg_catalog.pg_depend e where e.classid = o.classid and e.objid = o.objid and e.deptype = 'e'))
