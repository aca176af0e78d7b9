//! Databases that are set up unlike others: what ALTER DATABASE says, encodings, locales, kinds of tables.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::expect_used,
    reason = "a test that panics has failed"
)]

mod common;

use common::{Bed, SHOP, Server, identifier, unique};

fn comes_back(bed: &Bed) {
    let before = bed.content();
    bed.backup();
    bed.psql("drop table if exists nothing; create table intruder (id int)");
    bed.restore("--latest").expect(0);
    assert_eq!(bed.content(), before);
}

#[test]
fn settings_of_the_database_change_nothing_of_what_is_saved() {
    let bed = Bed::filled("odd");
    bed.psql("create table odd (f float8, i interval, d timestamptz, b bytea, t text)");
    bed.psql("insert into odd select 1/3.0::float8, '1 day 2:03:04.5'::interval * i, now() + i * interval '1 h', '\\xdeadbeef', E'a\\\\b' from generate_series(1, 50) i");
    for setting in [
        "datestyle = 'German, DMY'",
        "intervalstyle = 'iso_8601'",
        "extra_float_digits = '-5'",
        "bytea_output = 'escape'",
        "timezone = 'Asia/Kathmandu'",
        "standard_conforming_strings = off",
        "backslash_quote = off",
        "search_path = stock",
        "lock_timeout = '5s'",
        "row_security = off",
        "client_encoding = 'LATIN1'",
        "default_transaction_isolation = 'serializable'",
        "quote_all_identifiers = on",
        "synchronize_seqscans = off",
        "check_function_bodies = on",
        "session_replication_role = 'replica'",
    ] {
        bed.psql(&format!("alter database {} set {setting}", bed.database));
    }
    comes_back(&bed);
}

#[test]
fn a_database_that_is_read_only_by_its_settings_restores() {
    let bed = Bed::filled("readonly");
    let before = bed.content();
    bed.psql(&format!("alter database {} set default_transaction_read_only = on", bed.database));
    bed.backup();
    bed.psql("set default_transaction_read_only = off; update customer set name = 'lost'");
    bed.restore("--latest").expect(0);
    assert_eq!(bed.content(), before);
    assert_eq!(bed.psql("show default_transaction_read_only"), "on");
}

fn with(options: &str) -> Bed {
    let server = Server::pg17();
    let name = unique("made");
    server.psql("postgres", &format!("create database {} template template0 {options}", identifier(&name)));
    let bed = Bed::without_database(&server, &name);
    bed.psql(SHOP);
    bed
}

const LOOKS: &str = "select pg_encoding_to_char(encoding), datcollate, datctype, datlocprovider, datlocale, daticurules
    from pg_database where datname = current_database()";

#[test]
fn another_encoding_comes_back_with_its_letters() {
    let bed = with("encoding 'LATIN1' locale 'C'");
    bed.psql("set client_encoding = utf8; insert into customer (name) values ('éàü ÿ £'), (E'\\\\x \\u00e9')");
    let (before, codes) = (
        bed.psql(LOOKS),
        "select md5(string_agg(encode(convert_to(name, 'UTF8'), 'hex'), '|' order by id)) from customer",
    );
    let letters = bed.psql(codes);
    comes_back(&bed);
    assert_eq!((bed.psql(LOOKS), bed.psql(codes)), (before, letters));
}

#[test]
fn bytes_of_no_encoding_come_back() {
    let bed = with("encoding 'SQL_ASCII' locale 'C'");
    bed.psql("insert into customer (name) select convert_from('\\xe9ff80fe'::bytea, 'SQL_ASCII')");
    let (before, codes) = (bed.psql(LOOKS), "select md5(string_agg(name::bytea::text, '|' order by id)) from customer");
    let letters = bed.psql(codes);
    comes_back(&bed);
    assert_eq!((bed.psql(LOOKS), bed.psql(codes)), (before, letters));
}

#[test]
fn a_locale_of_icu_comes_back() {
    let bed = with("encoding 'UTF8' locale_provider icu icu_locale 'fr-FR' locale 'C'");
    let before = bed.psql(LOOKS);
    comes_back(&bed);
    assert_eq!(bed.psql(LOOKS), before);
}

#[test]
fn a_locale_built_in_comes_back() {
    let bed = with("encoding 'UTF8' locale_provider builtin builtin_locale 'C.UTF-8' locale 'C'");
    let before = bed.psql(LOOKS);
    comes_back(&bed);
    assert_eq!(bed.psql(LOOKS), before);
}

#[test]
fn unusual_things_come_back() {
    let bed = Bed::filled("unusual");
    bed.psql(
        r#"
create table "Ta ""ble" ("co l" text, "select" int, "é" text default 'x');
insert into "Ta ""ble" values (null, 1, '\N'), ('', 2, E'\t\r\n\\.'), ('\.', 3, E'\\N');
create unlogged table fleeting as select 1 as a;
create table parent (a int); create table child (b int) inherits (parent); insert into child values (1, 2);
create table guarded as select i from generate_series(1, 20) i; alter table guarded enable row level security;
alter table guarded force row level security; create policy none on guarded using (false);
create table tree (id int primary key, up int references tree); insert into tree values (1, 2), (2, 1);
create table a (id int primary key, b int); create table b (id int primary key, a int references a deferrable);
alter table a add foreign key (b) references b deferrable;
begin; set constraints all deferred; insert into a values (1, 1); insert into b values (1, 1); commit;
create table noted (id int, n int); create function note() returns trigger language plpgsql as
  $$ begin new.n := coalesce(new.n, 0) + 1; return new; end $$;
insert into noted values (1, 5); create trigger note before insert on noted for each row execute function note();
create rule off as on delete to noted do instead nothing;
create table wide as select i, point(i, i) p, box(point(0, 0), point(i, i)) b, int4range(1, i + 1) r, array[i, null] ar,
  'a=>1'::text h, '{"a": [1, 2.50, "x"]}'::json j, '<a/>'::xml x, B'1010' bits, '10.0.0.0/8'::cidr c, 1.5::money m, 'NaN'::float8 f,
  'infinity'::timestamptz t from generate_series(1, 30) i;
create domain positive as int check (value > 0); create table of_domain (p positive); insert into of_domain values (3);
create type pair as (x int, y text); create table of_pair of pair; insert into of_pair values (1, '(2,")');
create publication everything for all tables;
create statistics s (dependencies) on i, m from wide;
create function loud() returns event_trigger language plpgsql as $$ begin raise notice 'x'; end $$;
create event trigger loud on ddl_command_end execute function loud();
create function twofold(n int) returns int begin atomic select n * 2; end;
create procedure doing() language sql begin atomic select 1; select 2; end;
create sequence down increment -3 minvalue -1000 maxvalue 10 cycle; select nextval('down'), nextval('down');
create collation french (provider = icu, locale = 'fr'); create table col (t text collate french); insert into col values ('é');
create index on wide ((i + 1)) where i > 3; create index wide_i on wide (i desc); cluster wide using wide_i;
create access method heap2 type table handler heap_tableam_handler; create table other_am (a int) using heap2; insert into other_am values (1);
alter table customer cluster on customer_pkey; alter table customer replica identity full;
"#,
    );
    comes_back(&bed);
    assert_eq!(bed.psql("select count(*) from guarded"), "20");
    assert_eq!(bed.psql("select n from noted"), "5");
}
