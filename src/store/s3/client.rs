//! The client: where the store is, how it is reached, how long it is waited for.

use std::path::PathBuf;
use std::time::Duration;

use aws_credential_types::Credentials;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::interceptors::InterceptorContext;
use aws_sdk_s3::config::retry::{ClassifyRetry, RetryAction, RetryConfig, RetryPartition, TokenBucket};
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    AppName, BehaviorVersion, Builder, Region, RequestChecksumCalculation, ResponseChecksumValidation,
    SharedHttpClient, StalledStreamProtectionConfig,
};
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{self, TlsContext, TrustStore};
use md5::{Digest as _, Md5};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

use super::style::{PathStyle, Style};
use crate::store::Error;

/// Where a store is, and what it is told with each object. No `Debug`: it holds keys.
#[derive(Clone)]
pub struct Config {
    /// The bucket.
    pub bucket: String,
    /// `None`: AWS's own of the region.
    pub endpoint: Option<String>,
    /// The region.
    pub region: String,
    /// Which key.
    pub access_key_id: String,
    /// The key.
    pub secret_access_key: String,
    /// Of keys that are lent.
    pub session_token: Option<String>,
    /// What keys begin with, without the slash behind it.
    pub prefix: String,
    /// The bucket in the path or in the host's name.
    pub path_style: PathStyle,
    /// Certificates that are trusted beside those that everybody trusts.
    pub ca_file: Option<PathBuf>,
    /// Parts that travel at once.
    pub parallel: usize,
    /// How long one thing is tried again.
    pub deadline: Duration,
    /// What each object is made with.
    pub making: Making,
    /// Whose they are: told with each object, so that nobody else's is ever taken for ours.
    pub owner: String,
}

/// What each object is made with.
#[derive(Clone, Default)]
pub struct Making {
    /// `x-amz-storage-class`.
    pub storage_class: Option<String>,
    /// Who encrypts.
    pub encryption: Encryption,
    /// `name=value&…`, encoded as in an address.
    pub tags: Option<String>,
    /// Days that nobody may delete it; with `true` nobody at all.
    pub lock: Option<(u32, bool)>,
}

/// Who encrypts.
#[derive(Clone, Default)]
pub enum Encryption {
    /// The store, if it does so by itself.
    #[default]
    Unsaid,
    /// The store, with its own key.
    Store,
    /// The store, with a key of its key service.
    Kms(Option<String>),
    /// The store, with this key of ours, in base64.
    Customer {
        /// The key.
        key: String,
        /// Its MD5, in base64.
        md5: String,
    },
}

impl Encryption {
    /// With a key of ours, in base64.
    #[must_use]
    pub fn customer(key: &str) -> Self {
        let bytes = aws_smithy_types::base64::decode(key).unwrap_or_default();
        let md5: [u8; 16] = Md5::digest(&bytes).into();
        Self::Customer { key: key.to_owned(), md5: aws_smithy_types::base64::encode(md5) }
    }
}

/// Tags as a request has them: `name=value&…`, each byte that is not plain as `%XX`.
#[must_use]
pub fn tagging<'a>(tags: impl IntoIterator<Item = (&'a str, &'a str)>) -> Option<String> {
    let encode = |text: &str| -> String {
        text.bytes()
            .map(|byte| match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => char::from(byte).to_string(),
                _ => format!("%{byte:02X}"),
            })
            .collect()
    };
    let tags: Vec<_> = tags.into_iter().map(|(name, value)| format!("{}={}", encode(name), encode(value))).collect();
    (!tags.is_empty()).then(|| tags.join("&"))
}

/// Until a connection is there.
const CONNECT: Duration = Duration::from_secs(10);
/// Until an answer begins, and between two bytes of it (fault 55).
const SILENCE: Duration = Duration::from_secs(30);
/// One try of a question that carries no data, and all its tries.
const QUESTION: Duration = Duration::from_secs(30);
const QUESTIONS: Duration = Duration::from_secs(90);
const QUESTION_TRIES: u32 = 5;
/// Giving up what was begun, all in all: whoever is told to end has little time.
pub const ABORT: Duration = Duration::from_secs(10);
/// The longest pause between two tries.
const PAUSE: Duration = Duration::from_secs(10);

