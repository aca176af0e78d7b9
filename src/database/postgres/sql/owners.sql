set search_path to pg_catalog;
with $OBJECTS$,
-- What PUBLIC has by default and does not have here: without these the new objects would be open to everybody.
revokes as (
    select format('revoke execute on routine %s from public', p.oid::regprocedure) as s
    from pg_catalog.pg_proc p
    where p.oid >= 16384 and p.proacl is not null
    and not exists (select from aclexplode(p.proacl) a where a.grantee = 0)
    union all
    select format('revoke usage on type %s from public', t.oid::regtype)
    from pg_catalog.pg_type t
    where t.oid >= 16384 and t.typacl is not null
    and not exists (select from aclexplode(t.typacl) a where a.grantee = 0)
    union all
    select format('revoke %s on schema public from public', p.privilege)
    from pg_catalog.pg_namespace n, (values ('USAGE'), ('CREATE')) p(privilege)
    where n.nspname = 'public' and n.nspacl is not null
    and not exists (select from aclexplode(n.nspacl) a where a.grantee = 0 and a.privilege_type = p.privilege)
    and exists (select from pg_catalog.pg_init_privs i, lateral aclexplode(i.initprivs) a
                where i.classoid = 'pg_namespace'::regclass and i.objoid = n.oid and i.objsubid = 0
                and a.grantee = 0 and a.privilege_type = p.privilege)
    union all
    select format('alter default privileges for role %I revoke %s on %s from public',
                  pg_catalog.pg_get_userbyid(d.defaclrole), case d.defaclobjtype when 'f' then 'execute' else 'usage' end,
                  case d.defaclobjtype when 'f' then 'routines' else 'types' end)
    from pg_catalog.pg_default_acl d
    where d.defaclobjtype in ('f', 'T') and d.defaclnamespace = 0
    and not exists (select from aclexplode(d.defaclacl) a where a.grantee = 0)),
grants as (
    select format('grant %s on %s %s to %s', a.privilege_type, case c.relkind when 'S' then 'sequence' else 'table' end,
                  format('%I.%I', n.nspname, c.relname),
                  case a.grantee when 0 then 'public' else quote_ident(pg_catalog.pg_get_userbyid(a.grantee)) end)
           || case when a.is_grantable then ' with grant option' else '' end as s
    from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace, lateral aclexplode(c.relacl) a
    where c.oid >= 16384 and c.relkind in ('r', 'p', 'v', 'm', 'f', 'S') and a.grantee <> c.relowner
    union all
    select format('grant %s (%I) on table %I.%I to %s', a.privilege_type, t.attname, n.nspname, c.relname,
                  case a.grantee when 0 then 'public' else quote_ident(pg_catalog.pg_get_userbyid(a.grantee)) end)
    from pg_catalog.pg_attribute t join pg_catalog.pg_class c on c.oid = t.attrelid
    join pg_catalog.pg_namespace n on n.oid = c.relnamespace, lateral aclexplode(t.attacl) a
    where c.oid >= 16384 and not t.attisdropped and a.grantee <> c.relowner
    union all
    select format('grant %s on schema %I to %s', a.privilege_type, n.nspname,
                  case a.grantee when 0 then 'public' else quote_ident(pg_catalog.pg_get_userbyid(a.grantee)) end)
    from pg_catalog.pg_namespace n, lateral aclexplode(n.nspacl) a
    where (n.oid >= 16384 or n.nspname = 'public') and a.grantee <> n.nspowner
    union all
    select format('grant execute on routine %s to %s', p.oid::regprocedure,
                  case a.grantee when 0 then 'public' else quote_ident(pg_catalog.pg_get_userbyid(a.grantee)) end)
    from pg_catalog.pg_proc p, lateral aclexplode(p.proacl) a where p.oid >= 16384 and a.grantee <> p.proowner
    union all
    select format('grant usage on type %s to %s', t.oid::regtype,
                  case a.grantee when 0 then 'public' else quote_ident(pg_catalog.pg_get_userbyid(a.grantee)) end)
    from pg_catalog.pg_type t, lateral aclexplode(t.typacl) a where t.oid >= 16384 and a.grantee <> t.typowner
    union all
    select format('alter default privileges for role %I %s grant %s on %s to %s', pg_catalog.pg_get_userbyid(d.defaclrole),
                  case d.defaclnamespace when 0 then '' else format('in schema %I', n.nspname) end, a.privilege_type,
                  case d.defaclobjtype when 'r' then 'tables' when 'S' then 'sequences' when 'f' then 'routines'
                                       when 'T' then 'types' else 'schemas' end,
                  case a.grantee when 0 then 'public' else quote_ident(pg_catalog.pg_get_userbyid(a.grantee)) end)
           || case when a.is_grantable then ' with grant option' else '' end
    from pg_catalog.pg_default_acl d left join pg_catalog.pg_namespace n on n.oid = d.defaclnamespace,
         lateral aclexplode(d.defaclacl) a
    where d.defaclobjtype in ('r', 'S', 'f', 'T', 'n') and (d.defaclnamespace <> 0 or a.grantee <> d.defaclrole))
select json_build_object(
    'owners', (select coalesce(json_agg(json_build_object(
        'type', type, 'identity', identity, 'owner', pg_catalog.pg_get_userbyid(owner))), '[]') from objects),
    'public', (select pg_catalog.pg_get_userbyid(nspowner) from pg_catalog.pg_namespace where nspname = 'public'),
    'grants', (select coalesce(json_agg(s), '[]') from (select s from revokes union all select s from grants) a));
