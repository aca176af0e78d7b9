//! Files that Amarre did not make: of the old scripts, of other options of `pg_dump`, and hostile ones.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::expect_used,
    reason = "a test that panics has failed"
)]

mod common;

use std::fs;
use std::path::Path;
use std::process::Command;

use common::{Bed, Role, SHOP, gzip, unique};

const SPOILED: &str =
    "update customer set name = 'lost'; drop table stock.item cascade; create table intruder (id int)";

/// Restores a file made with these options, and compares.
fn comes_back(label: &str, options: &[&str], packed: bool) -> Bed {
    let bed = Bed::filled(label);
    let before = bed.content();
    let dump = bed.server.pg_dump(&bed.database, options);
    let file = match packed {
        true => bed.write("elsewhere.sql.gz", &gzip(&dump)),
        false => bed.write("elsewhere.sql", &dump),
    };
    bed.psql(SPOILED);
    bed.restore(file.to_str().unwrap()).expect(0);
    assert_eq!(bed.content(), before);
    bed
}

#[test]
fn a_compressed_file_of_another_directory_restores() {
    comes_back("packed", &[], true);
}

#[test]
fn a_plain_file_restores() {
    comes_back("plain", &[], false);
}

#[test]
fn a_file_of_inserts_restores() {
    comes_back("inserts", &["--inserts"], true);
}

#[test]
fn a_file_of_column_inserts_restores() {
    comes_back("columns", &["--column-inserts", "--rows-per-insert=50"], false);
}

#[test]
fn a_file_that_drops_first_restores() {
    comes_back("clean", &["--clean", "--if-exists"], true);
}

#[test]
fn a_file_that_creates_and_connects_to_its_own_database_restores() {
    comes_back("create", &["--create"], true);
}

#[test]
fn a_file_that_connects_elsewhere_is_refused() {
    let bed = Bed::filled("elsewhere");
    let dump = bed.server.pg_dump(&bed.database, &["--create"]);
    let text = String::from_utf8(dump).unwrap().replace(&format!("\\connect {}", bed.database), "\\connect postgres");
    let file = bed.write("other.sql", text.as_bytes());
    bed.restore(file.to_str().unwrap()).expect(2).says("\\connect postgres");
    assert!(bed.beside().is_empty() && bed.files().is_empty());
}

#[test]
fn a_file_of_pg_dumpall_is_refused() {
    let bed = Bed::new("dumpall");
    bed.psql("create table t (id int)");
    let one = bed.server.pg_dump(&bed.database, &[]);
    let two: Vec<u8> = [one.as_slice(), one.as_slice()].concat();
    let file = bed.write("all.sql", &two);
    bed.restore(file.to_str().unwrap()).expect(1).says("more than one dump");
    let output = bed.server.client("postgres", &["pg_dumpall"]).output().unwrap();
    let file = bed.write("cluster.sql", &output.stdout);
    bed.restore(file.to_str().unwrap()).expect(1);
    assert!(bed.beside().is_empty() && bed.files().is_empty());
}

/// As the scripts were used: the application has a role of its own, the dump was taken and is loaded by a superuser.
#[test]
fn after_a_file_of_the_old_scripts_the_applications_own_role_can_use_its_tables() {
    let bed = Bed::new("scripts");
    let (app, reader) = (Role::new(&bed.server, "login"), Role::new(&bed.server, "login"));
    bed.psql(&format!(
        "alter database {db} owner to {app}; alter schema public owner to {app}; set role {app}; {SHOP}
         grant select on customer to {reader}; grant usage on schema stock to {reader};
         alter default privileges grant select on tables to {reader};
         alter default privileges in schema stock grant usage on sequences to {reader};",
        db = bed.database,
        app = app.name,
        reader = reader.name
    ));
    let before = bed.content();
    let dump = bed.server.pg_dump(&bed.database, &["--no-owner", "--no-acl"]);
    let name = format!("{}_backup_20250101_030000.sql.gz", bed.database);
    fs::write(bed.dir().join(&name), gzip(&dump)).unwrap();
    bed.psql(SPOILED);
    // By the name it has in the bucket, too.
    let ran = bed.restore(&format!("backups/{name}")).expect(0);
    let use_it = format!(
        "set role {}; insert into customer (name) values ('new'); update stock.item set price = 1 where id = 1;
         alter table customer add column more int; refresh materialized view totals; select nextval('tickets');
         drop table nothing; select twice(2); select lo_get(oid) is not null from pg_largeobject_metadata",
        app.name
    );
    let after = bed.content();
    bed.psql(&use_it);
    bed.psql(&format!("set role {}; select count(*) from customer", reader.name));
    assert!(ran.err.contains(&app.name) || ran.out.contains(&app.name), "the plan says whose it becomes: {}", ran.err);
    bed.server.psql("postgres", &format!("alter database {} owner to current_user", bed.database));
    drop(bed);
    assert_eq!(after, before);
}

