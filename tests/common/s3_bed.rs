//! An installation that copies into a real bucket.

use serde_json::Value;

use crate::common::Bed;
use crate::s3::{self, Bucket};

/// Enough for several parts.
pub const LARGE: &str = "create table large as select i, encode(sha256(i::text::bytea), 'hex') || encode(sha256((-i)::text::bytea), 'hex') t
    from generate_series(1, 400000) i";

/// A bucket, and an installation that copies into it; `None`: skipped.
pub fn bed(label: &str) -> Option<(Bucket, Bed)> {
    let Some(bucket) = Bucket::new() else {
        s3::skipped(label);
        return None;
    };
    let mut bed = Bed::filled(label);
    point(&mut bed, &bucket);
    Some((bucket, bed))
}

pub fn point(bed: &mut Bed, bucket: &Bucket) {
    let place = bucket.place.clone();
    for (name, value) in [
        ("S3_BACKUP_BUCKET", place.bucket),
        ("S3_ENDPOINT_URL", place.endpoint),
        ("AWS_DEFAULT_REGION", place.region),
        ("AWS_ACCESS_KEY_ID", place.key),
        ("AWS_SECRET_ACCESS_KEY", place.secret),
        ("BACKUP_S3_PREFIX", bucket.prefix.clone()),
        ("BACKUP_NAME", format!("test/{}", bed.database)),
    ] {
        bed.set(name, &value);
    }
}

/// The names that a backup has in every place.
pub fn names(made: &Value) -> Vec<String> {
    let file = made["file"].as_str().unwrap();
    [file.to_owned(), format!("{file}.json"), format!("{file}.roles.sql")].into()
}

pub fn of(bed: &Bed, file: &str) -> Value {
    bed.list().into_iter().find(|entry| entry["file"] == file).unwrap()
}

/// Runs until the step, where the process kills itself as `kill -9` would.
#[cfg(feature = "failpoints")]
pub fn die_at(bed: &Bed, step: &str, arguments: &[&str]) {
    let mut command = bed.command(arguments);
    let output = command.env("AMARRE_FAILPOINT", step).stdin(std::process::Stdio::null()).output().unwrap();
    assert_eq!(output.status.code(), None, "{step} was not reached:\n{}", String::from_utf8_lossy(&output.stderr));
}
