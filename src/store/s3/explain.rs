//! What a store answers, in words of ours: each failure its own sentence with the fix (faults 48 to 58).

use std::error::Error as StdError;

use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};

use crate::domain::text::escape;
use crate::store::{Action, Error};

/// Where a store says in which region the bucket is.
const REGION: &str = "x-amz-bucket-region";

/// What was asked for, for the message.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// What was being done.
    pub action: Action,
    /// The right that it takes, as AWS calls it: `s3:PutObject`.
    pub right: &'static str,
    /// The object, or nothing.
    pub name: &'a str,
    /// The store.
    pub place: &'a str,
    /// Its region, by the settings.
    pub region: &'a str,
}

/// The error of the store for `error`.
pub fn explain<E>(asked: Asked<'_>, error: &SdkError<E, HttpResponse>) -> Error
where
    E: ProvideErrorMetadata + StdError + Send + Sync + 'static,
{
    let place = asked.place.to_owned();
    let name = escape(asked.name);
    match error {
        SdkError::ServiceError(service) => {
            let (code, message) =
                (service.err().code().unwrap_or_default(), service.err().message().unwrap_or_default());
            answered(asked, service.raw(), code, message)
        }
        SdkError::ResponseError(response) => {
            let cause = format!("{} ({})", response.raw().status(), causes(error));
            Error::Io { action: asked.action, name, place, cause }
        }
        SdkError::TimeoutError(_) => Error::Silent { action: asked.action, place },
        _ => unreached(asked, &causes(error)),
    }
}

/// Whether a refusal says no more than its status, and that may mean several things.
pub fn is_unsaid<E>(error: &SdkError<E, HttpResponse>) -> bool {
    let Some(response) = error.raw_response() else { return false };
    match response.status().as_u16() {
        400 | 403 | 404 => true,
        301 | 307 => response.headers().get(REGION).is_none(),
        _ => false,
    }
}

/// Everything that lies beneath `error`, once each.
pub fn causes(error: &(dyn StdError + 'static)) -> String {
    let mut said: Vec<String> = Vec::new();
    let mut next = error.source();
    while let Some(cause) = next {
        let text = cause.to_string();
        if !said.iter().any(|before| before.contains(&text)) {
            said.push(text);
        }
        next = cause.source();
    }
    escape(&said.join(": "))
}

/// No answer at all.
fn unreached(asked: Asked<'_>, cause: &str) -> Error {
    let place = asked.place.to_owned();
    let has = |words: &[&str]| words.iter().any(|word| cause.contains(word));
    if is_distrust(cause) {
        return Error::Tls { place, cause: cause.to_owned() };
    }
    if has(&["dns error", "failed to lookup", "Name or service not known"]) {
        return Error::Dns { place, cause: cause.to_owned() };
    }
    Error::Unreached { place, cause: cause.to_owned() }
}

/// Whether a connection was not made since the other side is not trusted, or speaks no TLS.
pub fn is_distrust(cause: &str) -> bool {
    ["certificate", "tls", "TLS", "handshake", "InvalidContentType"].iter().any(|word| cause.contains(word))
}

/// An answer that is an error.
fn answered(asked: Asked<'_>, response: &HttpResponse, code: &str, message: &str) -> Error {
    let (place, name) = (asked.place.to_owned(), escape(asked.name));
    let status = response.status().as_u16();
    let right = response.headers().get(REGION).map(str::to_owned);
    match code {
        "NoSuchBucket" => return Error::NoBucket { place },
        "NoSuchKey" | "NotFound" | "NoSuchVersion" => return Error::Missing { name, place },
        "InvalidAccessKeyId" | "SignatureDoesNotMatch" | "InvalidClientTokenId" | "UnrecognizedClientException" => {
            return Error::Credentials { place, code: escape(code) };
        }
        "ExpiredToken" | "TokenRefreshRequired" | "InvalidToken" | "ExpiredTokenException" => {
            return Error::Expired { place, code: escape(code) };
        }
        "RequestTimeTooSkewed" | "RequestInTheFuture" | "RequestExpired" => return Error::Skew { place },
        "PermanentRedirect"
        | "TemporaryRedirect"
        | "AuthorizationHeaderMalformed"
        | "IllegalLocationConstraintException" => {
            let named = right.or_else(|| region_in(message));
            return Error::Region { place, region: asked.region.to_owned(), right: named.map(|r| escape(&r)) };
        }
        "SlowDown" | "SlowDownWrite" | "SlowDownRead" | "ServiceUnavailable" | "TooManyRequests" => {
            return Error::Busy { place };
        }
        "NotImplemented" | "InvalidStorageClass" | "InvalidTag" | "InvalidEncryptionAlgorithmError"
            if asked.action == Action::Write =>
        {
            return Error::Unsupported { place, said: escape(format!("{code} {message}").trim()) };
        }
        "InvalidObjectState" => return Error::Frozen { name, place, class: String::new() },
        "AccessDenied" if message.contains("has expired") => return Error::Expired { place, code: escape(code) },
        "AccessDenied" if is_about_keys(message) => return Error::Credentials { place, code: escape(code) },
        "AccessDenied" | "AllAccessDisabled" | "AccountProblem" | "Forbidden" => {
            return Error::Refused { action: asked.action, name, place, right: asked.right };
        }
        _ => {}
    }
    match status {
        301 | 307 | 308 => Error::Region { place, region: asked.region.to_owned(), right: right.map(|r| escape(&r)) },
        403 => Error::Refused { action: asked.action, name, place, right: asked.right },
        404 => Error::Missing { name, place },
        503 | 429 => Error::Busy { place },
        _ => {
            let code = if code.is_empty() { status.to_string() } else { code.to_owned() };
            let cause = escape(format!("{code} {message}").trim());
            Error::Io { action: asked.action, name, place, cause }
        }
    }
}

/// `… expecting 'eu-west-3'`, or as Garage has it `…, expected: '20250701/eu-west-3/s3/aws4_request'`.
fn region_in(message: &str) -> Option<String> {
    let quoted = |after: &str| message.rsplit_once(after)?.1.split_once('\'').map(|(text, _)| text);
    let scope = || quoted("expected: '")?.split('/').nth(1);
    quoted("expecting '").or_else(scope).map(str::to_owned)
}

/// Garage has one code for all that it forbids.
fn is_about_keys(message: &str) -> bool {
    message.contains("No such key:") || message.contains("Invalid signature")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_region_is_read_from_what_the_store_expects() {
        let message = "The authorization header is malformed; the region 'fr-par' is wrong; expecting 'eu-west-3'";
        assert_eq!(region_in(message).as_deref(), Some("eu-west-3"));
        let message =
            "unexpected scope: '20250701/fr-par/s3/aws4_request', expected: '20250701/garage/s3/aws4_request'";
        assert_eq!(region_in(message).as_deref(), Some("garage"));
        assert_eq!(region_in("malformed"), None);
        assert_eq!(region_in("expected: 'nothing'"), None);
    }
}
