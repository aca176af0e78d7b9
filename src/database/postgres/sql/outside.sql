-- to_jsonb(row) lets one script read columns that only some versions have (datlocprovider 15+, daticulocale 15-16, datlocale 17+).
select coalesce((
    select json_build_object('oid', d.oid::int8, 'open', d.datallowconn, 'record', json_build_object(
        'name', d.datname,
        'owner', pg_catalog.pg_get_userbyid(d.datdba),
        'acl', case when d.datacl is not null then
            (select coalesce(json_agg(a::text order by a::text), '[]') from unnest(d.datacl) a) end,
        'grants', case when d.datacl is null then '[]' else (
            select json_agg(s order by n, s) from (
                select 0 as n, 'revoke all on database $DATABASE$ from public' as s
                union all
                select 1, format('revoke all on database $DATABASE$ from %I', pg_catalog.pg_get_userbyid(d.datdba))
                union all
                select 2, format('grant %s on database $DATABASE$ to %s%s',
                    string_agg(a.privilege_type, ', ' order by a.privilege_type),
                    case a.grantee when 0 then 'public' else quote_ident(pg_catalog.pg_get_userbyid(a.grantee)) end,
                    case when a.is_grantable then ' with grant option' else '' end)
                from aclexplode(d.datacl) a group by a.grantee, a.is_grantable) g) end,
        'settings', (
            select coalesce(json_agg(json_build_object(
                'role', r.rolname,
                'name', left(c, strpos(c, '=') - 1),
                'value', substr(c, strpos(c, '=') + 1)) order by r.rolname nulls first, c), '[]')
            from pg_catalog.pg_db_role_setting s
            left join pg_catalog.pg_roles r on r.oid = s.setrole, unnest(s.setconfig) c
            where s.setdatabase = d.oid and (s.setrole = 0 or r.rolname is not null)),
        'connection_limit', d.datconnlimit,
        'comment', pg_catalog.shobj_description(d.oid, 'pg_database'),
        'encoding', pg_catalog.pg_encoding_to_char(d.encoding),
        'collate', coalesce(d.datcollate, ''),
        'ctype', coalesce(d.datctype, ''),
        'locale_provider', case coalesce(to_jsonb(d)->>'datlocprovider', 'c')
            when 'i' then 'icu' when 'b' then 'builtin' else 'libc' end,
        'locale', coalesce(to_jsonb(d)->>'datlocale', to_jsonb(d)->>'daticulocale'),
        'size_bytes', pg_catalog.pg_database_size(d.oid)))
    from pg_catalog.pg_database d where d.datname = $NAME$), 'null');