/// `--no-acl` leaves no trace of a revoke, and what PUBLIC may do by default comes back with every new object.
#[test]
fn after_a_file_of_the_old_scripts_what_was_closed_to_everybody_stays_closed() {
    let bed = Bed::new("revoked");
    let reader = Role::new(&bed.server, "login");
    bed.psql(&format!(
        "create function secret() returns text language sql security definer as $$ select 'x' $$;
         create procedure doing() language sql as $$ select 1 $$;
         create type grade as enum ('a', 'b');
         create function open_to_all() returns int language sql as $$ select 1 $$;
         revoke execute on function secret() from public; revoke execute on procedure doing() from public;
         revoke usage on type grade from public; revoke usage on schema public from public;
         grant execute on function secret() to {reader}; grant usage on type grade to {reader};
         alter default privileges revoke execute on routines from public;",
        reader = reader.name
    ));
    let before = bed.content();
    let dump = bed.server.pg_dump(&bed.database, &["--no-owner", "--no-acl"]);
    let file = bed.write("scripts.sql.gz", &gzip(&dump));
    bed.restore(file.to_str().unwrap()).expect(0);
    let after = bed.content();
    let may = |role: &str, what: &str| {
        bed.psql(&format!("select has_function_privilege('{role}', 'public.{what}', 'execute')")) == "t"
    };
    let public =
        "select exists (select from pg_proc p, aclexplode(p.proacl) a where proname = 'secret' and grantee = 0)";
    let seen = (bed.psql(public), may(&reader.name, "secret()"), may(&reader.name, "open_to_all()"));
    drop(bed);
    assert_eq!(seen, ("f".to_owned(), true, true));
    assert_eq!(after, before);
}

#[test]
fn fault_78_rows_that_change_while_they_are_loaded_stop_the_swap() {
    let bed = Bed::new("differs");
    bed.psql("create table t (id int, note text); insert into t select i, 'note ' || i from generate_series(1, 50) i");
    let dump = String::from_utf8(bed.server.pg_dump(&bed.database, &[])).unwrap();
    let trigger = "CREATE FUNCTION public.spoil() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  IF NEW.id = 7 THEN RETURN NULL; END IF; NEW.note := pg_catalog.upper(NEW.note); RETURN NEW; END $$;
CREATE TRIGGER spoil BEFORE INSERT ON public.t FOR EACH ROW EXECUTE FUNCTION public.spoil();\n\n";
    let at = dump.find("COPY public.t ").unwrap();
    let text = format!("{}{trigger}{}", &dump[..at], &dump[at..]);
    let file = bed.write("spoiled.sql", text.as_bytes());
    bed.psql("update t set note = 'live'");
    let before = bed.content();
    bed.restore(file.to_str().unwrap()).expect(6).says("rows of table 'public.t': 49, in the backup 50");
    assert_eq!(bed.content(), before);
    // Both are kept: the live one in its place, the new one to look at.
    let [new] = bed.beside().try_into().unwrap();
    assert_eq!(bed.server.psql(&new, "select count(*), min(note) from t"), "49|NOTE 1");
    assert!(bed.files().iter().any(|f| f.starts_with("pre_restore_safety_")));
}

