set search_path to pg_catalog;
with $OBJECTS$,
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
    'grants', (select coalesce(json_agg(s), '[]') from grants));
