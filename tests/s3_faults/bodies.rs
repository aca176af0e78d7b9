//! What is read: cut, silent and damaged downloads.

use std::process::{Command, Output};
use std::time::{Duration, Instant};

use amarre::domain::manifest::Manifest;
use amarre::dump::measure;
use amarre::error::Explain;
use amarre::store::{Error, Store};
use tempfile::TempDir;

use super::fault_proxy::{Answer, Fault, Harm, Request, Rule};
use super::{Bed, NAME, noise, whole};

/// Reads objects, not lists.
fn reads(request: &Request) -> bool {
    request.method == "GET" && request.path.ends_with(NAME)
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_59_a_range_that_is_cut_is_asked_for_again_from_there() {
    let Some(bed) = Bed::new("fault_59 (cut)") else { return };
    let bytes = noise(3 << 20);
    bed.bucket.put(NAME, &bytes);
    let store = bed.patient(Duration::from_secs(20));
    bed.proxy.rules([Rule::on("GET", Fault::Download(1 << 20, Harm::Cut)).times(2)]);
    let found = store.get(NAME, 100, 3_000_000).await.unwrap();
    assert!(found == bytes[100..3_000_100]);
    let from = |from: u64| bed.proxy.count(|r| reads(r) && r.header("range") == Some(&format!("bytes={from}-3000099")));
    let third = 100 + (2 << 20);
    assert_eq!((from(100), from(100 + (1 << 20)), from(third)), (1, 1, 1), "nothing comes twice");
}

/// As a restore reads: several ranges at once, each of them cut or silent at first.
#[tokio::test(flavor = "multi_thread")]
async fn fault_59_an_object_whose_ranges_are_cut_comes_back_whole() {
    let Some(bed) = Bed::new("fault_59 (whole)") else { return };
    let bytes = noise(21_000_001);
    bed.bucket.put(NAME, &bytes);
    let mut n = 0;
    bed.proxy.script(move |request| {
        n += u64::from(reads(request));
        let fault = match n % 6 {
            1 => Fault::Download(n * 100_000, Harm::Cut),
            2 => Fault::Reset,
            3 => Fault::Instead(Answer::error(503, "SlowDown")),
            _ => return None,
        };
        reads(request).then_some(fault)
    });
    assert!(whole(&bed.patient(Duration::from_secs(30)), NAME).await.unwrap() == *bytes);
    assert!(bed.proxy.count(reads) > 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_55_a_download_that_stops_is_asked_for_again() {
    let Some(bed) = Bed::new("fault_55 (download)") else { return };
    let bytes = noise(9 << 20);
    bed.bucket.put(NAME, &bytes);
    let stalls = [Fault::Silence, Fault::Download(0, Harm::Stall), Fault::Download(2 << 20, Harm::Stall)];
    for fault in stalls {
        bed.proxy.rules([Rule::on("GET", fault.clone()).times(1)]);
        let began = Instant::now();
        assert!(whole(&bed.store(), NAME).await.unwrap() == *bytes, "{fault:?}");
        assert!(began.elapsed() < 3 * super::DEADLINE, "{fault:?}: {:?}", began.elapsed());
        // Three ranges, one of them twice; on a machine that stands still for seconds another one may be too.
        assert!((4..=6).contains(&bed.proxy.count(reads)), "{fault:?}: {}", bed.proxy.count(reads));
    }
}

/// The rest of a range is of the object that its beginning was of, or of none.
#[tokio::test(flavor = "multi_thread")]
async fn fault_59_a_range_is_never_made_of_two_objects() {
    let Some(bed) = Bed::new("fault_59 (replaced)") else { return };
    let (old, new) = (noise(2 << 20), noise((2 << 20) + 1));
    bed.bucket.put(NAME, &old);
    let (place, prefix) = (bed.bucket.place.clone(), bed.bucket.prefix.clone());
    let mut cut = false;
    bed.proxy.script(move |request| {
        if !reads(request) {
            return None;
        }
        if cut {
            super::s3::Bucket { place: place.clone(), prefix: prefix.clone() }.put(NAME, &new);
            return None;
        }
        cut = true;
        Some(Fault::Download(1 << 20, Harm::Cut))
    });
    let found = bed.patient(Duration::from_secs(20)).get(NAME, 0, 2 << 20).await;
    assert!(matches!(found, Err(Error::Io { .. })), "{found:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_59_a_range_that_is_always_cut_or_silent_is_told_in_time() {
    let Some(bed) = Bed::new("fault_59 (always)") else { return };
    bed.bucket.put(NAME, &noise(1 << 20));
    for harm in [Harm::Cut, Harm::Stall] {
        bed.proxy.rules([Rule::on("GET", Fault::Download(0, harm))]);
        let began = Instant::now();
        let error = bed.store().get(NAME, 0, 1 << 20).await.unwrap_err();
        match harm {
            Harm::Stall => assert!(matches!(error, Error::Silent { .. }), "{error:?}"),
            _ => assert!(matches!(error, Error::Io { .. }), "{error:?}"),
        }
        let took = began.elapsed();
        assert!(super::DEADLINE <= took && took < 4 * super::DEADLINE, "{harm:?}: {took:?}");
        let asked = bed.proxy.count(reads);
        assert!((1..40).contains(&asked), "{harm:?}: {asked}");
    }
}

/// Nothing between is good enough to be called bytes: neither a missing right, nor a bucket that is not there.
#[tokio::test(flavor = "multi_thread")]
async fn fault_48_what_may_not_be_read_is_told_by_its_right() {
    let Some(bed) = Bed::new("fault_48 (read)") else { return };
    bed.bucket.put(NAME, b"0123456789");
    bed.proxy.rules([Rule::on("GET", Fault::Instead(Answer::error(403, "AccessDenied"))).key(NAME)]);
    let errors = [bed.store().get(NAME, 0, 10).await.unwrap_err(), whole(&bed.store(), NAME).await.unwrap_err()];
    for error in errors {
        assert!(matches!(error, Error::Refused { right: "s3:GetObject", .. }), "{error:?}");
        assert!(error.hint().unwrap().contains("s3:GetObject"));
    }
}

/// A directory, and the program over it; it needs no database to fetch.
struct Installation {
    dir: TempDir,
    file: String,
}

impl Installation {
    /// What `amarre get` says.
    #[allow(clippy::disallowed_methods, reason = "the program's environment is said whole")]
    fn get(&self, bed: &Bed) -> Output {
        let place = &bed.bucket.place;
        let path = |name: &str| self.dir.path().join(name).display().to_string();
        let mut command = Command::new(env!("CARGO_BIN_EXE_amarre"));
        command.args(["get", &self.file]).env_clear().current_dir(self.dir.path());
        command.env("PATH", std::env::var("PATH").unwrap()).envs([
            ("BACKUP_DIR", path("backups")),
            ("POSTGRES_HOST", "nobody.invalid".to_owned()),
            ("POSTGRES_DB", "hub_chantier".to_owned()),
            ("POSTGRES_USER", "hub".to_owned()),
            ("POSTGRES_PASSWORD", "unused".to_owned()),
            ("BACKUP_NAME", "hub-chantier/hub_chantier".to_owned()),
            ("S3_BACKUP_BUCKET", place.bucket.clone()),
            ("S3_ENDPOINT_URL", bed.proxy.endpoint()),
            ("AWS_DEFAULT_REGION", place.region.clone()),
            ("AWS_ACCESS_KEY_ID", place.key.clone()),
            ("AWS_SECRET_ACCESS_KEY", place.secret.clone()),
            ("BACKUP_S3_PREFIX", bed.bucket.prefix.clone()),
            ("BACKUP_S3_DEADLINE_MINUTES", "1".to_owned()),
        ]);
        command.output().unwrap()
    }

    /// Files of backups that are here.
    fn files(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.dir.path().join("backups")).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
        names.filter(|name| name.starts_with(&self.file)).collect()
    }
}

/// A bit that turns on the way down: the digest in the manifest refuses it, and the next try brings the good ones.
#[test]
fn fault_59_a_download_with_a_flipped_bit_is_never_taken() {
    let Some(bed) = Bed::new("fault_59 (flip)") else { return };
    let bytes = noise(5 << 20);
    let record = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/manifests/format-1.json")).unwrap();
    let mut manifest = Manifest::parse(&record).unwrap();
    (manifest.stored, manifest.roles_file) = (measure(&bytes), None);
    bed.bucket.put(&manifest.file, &bytes);
    bed.bucket.put(&format!("{}.json", manifest.file), &manifest.to_bytes());
    let here = Installation { dir: TempDir::new().unwrap(), file: manifest.file.clone() };
    std::fs::create_dir(here.dir.path().join("backups")).unwrap();

    let file = manifest.file.clone();
    bed.proxy.script(move |request| {
        let data = request.method == "GET" && request.path.ends_with(&file);
        data.then_some(Fault::Download(1000, Harm::Flip))
    });
    let got = here.get(&bed);
    assert_eq!(got.status.code(), Some(6), "{}", String::from_utf8_lossy(&got.stderr));
    assert_eq!(here.files(), [""; 0]);
    bed.proxy.heal();
    let got = here.get(&bed);
    assert_eq!(got.status.code(), Some(0), "{}", String::from_utf8_lossy(&got.stderr));
    assert!(std::fs::read(here.dir.path().join("backups").join(&manifest.file)).unwrap() == *bytes);
}
