//! Where the bucket's name stands in requests: in the path, or in the host's name.
//!
//! Where the settings leave it open and name an endpoint it is put into the path, which nearly every store takes. A store that
//! knows buckets by the host's name alone answers that with an error about some other bucket. Then, once for each process and before
//! anything was answered well, the request is sent the other way; what works stays. Where neither works the first way stays, and its answer is
//! the one that is told.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use aws_sdk_s3::config::endpoint::{DefaultResolver, EndpointFuture, Params, ResolveEndpoint};
use aws_sdk_s3::config::interceptors::{
    BeforeDeserializationInterceptorContextMut, BeforeTransmitInterceptorContextRef, InterceptorContext,
};
use aws_sdk_s3::config::retry::{ClassifyRetry, RetryAction};
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;
use aws_smithy_types::config_bag::{Storable, StoreReplace};
use aws_smithy_types::retry::ErrorKind;
use rust_i18n::t;

/// What the settings say of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathStyle {
    /// In the path.
    Path,
    /// In the host's name.
    Host,
    /// Whatever works.
    Auto,
}

/// How far it is known.
const SETTLED_PATH: u8 = 0;
const SETTLED_HOST: u8 = 1;
/// In the path, and nobody has answered yet.
const GUESSED: u8 = 2;
/// In the host's name, since the path did not work.
const TRYING_HOST: u8 = 3;

/// What stores say that do not look for a bucket in the path.
const WRONG_STYLE: [&str; 6] = [
    "NoSuchBucket",
    "InvalidBucketName",
    "MethodNotAllowed",
    // Those of Alibaba, Tencent and Huawei, which have no other way.
    "SecondLevelDomainForbidden",
    "PathStyleDomainForbidden",
    "VirtualHostDomainRequired",
];

/// Where the bucket's name stands; shared by all requests to one store.
#[derive(Debug, Clone)]
pub struct Style {
    state: Arc<AtomicU8>,
    /// Whether it was a guess at the beginning.
    guessed: bool,
    bucket: Arc<str>,
    place: Arc<str>,
}

impl Style {
    /// What holds at the beginning.
    pub fn new(said: PathStyle, bucket: &str, endpoint: Option<&str>, place: &str) -> Self {
        let state = match said {
            PathStyle::Path => SETTLED_PATH,
            PathStyle::Host => SETTLED_HOST,
            // AWS wants names, but for dots, which no certificate covers.
            PathStyle::Auto if endpoint.is_none() && !bucket.contains('.') => SETTLED_HOST,
            PathStyle::Auto if endpoint.is_some_and(has_name) && is_label(bucket) => GUESSED,
            PathStyle::Auto => SETTLED_PATH,
        };
        let guessed = state == GUESSED;
        Self { state: Arc::new(AtomicU8::new(state)), guessed, bucket: bucket.into(), place: place.into() }
    }

    /// Whether the bucket stands in the path of the next request.
    pub fn is_path(&self) -> bool {
        matches!(self.get(), SETTLED_PATH | GUESSED)
    }

    /// Whether it may still change.
    pub fn is_open(&self) -> bool {
        matches!(self.get(), GUESSED | TRYING_HOST)
    }

    /// Whether the first guess was wrong, and what works is known now.
    pub fn is_corrected(&self) -> bool {
        self.guessed && self.get() == SETTLED_HOST
    }

    fn get(&self) -> u8 {
        self.state.load(Ordering::SeqCst)
    }

