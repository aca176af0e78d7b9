//! The second place seen from outside: what lies there is a file like another for the usual client, and a server that is killed in the
//! middle of an upload is only late. Real parts: Garage, awscli.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::expect_used,
    reason = "a test that panics has failed"
)]

mod common;
#[allow(dead_code, reason = "shared with tests that need other parts of it")]
#[path = "common/s3.rs"]
mod s3;
#[allow(dead_code, reason = "shared with tests that need other parts of it")]
#[path = "common/s3_bed.rs"]
mod s3_bed;

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use common::{Server, unique, wait_for};
use s3::{Bucket, Place};
use s3_bed::{LARGE, bed, point};
use sha2::{Digest as _, Sha256};

const ROWS: &str = "select count(*), md5(string_agg(t, ',' order by i)) from large";

/// A restore without us: a client that everybody has, `gunzip`, `psql`.
#[test]
fn the_usual_client_and_gunzip_bring_a_copy_back() {
    let Some(awscli) = std::env::var_os("AMARRE_TEST_AWSCLI") else {
        s3::skipped("the_usual_client_and_gunzip_bring_a_copy_back (AMARRE_TEST_AWSCLI)");
        return;
    };
    let Some((bucket, mut bed)) = bed("awscli") else { return };
    bed.set("BACKUP_COMPRESSION", "gzip").psql(LARGE);
    let made = bed.backup();
    let file = made["file"].as_str().unwrap();
    let config = bed.write("aws.config", b"[default]\ns3 =\n    addressing_style = path\n");
    let (place, target) = (&bucket.place, bed.path().join("fetched.sql.gz"));
    let fetched = Command::new("timeout")
        .arg("300")
        .arg(awscli)
        .args(["--endpoint-url", &place.endpoint, "s3", "cp", "--no-progress"])
        .arg(format!("s3://{}/{}/{file}", place.bucket, bucket.prefix))
        .arg(&target)
        .env_clear()
        .env("PATH", &bed.env["PATH"])
        .envs([("AWS_ACCESS_KEY_ID", &place.key), ("AWS_SECRET_ACCESS_KEY", &place.secret)])
        .envs([("AWS_DEFAULT_REGION", place.region.as_str()), ("AWS_EC2_METADATA_DISABLED", "true")])
        .env("AWS_CONFIG_FILE", config)
        .output()
        .unwrap();
    assert!(fetched.status.success(), "{}", String::from_utf8_lossy(&fetched.stderr));
    let digest: String = Sha256::digest(fs::read(&target).unwrap()).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(bed.manifest(file)["stored"]["sha256"], digest);

    let side = unique("awscli_side");
    bed.server.psql("postgres", &format!("create database {side}"));
    let sql = Command::new("gunzip").arg("-c").arg(&target).output().unwrap();
    assert!(sql.status.success());
    let loaded = bed.server.try_psql(&side, &sql.stdout);
    assert_eq!(loaded.code, Some(0), "{}", loaded.err);
    assert_eq!(bed.server.psql(&side, ROWS), bed.psql(ROWS));
    bed.server.psql("postgres", &format!("drop database {side}"));
}

/// A server of its own, to be killed.
struct Garage {
    child: Child,
}

impl Garage {
    fn start(program: &str, dir: &Path, place: &Place) -> Self {
        let log = fs::File::create(dir.join("log")).unwrap();
        let child = Command::new(program)
            .args(["-c".as_ref(), dir.join("garage.toml").as_os_str()])
            .args(["server", "--single-node", "--default-bucket"])
            .envs([("GARAGE_DEFAULT_ACCESS_KEY", &place.key), ("GARAGE_DEFAULT_SECRET_KEY", &place.secret)])
            .envs([("GARAGE_DEFAULT_BUCKET", place.bucket.as_str()), ("RUST_LOG", "garage=warn")])
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        Self { child }
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Garage {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Below those that the system gives to whoever asks for any: while the server is down nobody else gets it.
fn free_port() -> u16 {
    let first = 20_000 + u16::try_from(std::process::id() % 10_000).unwrap();
    (first..).find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok()).unwrap()
}

/// Whether a client is let in and finds the bucket.
fn answers(bucket: &Bucket) -> bool {
    let name = bucket.place.bucket.clone();
    bucket.ask(move |client| async move { client.head_bucket().bucket(name).send().await.is_ok() })
}

#[test]
fn a_server_that_is_killed_in_the_middle_makes_a_backup_partial_and_sync_completes_it() {
    let Some(program) = std::env::var("AMARRE_TEST_GARAGE").ok() else {
        s3::skipped("a_server_that_is_killed_in_the_middle (AMARRE_TEST_GARAGE)");
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let api = free_port();
    let held = TcpListener::bind(("127.0.0.1", api)).unwrap();
    let rpc = free_port();
    drop(held);
    let shown = dir.path().display();
    let config = format!(
        "metadata_dir = \"{shown}/meta\"\ndata_dir = \"{shown}/data\"\ndb_engine = \"sqlite\"\nreplication_factor = 1\n\
         rpc_bind_addr = \"127.0.0.1:{rpc}\"\nrpc_secret = \"{}\"\n\
         [s3_api]\ns3_region = \"garage\"\napi_bind_addr = \"127.0.0.1:{api}\"\n",
        "5".repeat(64)
    );
    fs::write(dir.path().join("garage.toml"), config).unwrap();
    let place = Place {
        endpoint: format!("http://127.0.0.1:{api}"),
        bucket: "killed".to_owned(),
        region: "garage".to_owned(),
        key: format!("GK{}", "a".repeat(24)),
        secret: "b".repeat(64),
    };
    let bucket = Bucket { place, prefix: "test/killed".to_owned() };
    let mut garage = Garage::start(&program, dir.path(), &bucket.place);
    wait_for("the server's first answer", || answers(&bucket));

    let mut bed = common::Bed::on(&Server::pg17(), &unique("killed"));
    point(&mut bed, &bucket);
    bed.psql(LARGE);
    // One part a second or so.
    bed.set("BACKUP_S3_BANDWIDTH", "8M").set("BACKUP_S3_DEADLINE_MINUTES", "1").set("BACKUP_COMPRESSION", "none");
    let running = bed.start(&["backup", "--json"]);
    wait_for("an upload that has begun", || bucket.all().iter().any(|name| name.ends_with("(unfinished)")));
    garage.kill();
    // Longer than its patience: it is away until the run has given it up.
    let ran = running.end().expect(3);
    let made = ran.json();
    assert_eq!(made["outcome"], "partial", "{made}");
    assert!(made["copies"][0]["error"].as_str().is_some(), "{made}");
    bed.run(&["verify", "--latest"]).expect(0);

    drop(garage);
    let _garage = Garage::start(&program, dir.path(), &bucket.place);
    wait_for("the server is back", || answers(&bucket));
    bed.set("BACKUP_S3_BANDWIDTH", "");
    bed.run(&["sync"]).expect(0);
    assert_eq!(bucket.all(), s3_bed::names(&made), "whole, and no upload is left");
    bed.run(&["verify", "--remote"]).expect(0);
}
