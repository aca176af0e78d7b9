//! Backups through the real binary: what lies there afterwards, and what does not when something fails.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::expect_used,
    reason = "a test that panics has failed"
)]

mod common;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{Bed, OwnServer, Role, Server, sql_of, unique, wait_for};

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

/// No backup, nothing half made.
#[track_caller]
fn nothing_new(bed: &Bed, before: &[String]) {
    assert_eq!(bed.files(), before);
    let all: Vec<_> = fs::read_dir(bed.dir()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(!all.iter().any(|n| n.to_string_lossy().contains(".partial")), "{all:?}");
}

#[test]
fn a_backup_is_three_files_that_only_their_owner_reads() {
    let bed = Bed::filled("files");
    let json = bed.backup();
    let file = json["file"].as_str().unwrap();
    let path = bed.dir().join(file);
    let date = file.strip_prefix(&format!("{}_backup_", bed.database)).unwrap().strip_suffix(common::end()).unwrap();
    let digits: String = date.chars().map(|c| if c.is_ascii_digit() { '9' } else { c }).collect();
    assert_eq!(digits, "99999999_999999");
    assert_eq!(bed.files(), [file.to_owned(), format!("{file}.json"), format!("{file}.roles.sql")]);
    for name in bed.files() {
        assert_eq!(mode(&bed.dir().join(&name)), 0o600, "{name}");
    }
    // Without Amarre: whole by the word of those whose format it is, and what pg_dump says of the same database.
    let tester: &[&str] = match common::end() {
        ".sql.gz" => &["gunzip", "-t"],
        ".sql.zst" => &["zstd", "-qt"],
        _ => &["test", "-s"],
    };
    let tested = Command::new(tester[0]).arg(tester[1]).arg(&path).output().unwrap();
    assert!(tested.status.success(), "{tested:?}");
    assert_eq!(
        common::content_of(&sql_of(&path)),
        common::content_of(&bed.server.pg_dump(&bed.database, &["--no-owner", "--no-acl"]))
    );
    let manifest = bed.manifest(file);
    assert_eq!(manifest["content"]["tables"]["public.customer"]["rows"], 500);
    assert_eq!((json["tables"].as_u64(), json["rows"].as_u64()), (Some(6), Some(1400)));
    assert_eq!(json["stored"]["bytes"], fs::metadata(&path).unwrap().len());
    let sha = Command::new("sha256sum").arg(&path).output().unwrap();
    assert_eq!(
        json["stored"]["sha256"].as_str().unwrap(),
        String::from_utf8_lossy(&sha.stdout).split(' ').next().unwrap()
    );
}

#[test]
fn a_backup_loads_with_plain_psql() {
    let bed = Bed::filled("byhand");
    let file = bed.backup_file();
    let bare = Bed::new("byhand");
    bare.server.try_psql(&bare.database, &sql_of(&file)).expect(0);
    assert_eq!(bare.content(), bed.content());
}

#[test]
fn owners_are_left_out_only_where_nothing_is_lost_by_it() {
    let bed = Bed::filled("owners");
    let role = Role::new(&bed.server, "nologin");
    let r = &role.name;
    let decided = || bed.manifest(bed.backup()["file"].as_str().unwrap())["owners"].as_str().unwrap().to_owned();
    assert_eq!(decided(), "omitted");
    for (there, back) in [
        ("grant select on customer to public".to_owned(), "revoke all on customer from public".to_owned()),
        (format!("alter table customer owner to {r}"), "alter table customer owner to current_user".to_owned()),
        (
            format!("alter default privileges grant select on tables to {r}"),
            format!("alter default privileges revoke select on tables from {r}"),
        ),
        (format!("grant usage on schema stock to {r}"), format!("revoke all on schema stock from {r}")),
        (format!("grant select (name) on customer to {r}"), format!("revoke all (name) on customer from {r}")),
    ] {
        bed.psql(&there);
        assert_eq!(decided(), "kept", "{there}");
        bed.psql(&back);
    }
    bed.psql(&format!("drop owned by {r}"));
}

#[test]
fn fault_21_a_database_that_starts_late_is_waited_for() {
    let own = OwnServer::begin(&[], &[]);
    let bed = Bed::without_database(&own.server, "hub_chantier");
    // Holds nothing yet, and says so: only a server that answers can.
    bed.run(&["backup"]).expect(1).says("the database holds nothing");
    own.wait();
    own.server.psql("hub_chantier", "create table t as select generate_series(1, 2000) i");
    bed.run(&["backup"]).expect(0);
}

/// Where a Unix socket is the way to the server, a dump takes the loopback if that server, and nobody else, answers there.
#[test]
fn a_dump_takes_the_loopback_only_where_the_same_server_lets_it_in() {
    let own = OwnServer::start(&[], &["-c", "log_disconnections=on", "-c", "log_line_prefix=%a "]);
    own.server.psql("hub_chantier", "create table t as select generate_series(1, 2000) i");
    let mut bed = Bed::without_database(&own.server, "hub_chantier");
    let ways = |bed: &Bed, ways: &[&str]| {
        bed.run(&["backup"]).expect(0);
        wait_for("the sessions' ends", || dumps(&own).len() >= ways.len());
        assert_eq!(dumps(&own), ways);
    };
    ways(&bed, &["host=127.0.0.1"]);
    // Whoever names a way gets that one.
    bed.set("BACKUP_DB_HOST", "/var/run/postgresql");
    ways(&bed, &["host=127.0.0.1", "host=[local]"]);
    bed.env.remove("BACKUP_DB_HOST");
    // The rules refuse, then want TLS, which it has not, then the password, which goes to nobody there: the socket is good enough.
    let rules = "/var/lib/postgresql/data/pg_hba.conf";
    let mut known = vec!["host=127.0.0.1", "host=[local]"];
    for rule in [
        "host all all 127.0.0.1/32 reject",
        "hostssl all all 127.0.0.1/32 trust",
        "host postgres all 127.0.0.1/32 trust",
        "host all all 127.0.0.1/32 scram-sha-256",
    ] {
        own.exec_as_root(&[
            "sh",
            "-c",
            &format!("echo '{rule}' > {rules}.new; grep ^local {rules} >> {rules}.new; cat {rules}.new > {rules}"),
        ]);
        assert_eq!(own.server.psql("postgres", "select pg_reload_conf()"), "t");
        let refused = ["psql", "-h", "127.0.0.1", "-w", "-c", "select"];
        wait_for("the new rules", || !own.server.client("hub_chantier", &refused).output().unwrap().status.success());
        known.push("host=[local]");
        ways(&bed, &known);
    }
}

/// What let the question in may refuse the dump a moment later.
#[test]
fn a_dump_that_fails_on_the_loopback_goes_by_the_socket() {
    let own = OwnServer::start(&[], &["-c", "log_disconnections=on", "-c", "log_line_prefix=%a "]);
    own.server.psql("hub_chantier", "create table t as select generate_series(1, 2000) i");
    own.server.psql(
        "hub_chantier",
        "create function guard() returns event_trigger language plpgsql as $$ begin
             if inet_client_addr() is not null and current_setting('application_name') not like 'amarre/ask%' then
                 raise exception 'not over the loopback';
             end if;
         end $$;
         create event trigger guard on login execute function guard();
         alter event trigger guard enable always;",
    );
    let bed = Bed::without_database(&own.server, "hub_chantier");
    let ran = bed.run(&["backup"]).expect(0);
    ran.says("once more from the beginning, through its socket").says("not over the loopback");
    wait_for("the sessions' ends", || dumps(&own).len() >= 2);
    assert_eq!(dumps(&own), ["host=127.0.0.1", "host=[local]"]);
}

/// By which ways the sessions of dumps came, as the server tells when they end. The roles are read in another database.
fn dumps(own: &OwnServer) -> Vec<String> {
    let output = Command::new("docker").args(["logs", &own.server.container]).output().unwrap();
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    let ends = log.lines().filter(|line| line.starts_with("amarre/") && !line.starts_with("amarre/ask "));
    let ends = ends.filter(|line| line.contains("disconnection") && line.contains(" database=hub_chantier "));
    ends.map(|line| line.split_whitespace().find(|word| word.starts_with("host=")).unwrap().to_owned()).collect()
}

/// The first start of an official image: a server that answers, runs the scripts, and makes room for the real one.
#[test]
fn fault_21_a_server_that_is_restarted_under_the_dump_is_asked_again() {
    let dir = tempfile::tempdir().unwrap();
    // Ends when a dump waits for the lock: then the dump is cut by the server's end.
    let script = r#"
psql -v ON_ERROR_STOP=1 -U hub -d hub_chantier -c 'create table t as select generate_series(1, 2000) i'
{ echo 'begin; lock table t;'; sleep 60; } | psql -U hub -d hub_chantier &
waits="select count(*) from pg_locks l join pg_stat_activity a using (pid) where not granted and application_name like 'amarre/%'"
until [ "$(psql -U hub -d hub_chantier -Atc "$waits")" = 1 ]; do sleep 0.05; done"#;
    fs::write(dir.path().join("hold.sh"), script).unwrap();
    let mount = format!("{}:/docker-entrypoint-initdb.d:ro", dir.path().display());
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let own = OwnServer::begin(&["-v", &mount], &[]);
    let bed = Bed::without_database(&own.server, "hub_chantier");
    // The table is made by the script, so an attempt before it finds nothing in the database.
    wait_for("the table", || own.server.try_psql("hub_chantier", b"select 't'::regclass").code == Some(0));
    bed.run(&["backup"]).expect(0).says("was restarted under the dump");
    assert_eq!(bed.files().len(), 3);
    assert_eq!(bed.list()[0]["rows"], 2000);
}

#[test]
fn fault_21_a_database_that_never_answers_ends_at_the_deadline() {
    let mut bed = Bed::filled("never");
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    bed.set("BACKUP_RUNNER", "local").set("BACKUP_DB_HOST", "127.0.0.1").set("BACKUP_DB_PORT", &port.to_string());
    bed.set("BACKUP_READY_TIMEOUT", "2").env.remove("BACKUP_DB_CONTAINER");
    bed.run(&["backup"]).expect(1).says("did not get ready within 2 s").says("BACKUP_READY_TIMEOUT");
    nothing_new(&bed, &[]);
}

/// By client programs of this machine, over TCP, to the server that they are as old as.
fn local(label: &str) -> Bed {
    let server = Server::pg15();
    let mut bed = Bed::on(&server, &unique(label));
    bed.psql(common::SHOP);
    let format = "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}";
    let found = Command::new("docker").args(["inspect", "-f", format, &server.container]).output().unwrap();
    let address = String::from_utf8(found.stdout).unwrap().split_whitespace().next().expect("an address").to_owned();
    bed.set("BACKUP_RUNNER", "local").set("BACKUP_DB_HOST", &address).env.remove("BACKUP_DB_CONTAINER");
    bed
}

/// Puts a program of this name before the others.
fn disguise(bed: &mut Bed, name: &str, body: &str) {
    let dir = bed.path().join("bin");
    fs::create_dir_all(&dir).unwrap();
    let real = real(name);
    let script =
        format!("#!/bin/sh\ncase \"$*\" in *--version*) exec {r} --version;; esac\n{body}", r = real.display());
    fs::write(dir.join(name), script.replace("REAL", &real.display().to_string())).unwrap();
    fs::set_permissions(dir.join(name), fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", dir.display(), bed.env["PATH"]);
    bed.set("PATH", &path);
}

fn real(name: &str) -> PathBuf {
    let path = std::env::var("PATH").unwrap();
    std::env::split_paths(&path).map(|d| d.join(name)).find(|p| p.is_file()).expect("a client program")
}

#[test]
fn by_local_programs_a_backup_is_the_same() {
    let bed = local("local");
    let before = bed.content();
    bed.backup();
    bed.psql("update customer set name = 'lost'");
    bed.restore("--latest").expect(0);
    assert_eq!(bed.content(), before);
}

#[test]
fn fault_22_a_wrong_password_fails_at_once_and_asks_nothing() {
    let mut bed = local("password");
    bed.set("POSTGRES_PASSWORD", "canary-of-a-password");
    // On a terminal, where a prompt would wait for a person.
    let mut session = expectrl::Session::spawn(bed.command(&["backup"])).unwrap();
    expectrl::session::Session::set_expect_timeout(&mut session, Some(common::PATIENCE));
    let end = expectrl::Expect::expect(&mut session, expectrl::Eof).unwrap();
    let text = String::from_utf8_lossy(end.get(0).unwrap()).into_owned();
    assert!(text.contains("the database refuses role"), "{text}");
    assert!(!text.contains("Password") && !text.contains("canary"), "{text}");
    bed.run(&["backup"]).expect(1).says("POSTGRES_PASSWORD");
    nothing_new(&bed, &[]);
}

#[test]
fn fault_26_a_dump_program_that_is_killed_commits_nothing() {
    let mut bed = local("killed");
    bed.backup();
    let before = bed.files();
    disguise(&mut bed, "pg_dump", "REAL \"$@\" | head -c 20000; kill -9 $$");
    bed.run(&["backup"]).expect(1).says("137");
    nothing_new(&bed, &before);
}

#[test]
fn fault_26_a_dump_program_that_is_killed_in_the_container_commits_nothing() {
    let bed = Bed::filled("oom");
    bed.backup();
    let before = bed.files();
    let _holder = bed.server.session(&bed.database, "begin; lock table customer in access exclusive mode;");
    let started = bed.start(&["backup"]);
    let waiting = "select count(*) > 0 from pg_stat_activity where datname = current_database()
        and application_name like 'amarre/%' and query like 'LOCK TABLE%'";
    bed.server.until(&bed.database, waiting);
    let kill = format!(
        "for p in /proc/[0-9]*; do a=$(head -zn1 $p/cmdline 2>/dev/null | tr -d '\\0'); \
         case $a in pg_dump|*/pg_dump) grep -qzF {} $p/environ && kill -9 ${{p#/proc/}};; esac; done; true",
        bed.database
    );
    let killed = Command::new("docker").args(["exec", "-u", "root", &bed.server.container, "sh", "-c", &kill]).output();
    assert!(killed.unwrap().status.success());
    started.end().expect(1).says("137");
    nothing_new(&bed, &before);
}

#[test]
fn fault_23_a_held_lock_ends_the_wait_and_names_its_holder() {
    let mut bed = Bed::filled("held");
    bed.set("BACKUP_LOCK_TIMEOUT", "1");
    let open = "set application_name = 'migration of Tuesday'; begin; lock table customer in access exclusive mode;";
    let holder = bed.server.session(&bed.database, open);
    bed.run(&["backup"]).expect(1).says("a lock is held").says("migration of Tuesday").says("BACKUP_LOCK_TIMEOUT");
    nothing_new(&bed, &[]);
    drop(holder);
    bed.run(&["backup"]).expect(0);
}

#[test]
fn fault_24_row_security_that_would_filter_fails_the_backup() {
    let mut bed = Bed::filled("rowsec");
    let role = Role::new(&bed.server, "login password 'few'");
    bed.psql(&format!(
        "alter table customer enable row level security; create policy few on customer using (id < 3);
         grant usage on schema stock to {r}; grant select on all tables in schema public, stock to {r};
         grant select on all sequences in schema public, stock to {r}; select lo_unlink(oid) from pg_largeobject_metadata;
         grant pg_read_all_data to {r}",
        r = role.name
    ));
    bed.set("POSTGRES_USER", &role.name).set("POSTGRES_PASSWORD", "few");
    bed.run(&["backup"]).expect(1).says("row security would filter").says("customer").says("BYPASSRLS");
    nothing_new(&bed, &[]);
    bed.psql(&format!("drop owned by {}", role.name));
}

#[test]
fn fault_25_a_table_gone_or_emptied_makes_the_backup_suspicious() {
    let bed = Bed::filled("shrunk");
    bed.backup();
    bed.psql("truncate customer cascade; drop table journal");
    let ran = bed.run(&["backup", "--json"]).expect(0);
    let json = ran.json();
    let text = json["suspicious"].to_string();
    assert!(text.contains("public.customer had 500 rows") && text.contains("public.journal_2024 had"), "{text}");
    ran.says("suspicious");
    bed.run(&["list"]).expect(0).prints("suspicious");
}

#[test]
fn fault_27_the_session_of_a_dead_run_is_ended_by_its_name() {
    let mut bed = Bed::filled("orphan");
    let _holder = bed.server.session(&bed.database, "begin; lock table customer in access exclusive mode;");
    let started = bed.start(&["backup"]);
    let orphan = "select pid from pg_stat_activity where datname = current_database()
        and application_name like 'amarre/%' and query like 'LOCK TABLE%'";
    wait_for("the dump", || !bed.psql(orphan).is_empty());
    let pid = bed.psql(orphan);
    let dead = Command::new("kill").args(["-9", &started.id().to_string()]).status().unwrap();
    assert!(dead.success());
    started.end();
    // The next run ends it, though it gets no further itself.
    bed.set("BACKUP_LOCK_TIMEOUT", "1");
    bed.run(&["backup"]).expect(1);
    assert_eq!(bed.psql(&format!("select count(*) from pg_stat_activity where pid = {pid}")), "0");
    nothing_new(&bed, &[]);
}

#[test]
fn fault_28_and_85_hostile_names_are_only_names() {
    let canary = format!("/tmp/{}", unique("canary"));
    let hostile = [
        format!("a/../../b; $(touch {canary})"),
        "dbname=x host=evil".to_owned(),
        "new\nline \u{1b}[31m".to_owned(),
        "'q' \"dq\" `id` \\".to_owned(),
        "-h evil --help".to_owned(),
        "postgresql://evil/x".to_owned(),
    ];
    for name in hostile {
        let short = unique("h");
        let bed = Bed::on(&Server::pg17(), &format!("{name} {}", short.trim_start_matches("e2e_")));
        let table = format!("\"{}\"", name.replace('"', "\"\""));
        bed.psql(&format!("create table {table} as select i, 'row ' || i as t from generate_series(1, 300) i"));
        let before = bed.content();
        let ran = bed.run(&["backup", "--json"]).expect(0);
        assert!(!ran.err.contains('\u{1b}') && ran.err.lines().all(|l| l.starts_with('[')), "{}", ran.err);
        let file = ran.json()["file"].as_str().unwrap().to_owned();
        assert!(!file.contains(['/', '\n', '\u{1b}', '$', '\'']), "{file}");
        assert!(bed.dir().join(&file).is_file());
        bed.psql(&format!("delete from {table} where i > 7"));
        bed.restore("--latest").expect(0);
        assert_eq!(bed.content(), before, "{name}");
        let listed = bed.run(&["list"]).expect(0);
        assert!(!listed.out.contains('\u{1b}'), "{}", listed.out);
        bed.restore("--undo").expect(0);
        assert!(!Path::new(&canary).exists());
        let around: Vec<_> = fs::read_dir(bed.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(around.len(), 2, "only BACKUP_DIR and the log: {around:?}");
    }
}

#[test]
fn fault_29_a_dump_without_its_trailer_is_refused() {
    let mut bed = local("trailer");
    bed.backup();
    let before = bed.files();
    disguise(&mut bed, "pg_dump", "REAL \"$@\" | sed '/^-- PostgreSQL database dump complete/d'");
    bed.run(&["backup"]).expect(1).says("lacks its last line");
    nothing_new(&bed, &before);
}

#[test]
fn fault_30_an_empty_or_tiny_dump_is_refused() {
    let bed = Bed::new("tiny");
    bed.run(&["backup"]).expect(1).says("the database holds nothing");
    nothing_new(&bed, &[]);
    let mut bed = local("empty");
    disguise(&mut bed, "pg_dump", "exit 0");
    bed.run(&["backup"]).expect(1).says("the dump is empty");
    nothing_new(&bed, &[]);
}

#[test]
fn fault_31_words_on_standard_error_make_the_backup_degraded() {
    let mut bed = local("degraded");
    disguise(&mut bed, "pg_dump", "echo 'pg_dump: warning: odd thing' >&2; exec REAL \"$@\"");
    let ran = bed.run(&["backup", "--json"]).expect(0);
    let json = ran.json();
    assert_eq!(json["degraded"], serde_json::json!(["pg_dump: warning: odd thing"]));
    ran.says("degraded: pg_dump: warning: odd thing");
    assert_eq!(bed.manifest(json["file"].as_str().unwrap())["warnings"][0], "pg_dump: warning: odd thing");
    bed.run(&["list"]).expect(0).prints("degraded");
}

/// A small file system of its own; `None` (and a word to the counter) where this machine does not let us.
struct Small {
    bed: Bed,
}

impl Small {
    fn mount(label: &str, size: &str) -> Option<Self> {
        let mut bed = Bed::filled(label);
        if common::end() == ".sql" {
            // The sizes are for packed dumps; a first one that is not needs room for the whole database.
            bed.env.remove("BACKUP_COMPRESSION");
        }
        let options = format!("size={size},mode=0700");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(bed.dir()).output();
        if mounted.is_ok_and(|o| o.status.success()) {
            return Some(Self { bed });
        }
        if let Ok(log) = std::env::var("AMARRE_SKIPPED_LOG") {
            let mut file = fs::OpenOptions::new().create(true).append(true).open(log).unwrap();
            std::io::Write::write_all(&mut file, format!("{label}: no right to mount\n").as_bytes()).unwrap();
        }
        None
    }

    fn remount(&self, how: &str) {
        let status = Command::new("mount").args(["-o", &format!("remount,{how}")]).arg(self.bed.dir()).status();
        assert!(status.unwrap().success());
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.bed.dir()).status();
    }
}

#[test]
fn fault_35_a_full_disk_removes_the_partial_file_and_keeps_old_backups() {
    let Some(small) = Small::mount("full", "3m") else { return };
    let bed = &small.bed;
    let first = bed.backup_file();
    let before = bed.files();
    bed.psql("create table noise as select gen_random_uuid() a, gen_random_uuid() b from generate_series(1, 120000) i");
    let ran = bed.run(&["backup"]).expect(1);
    assert!(
        ran.err.contains("No space left") || ran.err.contains("os error 28") || ran.err.contains("room"),
        "{}",
        ran.err
    );
    nothing_new(bed, &before);
    bed.run(&["verify", first.file_name().unwrap().to_str().unwrap()]).expect(0);
    // A restore's safety dump does not fit either: nothing goes on.
    bed.restore("--latest").expect(1).says("the safety dump failed");
    nothing_new(bed, &before);
    bed.psql("drop table noise");
    bed.run(&["backup"]).expect(0);
}

#[test]
fn fault_35_a_disk_that_is_full_to_the_last_byte_says_so() {
    let Some(small) = Small::mount("brim", "3m") else { return };
    let bed = &small.bed;
    bed.backup();
    let before = bed.files();
    let filler = bed.dir().join("filler");
    let filled = Command::new("dd").args(["if=/dev/zero", "bs=4096"]).arg(format!("of={}", filler.display())).output();
    assert!(!filled.unwrap().status.success(), "it is full");
    bed.run(&["backup"]).expect(1);
    nothing_new(bed, &before);
    bed.run(&["list"]).expect(0).prints("verified");
    fs::remove_file(filler).unwrap();
    bed.run(&["backup"]).expect(0);
}

#[test]
fn fault_37_a_directory_that_became_read_only_says_so() {
    let Some(small) = Small::mount("readonly", "8m") else { return };
    let bed = &small.bed;
    bed.backup();
    let before = bed.files();
    small.remount("ro");
    let ran = bed.run(&["backup"]).expect(1);
    assert!(ran.err.to_lowercase().contains("read-only") && ran.err.contains("hint:"), "{}", ran.err);
    nothing_new(bed, &before);
    bed.run(&["list"]).expect(0).prints("verified");
    small.remount("rw");
    bed.run(&["backup"]).expect(0);
}

/// The names that a backup could have within the next minutes.
fn coming_names(bed: &Bed) -> Vec<PathBuf> {
    let now = chrono::DateTime::<chrono::Utc>::from(std::time::SystemTime::now());
    let name = |s| (now + chrono::TimeDelta::seconds(s)).format("%Y%m%d_%H%M%S").to_string();
    (0..240).map(|s| bed.dir().join(format!("{}_backup_{}{}", bed.database, name(s), common::end()))).collect()
}

#[test]
fn fault_38_a_name_that_exists_is_never_overwritten() {
    let mut bed = Bed::filled("exists");
    bed.set("TZ", "UTC");
    let taken = coming_names(&bed);
    for path in &taken {
        fs::write(path, "mine").unwrap();
    }
    let made = bed.backup_file();
    assert!(!taken.contains(&made));
    for path in &taken {
        assert_eq!(fs::read(path).unwrap(), b"mine", "{}", path.display());
    }
    assert!(sql_of(&made).len() > 1000);
}

#[test]
fn fault_39_a_link_in_the_place_of_a_backup_is_not_followed() {
    let mut bed = Bed::filled("link");
    bed.set("TZ", "UTC");
    let victim = bed.write("victim", b"mine");
    for path in coming_names(&bed) {
        symlink(&victim, path).unwrap();
    }
    let ran = bed.run(&["backup"]);
    assert_eq!(fs::read(&victim).unwrap(), b"mine");
    assert!(matches!(ran.code, Some(0 | 1)), "{ran:?}");
    // Nor is one read as a backup.
    let elsewhere = bed.write("elsewhere.sql.gz", &common::gzip(&bed.server.pg_dump(&bed.database, &[])));
    let link = bed.dir().join(format!("{}_backup_20240101_000000.sql.gz", bed.database));
    symlink(elsewhere, &link).unwrap();
    let ran = bed.restore(link.file_name().unwrap().to_str().unwrap());
    assert!(matches!(ran.code, Some(1 | 2)), "{ran:?}");
    assert!(bed.beside().is_empty());
}

#[test]
fn fault_12_a_container_that_is_not_there_is_named() {
    let mut bed = Bed::filled("nowhere");
    bed.set("BACKUP_DB_CONTAINER", "no_such_container_anywhere");
    bed.run(&["backup"]).expect(1).says("no_such_container_anywhere").says("peak memory: ");
    nothing_new(&bed, &[]);
}

#[test]
fn fault_86_no_password_is_in_what_a_run_writes() {
    let bed = Bed::filled("secrets");
    let canary = bed.server.password.clone();
    let backup = bed.run(&["backup"]).expect(0);
    let restore = bed.restore("--latest").expect(0);
    for text in [backup.out, backup.err, restore.out, restore.err] {
        assert!(!text.contains(&canary));
    }
    let found = Command::new("grep").args(["-rlaF", &canary]).arg(bed.path()).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&found.stdout), "");
}