/// A client for `config`, which names the bucket where `style` says; `limited` where uploads are held back on purpose, which is not to be taken for a stalled connection.
///
/// # Errors
/// [`Error::CaFile`].
pub fn connect(config: &Config, style: &Style, limited: bool) -> Result<Client, Error> {
    let credentials = Credentials::new(
        &config.access_key_id,
        &config.secret_access_key,
        config.session_token.clone(),
        None,
        "amarre",
    );
    let silence = silence(config);
    let stalled = StalledStreamProtectionConfig::enabled().grace_period(silence).upload_enabled(!limited).build();
    let mut builder = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(config.region.clone()))
        .credentials_provider(credentials)
        .force_path_style(style.is_path())
        // What every store understands; parts carry a Content-MD5 of ours (fault 53).
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
        .stalled_stream_protection(stalled)
        .retry_config(retries(QUESTION_TRIES))
        .retry_classifier(Distrust)
        // How often is said above; a quota that all requests share would end a long outage's tries long before.
        .retry_partition(RetryPartition::custom("amarre").token_bucket(TokenBucket::unlimited()).build())
        .timeout_config(patience(config.deadline.min(QUESTIONS), QUESTION.min(config.deadline / 2)))
        .http_client(http(config)?);
    if let Ok(name) = AppName::new("amarre") {
        builder = builder.app_name(name);
    }
    if let Some(endpoint) = &config.endpoint {
        builder = builder.endpoint_url(endpoint);
    }
    if style.is_open() {
        let again = builder.interceptor(style.clone()).retry_classifier(style.clone());
        builder = again.endpoint_resolver(style.clone());
    }
    Ok(Client::from_conf(builder.build()))
}

/// Pauses that grow from one second to [`PAUSE`] and are shortened by chance (fault 49). So many tries that the last of them, which says
/// what was wrong, comes before a deadline that would only say that it is over.
fn retries(tries: u32) -> RetryConfig {
    RetryConfig::standard()
        .with_max_attempts(tries)
        .with_initial_backoff(Duration::from_secs(1))
        .with_max_backoff(PAUSE)
}

/// For a question whose answer carries data: until the store's deadline, while each answer begins soon.
pub fn for_answer(config: &Config) -> Builder {
    Builder::new().retry_config(retries(tries(config))).timeout_config(patience(config.deadline, silence(config)))
}

/// For what carries so many bytes of data: until the store's deadline, and `slow` more where it may not be faster.
pub fn for_data(config: &Config, bytes: u64, slow: Duration) -> Builder {
    Builder::new().retry_config(retries(tries(config))).timeout_config(patience(config.deadline, once(bytes) + slow))
}

/// The least tries take about half a minute, and each further one half of the longest pause.
fn tries(config: &Config) -> u32 {
    let further = config.deadline.as_secs() / PAUSE.as_secs();
    QUESTION_TRIES + u32::try_from(further).unwrap_or(u32::MAX).min(1000)
}

/// As long as `deadline` in all, `once` for each try.
pub fn patience(deadline: Duration, once: Duration) -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(CONNECT)
        .operation_attempt_timeout(once)
        .operation_timeout(deadline.max(once))
        .build()
}

/// How long nothing need come: a second try must fit into the deadline.
pub fn silence(config: &Config) -> Duration {
    SILENCE.min(config.deadline / 2)
}

/// A certificate that is not trusted, or a port without TLS, is the same at the next try: it is told at once.
#[derive(Debug)]
struct Distrust;

impl ClassifyRetry for Distrust {
    fn classify_retry(&self, context: &InterceptorContext) -> RetryAction {
        let failed = context.output_or_error().and_then(Result::err);
        match failed.and_then(|error| error.as_connector_error()) {
            Some(error) if super::explain::is_distrust(&super::explain::causes(error)) => RetryAction::RetryForbidden,
            _ => RetryAction::NoActionIndicated,
        }
    }

