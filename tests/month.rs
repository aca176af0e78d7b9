//! A month in minutes: 31 nights of a sidecar with what goes wrong in them, and two of the next spring, so that both nights in which
//! clocks are changed are there. The time is simulated; the files, PostgreSQL, the engine, the
//! bucket and whoever is told are real. What the journal, the alerts, the notifications, the list and the health check tell is one story:
//! `tests/snapshots/month__*.snap`. Its year is one to come: what a file's own date says must not lie ahead of it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a test that panics has failed"
)]

mod common;
#[path = "common/disk.rs"]
mod disk;
#[allow(dead_code, reason = "shared with tests that need other parts of it")]
#[path = "common/fault_proxy.rs"]
mod fault_proxy;
#[allow(dead_code, reason = "shared with tests that need other parts of it")]
#[path = "common/s3.rs"]
mod s3;
#[allow(dead_code, reason = "shared with tests that need other parts of it")]
#[path = "common/s3_bed.rs"]
mod s3_bed;
#[path = "common/simulated.rs"]
mod simulated;
#[path = "common/sink.rs"]
mod sink;

use std::cell::RefCell;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use amarre::operations::{accept, catalogue};
use chrono::TimeDelta;
use common::{Bed, OwnServer, wait_for};
use disk::Disk;
use fault_proxy::{Fault, FaultProxy, Rule};
use s3::Bucket;
use simulated::Sidecar;
use sink::Sink;

const DATABASE: &str = "chantiers";

/// The socket of the engine, as a name that can be taken away.
struct Engine(PathBuf);

impl Engine {
    fn at(path: PathBuf) -> Self {
        let own = Self(path);
        own.up();
        own
    }

    fn up(&self) {
        symlink("/var/run/docker.sock", &self.0).unwrap();
    }

    fn down(&self) {
        fs::remove_file(&self.0).unwrap();
    }
}

/// A key of the bucket, in files that the sidecar reads: the store itself gives it and takes it away.
struct Keys {
    program: String,
    config: String,
    bucket: String,
    dir: PathBuf,
}

impl Keys {
    /// As `scripts/testbed.sh up` tells; `None`: it started no store.
    fn of(bucket: &Bucket, dir: &Path) -> Option<Self> {
        let of = |name: &str| std::env::var(name).ok();
        let (program, config) = (of("AMARRE_TEST_GARAGE")?, of("AMARRE_TEST_GARAGE_CONFIG")?);
        Some(Self { program, config, bucket: bucket.place.bucket.clone(), dir: dir.to_owned() })
    }