#[test]
fn fault_64_told_to_stop_a_backup_ends_soon_and_commits_nothing() {
    let bed = Bed::filled("sigterm");
    bed.backup();
    let before = bed.files();
    let _holder = bed.server.session(&bed.database, "begin; lock table customer in access exclusive mode;");
    let started = bed.start(&["backup"]);
    let dumping = "select count(*) > 0 from pg_stat_activity where datname = current_database()
        and application_name like 'amarre/%' and query like 'LOCK TABLE%'";
    bed.server.until(&bed.database, dumping);
    let begun = std::time::Instant::now();
    assert!(Command::new("kill").args(["-TERM", &started.id().to_string()]).status().unwrap().success());
    started.end().expect(1).says("told to stop");
    assert!(begun.elapsed().as_secs() < 10, "{:?}", begun.elapsed());
    assert_eq!(bed.psql(dumping), "f", "its session is ended, too");
    nothing_new(&bed, &before);
}

/// The stages that a run's JSON lists; each did something and took time.
fn stages(timings: &serde_json::Value) -> Vec<String> {
    let stages = timings.as_array().unwrap();
    for stage in stages {
        // What is stored as it is passes by the unpacker.
        let passed = stage["bytes"].as_u64().unwrap() > 1000 || (stage["stage"] == "unpack" && common::end() == ".sql");
        assert!(passed, "{stage}");
        let times = ["busy_seconds", "starved_seconds", "blocked_seconds"].map(|key| stage[key].as_f64().unwrap());
        assert!(times.iter().sum::<f64>() > 0.0 && times.iter().all(|t| (0.0..120.0).contains(t)), "{stage}");
    }
    stages.iter().map(|stage| stage["stage"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn every_run_tells_where_its_time_went_and_how_much_memory_it_had() {
    let bed = Bed::filled("timings");
    let made = bed.backup();
    assert_eq!(stages(&made["timings"]), ["read", "inspect", "compress", "write", "sync", "prove"]);
    let read = bed.run(&["verify", "--json"]).expect(0).json();
    assert_eq!(stages(&read["backups"][0]["timings"]), ["read", "unpack", "inspect"]);
    let replace = format!("--yes-replace={}", bed.database);
    let restored = bed.run(&["restore", "--latest", "--json", &replace]).expect(0).json();
    assert_eq!(stages(&restored["check_timings"]), ["read", "unpack", "inspect"]);
    assert_eq!(stages(&restored["timings"]), ["read", "unpack", "load"]);
    let planned = bed.run(&["restore", "--latest", "--dry-run", "--json"]).expect(0).json();
    assert_eq!(stages(&planned["timings"]), ["read", "unpack", "inspect"]);
    assert!(["exec", "fifo"].contains(&restored["lane"].as_str().unwrap()), "{restored}");
    let pruned = bed.run(&["prune", "--json"]).expect(0).json();
    let undone = bed.run(&["restore", "--undo", "--json", &replace]).expect(0).json();
    for run in [made, read, restored, pruned, undone] {
        assert!(run["peak_rss_bytes"].as_u64().unwrap() > 1_000_000, "{run}");
    }
    let latest = ["restore", "--latest", "--timings", &replace];
    let planned = bed.run(&["restore", "--latest", "--timings", "--dry-run"]).expect(0);
    planned.prints(" input wait  room wait  share").prints(" slowest");
    for arguments in [&["backup", "--timings"][..], &["verify", "--timings"], &latest] {
        let ran = bed.run(arguments).expect(0).prints(" input wait  room wait  share").says("peak memory: ");
        let marked = ran.out.lines().filter(|line| line.ends_with(" slowest")).count();
        assert_eq!(marked, ran.out.matches("room wait").count(), "one for each table: {}", ran.out);
    }
    let ran = bed.run(&["--lang", "fr", "backup", "--timings"]).expect(0);
    ran.prints(" att. place ").prints(" goulot").says("mémoire maximale");
    let silent = bed.run(&["backup"]).expect(0);
    assert!(!silent.out.contains("room wait"), "{}", silent.out);
    bed.run(&["prune"]).expect(0).says("peak memory: ");
}
