-- $WAS$: owners and grants of the live database; $OWNER$: owner of what it does not have.
set search_path to pg_catalog;
select pg_catalog.set_config('amarre.was', $WAS$, false);
with $OBJECTS$,
was as (
    select * from json_to_recordset(pg_catalog.current_setting('amarre.was')::json->'owners')
        as w(type text, identity text, owner text)),
wanted as (
    select o.type, o.identity, coalesce(w.owner, $OWNER$) as owner
    from objects o left join was w on w.type = o.type and w.identity = o.identity
    where pg_catalog.pg_get_userbyid(o.owner) = current_user)
select format('alter %s %s owner to %I', case type when 'statistics object' then 'statistics' else type end, identity, owner)
from wanted where owner <> current_user
\gexec
-- Every new database has this schema, of an owner that initdb chose: an application made owner of its own must stay that.
select format('alter schema public owner to %I', w.owner)
from (select pg_catalog.current_setting('amarre.was')::json->>'public' as owner) w, pg_catalog.pg_namespace n
where n.nspname = 'public' and w.owner <> pg_catalog.pg_get_userbyid(n.nspowner)
\gexec
-- A grant on something that the file does not have is left out; its name may have changed since.
do $do$
declare s text;
begin
    for s in select json_array_elements_text(pg_catalog.current_setting('amarre.was')::json->'grants') loop
        begin
            execute s;
        exception when undefined_table or undefined_column or undefined_function or invalid_schema_name or undefined_object then
            null;
        end;
    end loop;
end $do$;