    fn store(&self, words: &[&str]) -> String {
        let done = Command::new(&self.program).args(["-c", &self.config]).args(words).output().unwrap();
        assert!(done.status.success(), "{words:?}: {}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).unwrap()
    }

    fn id(&self) -> PathBuf {
        self.dir.join("s3-key-id")
    }

    fn secret(&self) -> PathBuf {
        self.dir.join("s3-secret")
    }

    /// Makes one and writes it into the files.
    fn renew(&self) {
        let made = self.store(&["key", "create", &common::unique("month")]);
        let line = |of: &str| {
            made.lines().find_map(|line| line.strip_prefix(of)).unwrap_or_else(|| panic!("no {of} in {made}")).trim()
        };
        let (id, secret) = (line("Key ID:"), line("Secret key:"));
        self.store(&["bucket", "allow", "--read", "--write", &self.bucket, "--key", id]);
        fs::write(self.id(), id).unwrap();
        fs::write(self.secret(), secret).unwrap();
    }

    /// The time of the one in the files is over.
    fn expire(&self) {
        let id = fs::read_to_string(self.id()).unwrap();
        self.store(&["key", "set", "--expires-in", "1s", &id]);
        wait_for("a key that has expired", || self.store(&["key", "info", &id]).contains("EXPIRED"));
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        let Ok(id) = fs::read_to_string(self.id()) else { return };
        let _ = Command::new(&self.program).args(["-c", &self.config, "key", "delete", "--yes", &id]).output();
    }
}

/// An installation with all that belongs to it.
struct House {
    // Unmounted before the directory that it is mounted in goes.
    disk: Disk,
    server: OwnServer,
    bed: Bed,
    bucket: Bucket,
    keys: Keys,
    proxy: FaultProxy,
    sink: Sink,
    engine: Engine,
}

impl House {
    fn build(label: &str) -> Option<Self> {
        let Some(bucket) = Bucket::new() else {
            s3::skipped(label);
            return None;
        };
        if !nix::unistd::geteuid().is_root() {
            s3::skipped(&format!("{label}, as root (it fills a disk of its own)"));
            return None;
        }
        let server = OwnServer::lasting(&["-c", "fsync=off"]);
        let mut bed = Bed::on(&server.server, DATABASE);
        bed.psql(
            "create table chantier (id int primary key, nom text not null); create table note (id int, texte text)",
        );
        bed.psql("insert into chantier select i, 'chantier ' || i from generate_series(1, 400) i");
        s3_bed::point(&mut bed, &bucket);
        let Some(keys) = Keys::of(&bucket, bed.path()) else {
            s3::skipped(&format!("{label} (AMARRE_TEST_GARAGE_CONFIG)"));
            return None;
        };
        keys.renew();
        for (name, file) in [("AWS_ACCESS_KEY_ID", keys.id()), ("AWS_SECRET_ACCESS_KEY", keys.secret())] {
            bed.env.remove(name);
            bed.set(&format!("{name}_FILE"), &file.display().to_string());
        }
        let proxy = FaultProxy::before(&bucket.place.endpoint);
        let sink = Sink::start();
        let engine = Engine::at(bed.path().join("docker.sock"));
        let disk = Disk::mount(&bed.dir(), "6m").expect("root may mount a disk");
        let docker = format!("unix://{}", engine.0.display());
        let told = format!("webhook+http://{}/told", sink.address);
        let endpoint = proxy.endpoint();
        for (name, value) in [
            ("BACKUP_NAME", "hub/chantiers"),
            ("DOCKER_HOST", &docker),
            ("S3_ENDPOINT_URL", &endpoint),
            ("BACKUP_S3_DEADLINE_MINUTES", "1"),
            ("BACKUP_RETENTION_DAYS", "7"),
            ("BACKUP_S3_RETENTION_DAYS", "14"),
            ("BACKUP_NOTIFY", &told),
            ("BACKUP_NOTIFY_LEVEL", "success"),
            ("BACKUP_NOTIFY_DIGEST", "weekly"),
        ] {
            bed.set(name, value);
        }
        Some(Self { server, bed, bucket, keys, proxy, sink, engine, disk })
    }

    /// What people were told, in its order.
    fn told(&self) -> String {
        let line = |got: &sink::Got| {
            let notice = got.json();
            let of = |name: &str| notice[name].as_str().unwrap_or_default().to_owned();
            let over = if notice["recovered"] == true { " (over)" } else { "" };
            format!(
                "{}  {}{over}  {}: {}\n",
                simulated::shown(of("at").parse().unwrap()),
                of("level"),
                of("event"),
                of("title")
            )
        };
        self.sink.taken().iter().map(line).collect()
    }

    /// Without what another run has otherwise.
    fn same(&self, text: &str) -> String {
        let text = text.replace(&self.bed.path().display().to_string(), "/srv");
        let text = text.replace(&self.bucket.place.bucket, "bucket").replace(&self.bucket.prefix, "prefix");
        let endpoint = self.proxy.endpoint();
        text.replace(endpoint.trim_start_matches("http://"), "s3.example").replace(&self.server.server.container, "db")
    }

    /// Does this to the database's container.
    fn docker(&self, what: &str) {
        let done = Command::new("docker").args([what, &self.server.server.container]).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }

    fn day_of_work(&self) {
        self.bed.psql("insert into chantier select m + i, 'chantier ' || (m + i) from generate_series(1, 5) i, (select max(id) m from chantier)");
    }