    /// `true`: it was `from`, and nobody else was faster.
    fn change(&self, from: u8, to: u8) -> bool {
        self.state.compare_exchange(from, to, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    /// Learns from the answer to one attempt; `true`: it should be made again.
    fn learn(&self, in_path: bool, answer: Answer) -> bool {
        match (in_path, answer, self.get()) {
            (true, Answer::Good, GUESSED) => {
                self.change(GUESSED, SETTLED_PATH);
                false
            }
            (true, Answer::WrongStyle, GUESSED) => {
                self.change(GUESSED, TRYING_HOST);
                true
            }
            // Others were on their way when the first one came back.
            (true, Answer::WrongStyle, TRYING_HOST | SETTLED_HOST) => true,
            (false, Answer::WrongStyle | Answer::None, TRYING_HOST | SETTLED_PATH) => {
                self.change(TRYING_HOST, SETTLED_PATH);
                true
            }
            (false, Answer::Good, TRYING_HOST) => {
                if self.change(TRYING_HOST, SETTLED_HOST) {
                    tracing::info!("{}", t!("store.in_host", place = self.place));
                }
                false
            }
            // It found the bucket, and is about something else: that is known by whoever asks next.
            _ => false,
        }
    }
}

/// What came back, as far as it tells about the bucket's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    Good,
    WrongStyle,
    /// No answer at all: nobody has that name.
    None,
    /// An error about anything else.
    Other,
}

impl ResolveEndpoint for Style {
    fn resolve_endpoint<'a>(&'a self, params: &'a Params) -> EndpointFuture<'a> {
        let own = |text: Option<&str>| text.map(str::to_owned);
        let built = Params::builder()
            .set_bucket(own(params.bucket()))
            .set_region(own(params.region()))
            .set_endpoint(own(params.endpoint()))
            .set_key(own(params.key()))
            .set_prefix(own(params.prefix()))
            .set_use_fips(params.use_fips())
            .set_use_dual_stack(params.use_dual_stack())
            .set_accelerate(params.accelerate())
            .set_use_global_endpoint(params.use_global_endpoint())
            .set_disable_multi_region_access_points(params.disable_multi_region_access_points())
            .set_use_arn_region(params.use_arn_region())
            .set_disable_s3_express_session_auth(params.disable_s3_express_session_auth())
            .set_force_path_style(Some(self.is_path()))
            .build();
        EndpointFuture::new(async move {
            let params = built.map_err(|error| -> BoxError { error.into() })?;
            let resolver = DefaultResolver::new();
            ResolveEndpoint::resolve_endpoint(&resolver, &params).await
        })
    }
}

/// Where the bucket stood in an attempt, for its answer: when that is judged the request is gone, and others may have changed what holds.
#[derive(Debug, Clone, Copy)]
struct InPath(bool);

impl Storable for InPath {
    type Storer = StoreReplace<Self>;
}

/// Not of any store: added to an answer on this side.
const IN_PATH: &str = "x-amarre-in-path";

impl Intercept for Style {
    fn name(&self) -> &'static str {
        "style"
    }

    fn read_before_transmit(
        &self,
        context: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        bag: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let host = context.request().uri().split_once("://").map_or("", |(_, rest)| rest);
        bag.interceptor_state().store_put(InPath(!host.starts_with(&format!("{}.", self.bucket))));
        Ok(())
    }

    fn modify_before_deserialization(
        &self,
        context: &mut BeforeDeserializationInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        bag: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let in_path = bag.load::<InPath>().is_none_or(|in_path| in_path.0);
        context.response_mut().headers_mut().insert(IN_PATH, if in_path { "1" } else { "0" });
        Ok(())
    }
}

impl ClassifyRetry for Style {
    fn classify_retry(&self, context: &InterceptorContext) -> RetryAction {
        let (in_path, answer) = match context.response() {
            // Only who tries the host's name has reason to doubt it.
            None => (self.is_path(), Answer::None),
            Some(response) => {
                let body = response.body().bytes().map(String::from_utf8_lossy).unwrap_or_default();
                let answer = match response.status().is_success() {
                    true => Answer::Good,
                    false => judge(response.status().as_u16(), &body, &self.bucket),
                };
                (response.headers().get(IN_PATH) != Some("0"), answer)
            }
        };
        if self.learn(in_path, answer) {
            RetryAction::retryable_error(ErrorKind::TransientError)
        } else {
            RetryAction::NoActionIndicated
        }
    }

    fn name(&self) -> &'static str {
        "style"
    }
}

/// What an error says; the answer to a HEAD says nothing.
fn judge(status: u16, body: &str, bucket: &str) -> Answer {
    let element = |name: &str| {
        let (_, rest) = body.split_once(&format!("<{name}>"))?;
        rest.split_once(&format!("</{name}>")).map(|(text, _)| text)
    };
    let another = element("BucketName").is_some_and(|named| named != bucket);
    let code = element("Code").is_some_and(|code| WRONG_STYLE.contains(&code));
    let wrong = matches!(status, 400 | 403 | 404 | 405) && (code || another);
    if wrong { Answer::WrongStyle } else { Answer::Other }
}

