select coalesce(json_agg(json_build_object('name', datname, 'oid', oid::int8, 'open', datallowconn, 'comment', comment)
                         order by datname), '[]')
from (select d.datname, d.oid, d.datallowconn, pg_catalog.shobj_description(d.oid, 'pg_database') as comment
      from pg_catalog.pg_database d) d
where comment like '{"amarre":%';