    fn accept_all(&self, sidecar: &Sidecar) {
        let context = sidecar.context();
        let all = sidecar.by_hand(catalogue::load(&context)).unwrap();
        let suspicious: Vec<_> = all.entries().iter().filter(|entry| entry.is_suspicious()).collect();
        assert!(
            !suspicious.is_empty(),
            "nothing is suspicious:\n{}\n{}\n{}",
            self.told(),
            sidecar.history(),
            sidecar.log().join("\n")
        );
        accept::accept(&context, &suspicious, "command, uid 1000").unwrap();
    }
}

#[test]
fn fault_45_a_month_is_told_as_it_was() {
    let Some(house) = House::build("month") else { return };
    let health = RefCell::new(Vec::new());
    let sidecar = Sidecar::start("2037-10-17 12:00", &house.bed.env);
    let noon_of = |sidecar: &Sidecar, day: &str| {
        sidecar.until(&format!("{day} 12:00"));
        health.borrow_mut().push(sidecar.state());
        house.day_of_work();
    };
    let noon = |day: &str| noon_of(&sidecar, &format!("2037-{day}"));
    for day in ["10-18", "10-19"] {
        noon(day);
    }

    // The engine is down for a night; in the morning somebody starts it, and asks for a backup.
    sidecar.until("2037-10-20 02:30");
    house.engine.down();
    sidecar.until("2037-10-20 09:30");
    house.engine.up();
    sidecar.ask_for_backup();
    noon("10-20");
    noon("10-21");

    // The database restarts at the very moment: it is down when the backup begins, and comes while that waits.
    sidecar.until("2037-10-22 02:59");
    house.docker("stop");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            wait_for("a backup that has begun", || sidecar.is_backing_up());
            house.docker("start");
        });
        sidecar.until("2037-10-22 03:00");
    });
    // The night of 25 October has 25 hours.
    for day in ["10-22", "10-23", "10-24", "10-25"] {
        noon(day);
    }

    // The disk is full for a night and a morning.
    sidecar.until("2037-10-26 01:30");
    house.disk.fill();
    sidecar.until("2037-10-26 10:30");
    house.disk.clear();
    for day in ["10-26", "10-27", "10-28"] {
        noon(day);
    }

    // The bucket cannot be reached for three days.
    house.proxy.rules([Rule::on("", Fault::Reset)]);
    sidecar.without_patience(true);
    for day in ["10-29", "10-30", "10-31"] {
        noon(day);
    }
    house.proxy.heal();
    sidecar.without_patience(false);
    for day in ["11-01", "11-02"] {
        noon(day);
    }

    // Somebody sets the clock a day ahead, and back after two hours.
    sidecar.set_clock(TimeDelta::days(1));
    sidecar.until("2037-11-03 14:00");
    sidecar.set_clock(-TimeDelta::days(1));
    for day in ["11-03", "11-04", "11-05"] {
        noon(day);
    }

    // A table is emptied by mistake. Two nights later somebody says that this is so.
    house.bed.psql("truncate chantier; insert into chantier values (1, 'chantier 1')");
    for day in ["11-06", "11-07"] {
        noon(day);
    }
    house.accept_all(&sidecar);
    for day in ["11-08", "11-09"] {
        noon(day);
    }

    // The key of the bucket expires; two days later there is a new one in the files of secrets.
    house.keys.expire();
    for day in ["11-10", "11-11"] {
        noon(day);
    }
    house.keys.renew();
    sidecar.reload();
    for day in ["11-12", "11-13", "11-14", "11-15", "11-16", "11-17"] {
        noon(day);
    }

    // The machine is off for the winter. The night of 28 March has 23 hours.
    drop(sidecar);
    let sidecar = Sidecar::start("2038-03-27 12:00", &house.bed.env);
    for day in ["2038-03-27", "2038-03-28", "2038-03-29"] {
        noon_of(&sidecar, day);
    }

    insta::with_settings!({ filters => filters() }, {
        insta::assert_snapshot!("health", health.borrow().join("\n"));
        insta::assert_snapshot!("told", sorted(house.same(&house.told())));
        insta::assert_snapshot!("history", sorted(house.same(&sidecar.history())));
        insta::assert_snapshot!("list", sidecar.list());
    });
}

/// What happens at one moment has no order of its own.
fn sorted(text: String) -> String {
    let mut lines: Vec<&str> = text.split_inclusive('\n').collect();
    lines.sort_unstable();
    lines.concat()
}

/// What differs from one machine to another.
fn filters() -> Vec<(&'static str, &'static str)> {
    vec![
        (r"\d+(\.\d+)? [kMG]?B\b", "[size]"),
        (r"\d{8}T\d{6}Z-[0-9a-f]+", "[id]"),
        (r"[0-9a-f]{64}", "[hex]"),
        (r"GK[0-9a-f]{24}", "[key]"),
        // A signal is heard at once, or a minute later.
        (r"09:31", "09:30"),
        (r"_093100", "_093000"),
    ]
}