    fn name(&self) -> &'static str {
        "distrust"
    }
}

/// Pauses between the tries that are ours: they grow to [`PAUSE`], and are shortened by chance so that many clients do not come
/// back at once.
pub struct Pauses(Duration);

impl Default for Pauses {
    fn default() -> Self {
        Self(PAUSE / 20)
    }
}

impl Pauses {
    /// The next one.
    pub fn next(&mut self) -> Duration {
        let full = self.0;
        self.0 = PAUSE.min(full * 2);
        // Without chance they are only less well spread.
        let chance = getrandom::u32().unwrap_or(u32::MAX);
        full / 2 + (full / 2).mul_f64(f64::from(chance) / f64::from(u32::MAX))
    }
}

/// One try for so many bytes of data: a store that takes less than 20 kB a second for so long is stalled.
pub fn once(bytes: u64) -> Duration {
    QUESTION + Duration::from_secs(bytes / 20_000)
}

fn http(config: &Config) -> Result<SharedHttpClient, Error> {
    let own = config.ca_file.as_ref().map(own_certificates).transpose()?;
    let builder = aws_smithy_http_client::Builder::new();
    if config.endpoint.as_deref().is_some_and(|endpoint| endpoint.starts_with("http://")) {
        return Ok(builder.build_http());
    }
    let mut store = public();
    if let Some(own) = own {
        store.add_pem_certificate(own);
    }
    let failed = |cause: String| Error::CaFile { path: String::new(), cause };
    let context = TlsContext::builder().with_trust_store(store).build().map_err(|e| failed(e.to_string()))?;
    Ok(builder.tls_provider(tls::Provider::Rustls(CryptoMode::Ring)).tls_context(context).build_https())
}

/// Those that come with the binary: the image has none. And those of the machine, where an office adds its own. Made for each client,
/// not kept, and in one piece, which goes back to the system: else half a megabyte lay there from one night to the next.
fn public() -> TrustStore {
    let machine = rustls_native_certs::load_native_certs().certs;
    let all = webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter().chain(&machine);
    let good = all.filter(|der| webpki::anchor_from_trusted_cert(der).is_ok());
    TrustStore::empty().with_pem_certificate(pem(good))
}

/// What the client takes certificates in.
fn pem<'a>(ders: impl Iterator<Item = &'a CertificateDer<'a>>) -> String {
    let mut text = String::with_capacity(PEM);
    for der in ders {
        text.push_str("-----BEGIN CERTIFICATE-----\n");
        text.push_str(&aws_smithy_types::base64::encode(der));
        text.push_str("\n-----END CERTIFICATE-----\n");
    }
    text
}

/// Room for all that everybody trusts.
const PEM: usize = 512 * 1024;

/// The certificates of a file, checked: the client would panic on others.
fn own_certificates(path: &PathBuf) -> Result<String, Error> {
    let shown = crate::domain::text::escape(&path.to_string_lossy());
    let failed = |cause: String| Error::CaFile { path: shown.clone(), cause };
    let bytes = std::fs::read(path).map_err(|error| failed(error.to_string()))?;
    let ders: Vec<CertificateDer<'_>> = CertificateDer::pem_slice_iter(&bytes)
        .collect::<Result<_, _>>()
        .map_err(|error| failed(format!("{error:?}")))?;
    if ders.is_empty() {
        return Err(failed("no certificate in it".to_owned()));
    }
    for der in &ders {
        webpki::anchor_from_trusted_cert(der).map_err(|error| failed(error.to_string()))?;
    }
    Ok(pem(ders.iter()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_their_limit_and_differ() {
        let mut pauses = Pauses::default();
        let all: Vec<_> = (0..12).map(|_| pauses.next()).collect();
        assert!(all[0] <= PAUSE / 20 && all[0] >= PAUSE / 40, "{all:?}");
        assert!(all[6..].iter().all(|pause| (PAUSE / 2..=PAUSE).contains(pause)), "{all:?}");
        assert!(all[6..].windows(2).any(|two| two[0] != two[1]), "{all:?}");
    }
}