#[test]
fn fault_83_commands_of_psql_are_refused_and_none_is_run() {
    let bed = Bed::filled("hostile");
    let dump = String::from_utf8(bed.server.pg_dump(&bed.database, &[])).unwrap();
    let canary = format!("/tmp/{}", unique("canary"));
    let hostile = [
        format!("\\! touch {canary}"),
        format!("\\o |touch {canary}"),
        format!("\\copy public.customer to program 'touch {canary}'"),
        format!("\\set x `touch {canary}`"),
        format!("select 1 \\! touch {canary}"),
        format!("select 1; \\! touch {canary}"),
        format!("select 1 \\g |touch {canary}"),
        format!("select 'touch {canary}' \\gexec"),
        "\\i /etc/passwd".to_owned(),
    ];
    for command in hostile {
        let at = dump.find("CREATE SCHEMA").unwrap();
        let text = format!("{}{command}\n{}", &dump[..at], &dump[at..]);
        let file = bed.write("hostile.sql.gz", &gzip(text.as_bytes()));
        let ran = bed.restore(file.to_str().unwrap());
        assert_eq!(ran.code, Some(2), "{command}: {}", ran.err);
        assert!(ran.err.contains("commands that a backup never needs"), "{command}: {}", ran.err);
        no_canary(&bed, &canary, &command);
    }
    assert!(bed.beside().is_empty() && bed.files().is_empty());
}

#[test]
fn fault_84_programs_and_files_of_the_server_are_refused() {
    let bed = Bed::filled("program");
    let dump = String::from_utf8(bed.server.pg_dump(&bed.database, &[])).unwrap();
    let canary = format!("/tmp/{}", unique("canary"));
    for command in [
        format!("COPY public.customer TO PROGRAM 'touch {canary}';"),
        format!("copy public.customer\n to /* x */ program 'touch {canary}';"),
        format!("COPY public.customer (name) FROM PROGRAM 'touch {canary}; echo x';"),
        format!("COPY public.customer TO '{canary}';"),
    ] {
        let at = dump.find("-- PostgreSQL database dump complete").unwrap();
        let text = format!("{}{command}\n{}", &dump[..at], &dump[at..]);
        let file = bed.write("hostile.sql", text.as_bytes());
        let ran = bed.restore(file.to_str().unwrap());
        assert_eq!(ran.code, Some(2), "{command}: {}", ran.err);
        no_canary(&bed, &canary, &command);
    }
    assert!(bed.beside().is_empty() && bed.files().is_empty());
}

fn no_canary(bed: &Bed, canary: &str, command: &str) {
    let inside = Command::new("docker").args(["exec", &bed.server.container, "test", "-e", canary]).status();
    assert_eq!(inside.unwrap().code(), Some(1), "{command} was run in the container");
    assert!(!Path::new(canary).exists(), "{command} was run here");
}

#[test]
fn a_text_that_only_looks_like_a_command_is_no_command() {
    let bed = Bed::new("harmless");
    bed.psql(
        "create table t (id int, note text); insert into t values (1, E'\\\\! touch /tmp/x\n\\\\.\n\\\\o |x'), (2, '`id`');
         create function f() returns text language sql as $$ select '\\! no' $$; comment on table t is E'\\\\! no\n\\\\q'",
    );
    let before = bed.content();
    let file = bed.write("harmless.sql", &bed.server.pg_dump(&bed.database, &[]));
    bed.psql("drop table t");
    bed.restore(file.to_str().unwrap()).expect(0);
    assert_eq!(bed.content(), before);
}

#[test]
fn what_is_no_dump_is_refused() {
    let bed = Bed::filled("nodump");
    let custom = bed.server.pg_dump(&bed.database, &["--format=custom"]);
    let truncated = gzip(&bed.server.pg_dump(&bed.database, &[]));
    for (name, bytes, says) in [
        ("empty.sql", b"".as_slice(), "empty"),
        ("custom.sql.gz", &custom, "pg_restore"),
        ("cut.sql.gz", &truncated[..truncated.len() / 2], "cut off"),
        ("text.sql", b"hello\n", "hello.nothing"),
    ] {
        let file = bed.write(name, bytes);
        let ran = bed.restore(file.to_str().unwrap()).expect(1);
        if says != "hello.nothing" {
            ran.says(says);
        }
    }
    bed.restore("/nonexistent/x.sql.gz").expect(2).says("there is no file '/nonexistent/x.sql.gz'");
    bed.restore("nosuch_backup").expect(2);
    assert!(bed.beside().is_empty() && bed.files().is_empty());
}
