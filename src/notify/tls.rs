//! Whom to trust. Read when a message is sent, and dropped after it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::Error;
use crate::domain::text::escape;

/// Certificates beside those that everybody trusts.
#[derive(Debug, Clone, Default)]
pub struct Trust {
    /// `BACKUP_NOTIFY_CA_FILE`.
    pub ca_file: Option<PathBuf>,
}

impl Trust {
    /// All certificates: those that come with the binary (the image has none), those of the machine, and those of the file.
    pub(super) fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, Error> {
        let own = self.ca_file.as_deref().map(read).transpose()?.unwrap_or_default();
        let machine = rustls_native_certs::load_native_certs().certs;
        let public = webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter().cloned();
        let good = |der: &CertificateDer<'_>| webpki::anchor_from_trusted_cert(der).is_ok();
        Ok(public.chain(machine).filter(good).chain(own).collect())
    }

    /// The client's side of TLS.
    pub(super) fn client(&self) -> Result<Arc<ClientConfig>, Error> {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(self.certificates()?);
        let failed = |cause: String| Error::Message { cause };
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| failed(error.to_string()))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Arc::new(config))
    }
}

fn read(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let failed = |cause: String| Error::CaFile { path: escape(&path.to_string_lossy()), cause: escape(&cause) };
    let bytes = std::fs::read(path).map_err(|error| failed(error.to_string()))?;
    let certificates: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&bytes)
        .collect::<Result<_, _>>()
        .map_err(|error| failed(format!("{error:?}")))?;
    if certificates.is_empty() {
        return Err(failed("no certificate in it".to_owned()));
    }
    for der in &certificates {
        webpki::anchor_from_trusted_cert(der).map_err(|error| failed(error.to_string()))?;
    }
    Ok(certificates)
}

/// Whether an error of a connection is about trust.
pub(super) fn is_distrust(error: &std::io::Error) -> bool {
    use tokio_rustls::rustls::Error as Rustls;
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Rustls>());
    matches!(inner, Some(Rustls::InvalidCertificate(_) | Rustls::InvalidMessage(_) | Rustls::NoCertificatesPresented))
}
