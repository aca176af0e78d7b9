with needs as (select $NEEDS$::json as n)
select json_build_object(
    'roles', (select coalesce(json_agg(x), '[]') from needs, json_array_elements_text(n->'roles') x
              where x not in (select rolname from pg_catalog.pg_roles)),
    'extensions', (select coalesce(json_agg(x), '[]') from needs, json_array_elements_text(n->'extensions') x
                   where x not in (select name from pg_catalog.pg_available_extensions)),
    'tablespaces', (select coalesce(json_agg(x), '[]') from needs, json_array_elements_text(n->'tablespaces') x
                    where x not in (select spcname from pg_catalog.pg_tablespace)));
