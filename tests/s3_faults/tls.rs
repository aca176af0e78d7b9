//! TLS: a private authority, and never a word without it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use amarre::error::Explain;
use amarre::store::s3::S3Store;
use amarre::store::{Error, Store};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use tempfile::NamedTempFile;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use super::fault_proxy::FaultProxy;
use super::s3::{self, Bucket};
use super::{NAME, noise, upload, whole};

/// An authority that nobody knows, as a file.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    file: NamedTempFile,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::OrganizationName, "an office");
        let key = KeyPair::generate().unwrap();
        let file = NamedTempFile::new().unwrap();
        std::fs::write(file.path(), params.self_signed(&key).unwrap().pem()).unwrap();
        Self { issuer: Issuer::new(params, key), file }
    }

    /// A server that has its certificate for `host`.
    fn certified(&self, host: &str) -> TlsAcceptor {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![host.to_owned()]).unwrap();
        let certificate = CertificateDer::from(params.signed_by(&key, &self.issuer).unwrap());
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let config = ServerConfig::builder().with_no_client_auth().with_single_cert(vec![certificate], key).unwrap();
        TlsAcceptor::from(Arc::new(config))
    }
}

fn store(bucket: &Bucket, endpoint: String, authority: Option<&Authority>) -> S3Store {
    let opened = bucket.open_with(|config| {
        config.endpoint = Some(endpoint);
        config.ca_file = authority.map(|authority| authority.file.path().to_owned());
        config.deadline = Duration::from_secs(20);
    });
    opened.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_58_a_private_authority_is_trusted_when_it_is_named_and_else_never() {
    let Some(bucket) = Bucket::new() else { return s3::skipped("fault_58") };
    let authority = Authority::new();
    let proxy = FaultProxy::before_with_tls(&bucket.place.endpoint, authority.certified("127.0.0.1"));
    let trusting = store(&bucket, proxy.endpoint(), Some(&authority));
    let bytes = noise(9 << 20);
    upload(&trusting, NAME, &bytes).await.unwrap();
    assert!(whole(&trusting, NAME).await.unwrap() == *bytes);

    let elsewhere = FaultProxy::before_with_tls(&bucket.place.endpoint, authority.certified("another.example"));
    let strangers = [
        ("unknown authority", &proxy, store(&bucket, proxy.endpoint(), None)),
        ("another authority", &proxy, store(&bucket, proxy.endpoint(), Some(&Authority::new()))),
        ("another host", &elsewhere, store(&bucket, elsewhere.endpoint(), Some(&authority))),
    ];
    for (what, proxy, store) in strangers {
        proxy.heal();
        let began = Instant::now();
        let errors = [
            store.list().await.err().unwrap(),
            store.put("a.json", b"secret").await.err().unwrap(),
            upload(&store, "b.sql.gz", &bytes).await.err().unwrap(),
            store.get(NAME, 0, 1).await.err().unwrap(),
        ];
        for error in errors {
            assert!(matches!(error, Error::Tls { .. }), "{what}: {error:?}");
            assert!(error.hint().unwrap().contains("BACKUP_S3_CA_FILE"), "{what}");
        }
        assert!(began.elapsed() < Duration::from_secs(3), "{what}: what is not trusted is not asked again");
        assert_eq!((proxy.count(|_| true), proxy.strangers()), (0, 0), "{what}: no request, and nothing without TLS");
    }
    assert_eq!(bucket.all(), [NAME]);
}

/// A port without TLS behind `https://`: an error, not a way around it.
#[tokio::test(flavor = "multi_thread")]
async fn fault_58_a_server_without_tls_is_not_spoken_to_plainly() {
    let Some(bucket) = Bucket::new() else { return s3::skipped("fault_58 (plain)") };
    let proxy = FaultProxy::before(&bucket.place.endpoint);
    let endpoint = proxy.endpoint().replace("http://", "https://");
    let error = store(&bucket, endpoint.clone(), None).list().await.unwrap_err();
    assert_eq!(proxy.count(|_| true), 0);
    assert!(proxy.strangers() > 0, "it was asked with TLS");
    // The proxy resets what it does not understand; a plain server answers with what is no TLS.
    assert!(matches!(error, Error::Tls { .. } | Error::Unreached { .. }), "{error:?}");
    let plain = bucket.place.endpoint.replace("http://", "https://");
    let error = store(&bucket, plain, None).list().await.unwrap_err();
    assert!(matches!(error, Error::Tls { .. }), "{error:?}");
}

/// What the file holds is looked at before anything is sent.
#[test]
fn fault_58_a_file_of_certificates_that_holds_none_is_named() {
    let Some(bucket) = Bucket::new() else { return s3::skipped("fault_58 (file)") };
    let file = NamedTempFile::new().unwrap();
    for (path, content) in [(file.path(), "no certificate"), (std::path::Path::new("/nowhere/ca.pem"), "")] {
        if path.exists() {
            std::fs::write(path, content).unwrap();
        }
        let Err(error) = bucket.open_with(|config| config.ca_file = Some(path.to_owned())) else {
            panic!("{} was taken", path.display())
        };
        assert!(matches!(error, Error::CaFile { .. }) && error.to_string().contains(&path.display().to_string()));
    }
}