/// Whether the host of an address is a name: in front of an address of numbers no bucket can stand.
fn has_name(endpoint: &str) -> bool {
    let rest = endpoint.split_once("://").map_or(endpoint, |(_, rest)| rest);
    let host = rest.split('/').next().unwrap_or_default();
    let host = if host.starts_with('[') { host } else { host.split(':').next().unwrap_or_default() };
    !host.starts_with('[') && host.parse::<std::net::Ipv4Addr>().is_err() && !host.is_empty()
}

/// Whether a bucket's name can be one label of a host's name.
fn is_label(bucket: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (3..=63).contains(&bucket.len()) && bucket.bytes().all(plain) && !bucket.starts_with('-') && !bucket.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guess() -> Style {
        Style::new(PathStyle::Auto, "hub", Some("https://s3.example.org"), "s3://hub")
    }

    #[test]
    fn what_is_said_or_sure_is_not_asked() {
        let style = |said, bucket, endpoint| {
            let style = Style::new(said, bucket, endpoint, "");
            (style.is_path(), style.is_open())
        };
        assert_eq!(style(PathStyle::Path, "hub", None), (true, false));
        assert_eq!(style(PathStyle::Host, "hub", Some("https://s3.example.org")), (false, false));
        assert_eq!(style(PathStyle::Auto, "hub", None), (false, false));
        assert_eq!(style(PathStyle::Auto, "hub.fr", None), (true, false));
        assert_eq!(style(PathStyle::Auto, "hub", Some("https://s3.example.org")), (true, true));
        for (bucket, endpoint) in
            [("hub", "http://127.0.0.1:3900"), ("hub", "http://[::1]:1"), ("Hub_1", "http://minio")]
        {
            assert_eq!(style(PathStyle::Auto, bucket, Some(endpoint)), (true, false), "{bucket} {endpoint}");
        }
    }

    #[test]
    fn the_other_way_is_tried_once_and_what_works_stays() {
        let style = guess();
        assert!(style.learn(true, Answer::WrongStyle));
        assert!(!style.is_path());
        assert!(!style.learn(false, Answer::Other), "denied: nothing is known yet");
        assert!(!style.learn(false, Answer::Good));
        assert!(style.learn(true, Answer::WrongStyle), "one that was on its way");
        assert_eq!((style.is_path(), style.is_open(), style.is_corrected()), (false, false, true));
        assert!(!style.learn(false, Answer::None), "an outage later changes nothing");
    }

    #[test]
    fn where_neither_works_the_first_answer_is_the_one_that_is_told() {
        for second in [Answer::None, Answer::WrongStyle] {
            let style = guess();
            assert!(style.learn(true, Answer::WrongStyle));
            assert!(style.learn(false, second));
            assert_eq!((style.is_path(), style.is_open()), (true, false));
            assert!(!style.learn(true, Answer::WrongStyle));
        }
    }

    #[test]
    fn one_good_answer_settles_it() {
        let style = guess();
        assert!(!style.learn(true, Answer::Other));
        assert!(style.is_open());
        assert!(!style.learn(true, Answer::Good));
        assert!(!style.learn(true, Answer::WrongStyle));
        assert_eq!((style.is_path(), style.is_open()), (true, false));
    }

    #[test]
    fn errors_about_another_bucket_are_told_from_others() {
        let error = |code: &str, more: &str| format!("<?xml?><Error><Code>{code}</Code>{more}</Error>");
        assert_eq!(judge(404, &error("NoSuchBucket", "<BucketName>s3</BucketName>"), "hub"), Answer::WrongStyle);
        assert_eq!(judge(403, &error("AccessDenied", "<BucketName>s3</BucketName>"), "hub"), Answer::WrongStyle);
        assert_eq!(judge(403, &error("SecondLevelDomainForbidden", ""), "hub"), Answer::WrongStyle);
        assert_eq!(judge(403, &error("AccessDenied", "<BucketName>hub</BucketName>"), "hub"), Answer::Other);
        assert_eq!(judge(404, &error("NoSuchKey", ""), "hub"), Answer::Other);
        assert_eq!(judge(404, "", "hub"), Answer::Other);
        assert_eq!(judge(503, &error("NoSuchBucket", ""), "hub"), Answer::Other);
    }
}
