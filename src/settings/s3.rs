//! The store elsewhere: read and kept; nothing uses it yet.

use crate::settings::problem::Problem;
use crate::settings::reader::Reader;
use crate::settings::secret::Secret;

/// An S3-compatible store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3 {
    /// `S3_BACKUP_BUCKET`; not set: no copies elsewhere.
    pub bucket: Option<String>,
    /// `S3_ENDPOINT_URL`; not set: AWS's own.
    pub endpoint: Option<String>,
    /// `AWS_DEFAULT_REGION`.
    pub region: String,
    /// `AWS_ACCESS_KEY_ID`.
    pub access_key_id: Option<Secret>,
    /// `AWS_SECRET_ACCESS_KEY`.
    pub secret_access_key: Option<Secret>,
    /// `AWS_SESSION_TOKEN`.
    pub session_token: Option<Secret>,
}

pub(super) fn read(reader: &mut Reader<'_>) -> S3 {
    let endpoint = reader.text("S3_ENDPOINT_URL");
    if endpoint.as_deref().is_some_and(|url| !is_address(url)) {
        reader.problem(Problem::Endpoint);
    }
    S3 {
        bucket: reader.text("S3_BACKUP_BUCKET"),
        endpoint,
        region: reader.text_or("AWS_DEFAULT_REGION", "fr-par"),
        access_key_id: reader.secret("AWS_ACCESS_KEY_ID"),
        secret_access_key: reader.secret("AWS_SECRET_ACCESS_KEY"),
        session_token: reader.secret("AWS_SESSION_TOKEN"),
    }
}

/// `http(s)://host…` without a password in it.
fn is_address(url: &str) -> bool {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    rest.is_some_and(|rest| !rest.is_empty() && !rest.contains(['@', ' ']))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::testing::{load, problems};

    #[test]
    fn what_is_set_is_kept() {
        let set = [
            ("S3_BACKUP_BUCKET", "b"),
            ("AWS_SECRET_ACCESS_KEY", "s"),
            ("S3_ENDPOINT_URL", "https://s3.fr-par.scw.cloud"),
        ];
        let s3 = load(&set).s3;
        assert_eq!(s3.bucket.as_deref(), Some("b"));
        assert_eq!(s3.secret_access_key, Some(Secret::new("s")));
        assert_eq!(s3.region, "fr-par");
    }

    #[test]
    fn an_endpoint_that_is_no_address_is_refused_without_printing_it() {
        for url in ["s3.example.org", "https://", "https://user:canary@host"] {
            let problems = problems(&[("S3_ENDPOINT_URL", url)]);
            assert!(matches!(problems.as_slice(), [Problem::Endpoint]), "{url}");
            assert!(!problems[0].to_string().contains("canary"));
        }
    }
}
