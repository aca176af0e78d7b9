//! The image and the Compose file as a user has them: `docker-compose.prod.yml` with the profile `backup`, started,
//! used through `docker compose exec`, stopped and started again. Few projects, many questions each: a project costs
//! a database.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, reason = "a test may")]

#[path = "common/compose.rs"]
mod compose;

use std::time::{Duration, Instant};

use compose::{PASSWORD, Project, docker, image, wait_until};
use expectrl::{Eof, Expect as _, Session};
use serde_json::Value;

/// The idle supervisor (bar: 15 MiB).
const IDLE_RSS_KB: u64 = 18 * 1024;

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// The verdict and the text of one check of `doctor --json`.
fn check<'a>(report: &'a Value, name: &str) -> (&'a str, &'a str) {
    let checks = report["checks"].as_array().unwrap();
    let one = checks.iter().find(|check| check["name"] == name).unwrap_or_else(|| panic!("no {name}: {report}"));
    (one["verdict"].as_str().unwrap(), one["seen"].as_str().unwrap())
}

/// Up, with tables, and with a directory as the old scripts left it: root's, closed, with a file and our own directory.
fn installed(name: &str) -> Project {
    let project = Project::new(name);
    project.compose(&["create"]).expect(0);
    project.as_host_root(
        "chown 0:0 /b && chmod 700 /b && mkdir -m 700 /b/.amarre && echo x >/b/.amarre/old && chmod 600 /b/.amarre/old &&
         echo -- | gzip >/b/hub_chantier_backup_20200101_030000.sql.gz && chmod 600 /b/*.gz",
    );
    project.compose(&["up", "-d", "--no-build"]).expect(0);
    wait_until("the supervisor runs", 30, || project.exec(&["amarre", "health"]).code == 0);
    project.sql("create table chantiers (id int primary key, nom text not null)");
    project.sql("insert into chantiers select i, 'chantier ' || i from generate_series(1, 20000) i");
    project
}

/// Owners on the volume that are not the sidecar's user.
fn foreign_owners(project: &Project) -> String {
    project.as_host_root("find /b ! -user 10001 -o ! -group 10001")
}

#[test]
fn the_sidecar_does_its_job_out_of_the_box() {
    let mut project = installed("box");

    rights_are_given_up(&project);
    backups_and_restores(&project);
    without_the_lane(&mut project);
    a_hosts_crontab_may_write_too(&project);
    fault_65_a_second_supervisor_is_refused(&project);
    health_is_seen_by_the_engine(&project);
    backups_survive_down_and_up(&project);
}

fn rights_are_given_up(project: &Project) {
    assert_eq!(foreign_owners(project), "");
    let top = docker(&["top", &project.sidecar(), "-eo", "pid,uid,gid,args"]).expect(0).out;
    assert!(top.lines().skip(1).all(|line| line.contains("10001")), "{top}");
    let pid = docker(&["inspect", "-f", "{{.State.Pid}}", &project.sidecar()]).expect(0).out;
    let status = project.compose(&["exec", "-T", "backup-cron", "cat", "/proc/1/status"]).expect(0).out;
    for line in ["CapEff:\t0000000000000000", "CapPrm:\t0000000000000000", "NoNewPrivs:\t1"] {
        assert!(status.contains(line), "PID 1 ({pid}): {status}");
    }
    let rss = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    let rss: u64 = rss.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(rss < IDLE_RSS_KB, "{rss} kB");

    let report = json(&project.exec(&["amarre", "doctor", "--json"]).expect(0).out);
    for name in
        ["engine", "container", "lane", "versions", "database", "directory", "mount", "privileges", "supervisor"]
    {
        assert_eq!(check(&report, name).0, "ok", "{report}");
    }
    let rights = check(&report, "privileges").1;
    assert!(rights.starts_with("uid 10001, gid 10001, groups ["), "{rights}");
    assert!(rights.ends_with("CapEff 0, CapPrm 0, NoNewPrivs true"), "{rights}");
    // Its own Compose project: another container with a service `db` is none of its business.
    let container = check(&report, "container").1;
    assert!(container.contains(&format!("{}-db-1", project.name())), "{container}");
    let missing = check(&report, "backups").1;
    assert!(missing.contains(&format!("'{}/hub_chantier'", project.name())), "{missing}");

    // Read-only root: nobody writes beside the volumes.
    let written = project.compose(&["exec", "-T", "backup-cron", "sh", "-c", "echo x >/usr/local/bin/x"]);
    assert!(written.code != 0 && written.err.contains("Read-only"), "{written:?}");
}

fn backups_and_restores(project: &Project) {
    let made = project.exec(&["backup"]).expect(0);
    assert!(made.text().contains("20000 rows in 1 tables"), "{}", made.text());
    assert!(!made.text().contains("warning"), "{}", made.text());
    assert!(!made.text().contains(PASSWORD), "{}", made.text());
    let made = json(&project.exec(&["backup", "--json"]).expect(0).out);
    assert_eq!(made["lane"], "fifo", "{made}");
    project.sql("update chantiers set nom = 'lost'");
    project.sql("create table later (id int)");

    let piped = project.exec(&["restore", "--latest"]).expect(5);
    assert!(piped.err.contains("terminal"), "{piped:?}");
    assert_eq!(project.sql("select count(*) from chantiers where nom = 'lost'"), "20000");

    typed(project, "oui", 5);
    assert_eq!(project.sql("select count(*) from chantiers where nom = 'lost'"), "20000");
    typed(project, "OUI", 0);
    assert_eq!(project.sql("select count(*) from chantiers where nom <> 'lost'"), "20000");
    assert_eq!(project.sql("select to_regclass('later') is null"), "t");
    assert_eq!(project.as_host_root_on("lane", "ls -A /b; stat -c '%u:%g %a' /b").trim(), "10001:10001 711");
}

/// A database that does not mount the volume: as good a backup and restore, by the slower lane, and the lines for the fast one.
fn without_the_lane(project: &mut Project) {
    project.override_with("services: {db: {volumes: !override [\"postgres_data:/var/lib/postgresql/data\"]}}");
    project.compose(&["up", "-d", "--no-build", "--wait", "db"]).expect(0);
    wait_until("the supervisor runs", 30, || project.exec(&["amarre", "health"]).code == 0);
    let said = project.exec(&["amarre", "doctor"]).text();
    for line in ["Warning lane", "      - lane:/lane", "  lane: "] {
        assert!(said.contains(line), "{line}: {said}");
    }
    assert_eq!(said.matches("- lane:/lane").count(), 2, "{said}");
    let made = json(&project.exec(&["backup", "--json"]).expect(0).out);
    assert_eq!(made["lane"], "exec", "{made}");
    project.exec(&["restore", "--latest", "--yes-replace", "hub_chantier"]).expect(0);
    assert_eq!(project.sql("select count(*) from chantiers"), "20000");
    project.drop_overrides();
    project.compose(&["up", "-d", "--no-build", "--wait", "db"]).expect(0);

    // The same where the sidecar is the one that lacks it; its root is read-only, and that is nobody's mistake.
    let volumes = "\"backup_data:/var/backups/hub-chantier\", \"/var/run/docker.sock:/var/run/docker.sock:ro\"";
    project.override_with(&format!("services: {{backup-cron: {{volumes: !override [{volumes}]}}}}"));
    project.compose(&["up", "-d", "--no-build", "--wait"]).expect(0);
    let said = project.exec(&["amarre", "doctor"]).text();
    assert_eq!(said.matches("- lane:/lane").count(), 2, "{said}");
    assert!(!said.contains("cannot mend"), "{said}");
    let made = project.exec(&["backup"]).expect(0).text();
    assert!(made.contains("(exec)") && !made.contains("warning"), "{made}");
    project.drop_overrides();
    project.compose(&["up", "-d", "--no-build", "--wait"]).expect(0);
}

/// `docker compose exec backup-cron restore --latest`, answered by a person.
fn typed(project: &Project, word: &str, code: i32) {
    let mut command = project.command(&["exec", "backup-cron", "restore", "--latest"]);
    command.stdin(std::process::Stdio::inherit()); // The terminal's.
    let mut session = Session::spawn(command).unwrap();
    session.set_expect_timeout(Some(Duration::from_secs(60)));
    let asked = session.expect("Type OUI to go on: ").unwrap();
    let shown = String::from_utf8_lossy(asked.before()).into_owned();
    assert!(shown.contains("20000 rows in 1 tables"), "{shown}");
    session.send(format!("{word}\r")).unwrap();
    let rest = session.expect(Eof).unwrap();
    let rest = String::from_utf8_lossy(rest.as_bytes()).into_owned();
    let status = session.get_process().wait().unwrap();
    assert_eq!(status, expectrl::process::unix::WaitStatus::Exited(session.get_process().pid(), code), "{rest}");
    if code == 0 {
        assert!(rest.contains("public.chantiers"), "the table does not fit the terminal: {rest}");
    }
}

fn a_hosts_crontab_may_write_too(project: &Project) {
    project.as_host_root(
        "touch /b/hub_chantier_backup_20260102_030000.sql.gz /b/.amarre/of-root && chmod 000 /b/*20260102* &&
         mkdir -m 700 /b/other && ln -s /etc/passwd /b/hub_chantier_backup_20260103_030000.sql.gz",
    );
    // Each exec starts as root, mends and drops, beside a supervisor that goes on.
    let listed = project.exec(&["amarre", "list"]).expect(0);
    assert!(listed.out.contains("unproven"), "{}", listed.out);
    let foreign = foreign_owners(project);
    let mut left: Vec<_> = foreign.lines().collect();
    left.sort_unstable();
    assert_eq!(left, ["/b/hub_chantier_backup_20260103_030000.sql.gz", "/b/other"], "only what is nobody's business");
    project.exec(&["backup"]).expect(0);
    project.exec(&["amarre", "health"]).expect(0);
}

fn fault_65_a_second_supervisor_is_refused(project: &Project) {
    let second = project.run(&["amarre", "supervise"]).expect(4);
    assert!(second.text().contains("/var/backups/hub-chantier"), "{}", second.text());
    project.exec(&["amarre", "health"]).expect(0);
}

fn health_is_seen_by_the_engine(project: &Project) {
    wait_until("the health check turns healthy", 75, || {
        docker(&["inspect", "-f", "{{.State.Health.Status}}", &project.sidecar()]).out.trim() == "healthy"
    });
}

fn backups_survive_down_and_up(project: &Project) {
    let before = project.exec(&["amarre", "list", "--json"]).expect(0).out;
    let names = |text: &str| {
        let entries = json(text)["backups"].as_array().cloned().unwrap_or_default();
        entries.iter().map(|entry| entry["file"].to_string()).collect::<Vec<_>>()
    };
    assert!(names(&before).len() >= 3, "{before}");
    project.compose(&["down"]).expect(0);
    // Without the profile only the database starts.
    project.without_profile(&["up", "-d"]).expect(0);
    assert_eq!(project.compose(&["ps", "--services"]).expect(0).out.trim(), "db");
    project.compose(&["up", "-d", "--no-build"]).expect(0);
    wait_until("the supervisor runs", 30, || project.exec(&["amarre", "health"]).code == 0);
    assert_eq!(names(&project.exec(&["amarre", "list", "--json"]).expect(0).out), names(&before));
}

#[test]
fn fault_89_what_runs_beside_a_stopping_sidecar_is_ended_cleanly() {
    let project = installed("stop");

    // A backup that waits for a lock.
    let mut locker = project.command(&["exec", "-T", "db", "psql", "-qX", "-U", "hub", "-d", "hub_chantier", "-c"]);
    let mut locker = locker
        .arg("begin; lock table chantiers; select pg_sleep(300)")
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    wait_until("the table is locked", 15, || waits(&project, "relation = 'chantiers'::regclass and granted"));
    let backup = project.exec_beside(&["backup"]);
    wait_until("pg_dump waits", 30, || waits(&project, "not granted"));
    let took = stop(&project);
    let ended = backup.wait();
    assert!(ended.code != 0 && ended.err.contains("nothing was committed"), "{ended:?}");
    assert!(took < Duration::from_secs(10), "{took:?}");
    let sessions = "select count(*) from pg_stat_activity where application_name like 'amarre/%'";
    wait_until("no session of it is left", 10, || project.sql(sessions) == "0");
    assert_eq!(project.as_host_root("ls /b /b/.amarre | grep -c -e partial -e json || true").trim(), "0");
    project.sql("select pg_terminate_backend(pid) from pg_stat_activity where query like '%pg_sleep(300)%' and pid <> pg_backend_pid()");
    let _ = locker.wait();

    // A restore that loads slowly: the rows are checked by a function that sleeps in any other database.
    project.compose(&["up", "-d", "--no-build"]).expect(0);
    wait_until("the supervisor runs", 30, || project.exec(&["amarre", "health"]).code == 0);
    project.sql(
        "create function slow() returns bool language plpgsql as
         $$begin if current_database() <> 'hub_chantier' then perform pg_sleep(0.01); end if; return true; end$$",
    );
    project.sql("alter table chantiers add constraint slow check (public.slow())");
    project.exec(&["backup"]).expect(0);
    let restore = project.exec_beside(&["restore", "--latest", "--yes-replace", "hub_chantier"]);
    let loading = "select count(*) > 0 from pg_stat_activity where datname <> 'hub_chantier' and query ilike 'copy %'";
    wait_until("rows are loaded", 60, || project.sql(loading) == "t");
    let took = stop(&project);
    let ended = restore.wait();
    assert!(ended.code != 0 && ended.code != 137, "{ended:?}");
    assert!(took < Duration::from_secs(25), "{took:?}");
    assert_eq!(project.sql("select count(*) from chantiers"), "20000", "open, and as it was");
    assert_eq!(project.sql_in("postgres", "select count(*) from pg_database where datname like '%amarre%'"), "0");
}

/// Whether there is such a lock in the database.
fn waits(project: &Project, lock: &str) -> bool {
    project.sql(&format!("select count(*) > 0 from pg_locks where {lock}")) == "t"
}

/// `docker compose stop`; how long it took. The supervisor must have ended by itself.
fn stop(project: &Project) -> Duration {
    let began = Instant::now();
    project.compose(&["stop", "backup-cron"]).expect(0);
    let took = began.elapsed();
    let code = docker(&["inspect", "-f", "{{.State.ExitCode}}", &project.sidecar()]).expect(0).out;
    assert_eq!(code.trim(), "0", "killed by the engine after {took:?}");
    took
}

#[test]
fn what_the_container_lacks_is_said_with_its_fix() {
    let mut project = Project::new("lacks");
    let doctor = ["amarre", "doctor"];

    // Fault 8: nothing at the socket's place.
    project.override_with("services: {backup-cron: {volumes: !override [\"backup_data:/var/backups/hub-chantier\"]}}");
    let said = project.run(&doctor).expect(1).text();
    assert!(said.contains("/var/run/docker.sock"), "{said}");
    project.drop_overrides();

    // A user of one's own, with the wrong group: it starts as that, and names group and directory.
    project.override_with("services: {backup-cron: {user: \"12345:12345\"}}");
    let said = project.run(&doctor).expect(1).text();
    let gid = std::os::unix::fs::MetadataExt::gid(&std::fs::metadata("/var/run/docker.sock").unwrap());
    assert!(flat(&said).contains("uid 12345") && said.contains(&gid.to_string()), "{said}");
    assert!(said.contains("/var/backups/hub-chantier"), "{said}");
    project.drop_overrides();

    // The sidecar's own user with the socket's group works, once the directory is its own.
    project.override_with(&format!("services: {{backup-cron: {{user: \"10001:{gid}\"}}}}"));
    let said = project.run(&doctor).text();
    assert!(flat(&said).contains(&format!("uid 10001, gid {gid}")), "{said}");
    assert!(said.contains("OK      directory"), "{said}");
    project.drop_overrides();

    // Root that may not change its user stays nobody's guess.
    project.override_with("services: {backup-cron: {cap_add: !override [CHOWN]}}");
    let said = project.run(&doctor).expect(2).text();
    assert!(said.contains("SETUID"), "{said}");
}

#[test]
fn fault_06_without_a_mount_it_warns_loudly() {
    let said = flat(&docker(&["run", "--rm", &image(), "amarre", "doctor"]).expect(1).text());
    assert!(said.contains("'/var/backups/hub-chantier' is not a volume"), "{said}");
    assert!(said.contains("backup_data:/var/backups/hub-chantier"), "{said}");
}

/// Without the ends of lines, wherever a terminal's width put them.
fn flat(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
