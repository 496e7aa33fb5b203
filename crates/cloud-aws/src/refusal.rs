//! What a failed call means: the SDK's error → [`CloudError`], code → [`ErrorKind`].
//!
//! Codes: EC2's list of error codes, and what clients in the field had to handle. Families are matched by prefix or suffix,
//! because new members appear.

use std::error::Error;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_ec2::{
    config::http::HttpResponse,
    error::{ProvideErrorMetadata, SdkError},
    operation::RequestId,
};
use http_body_util::LengthLimitError;
use hyper_util::client::legacy;
use tideway_cloud::{CloudError, ErrorKind};

use crate::credentials::LastKey;

/// Longest text of the cloud that is passed on, in characters.
const MESSAGE: usize = 600;

/// Whether the action only reads. A lost answer of such a call leaves nothing behind.
fn reads_only(action: &str) -> bool {
    action.starts_with("Describe")
}

fn lost(action: &str) -> ErrorKind {
    if reads_only(action) { ErrorKind::Unavailable } else { ErrorKind::Unknown }
}

/// What a code means. `message` decides where EC2 has one code for many things, `status` where the code says nothing.
pub fn classify(code: &str, message: &str, status: u16, action: &str) -> ErrorKind {
    let quota = |what: &str| ErrorKind::QuotaExceeded(what.to_owned());
    let code =
        code.strip_prefix("Client.").or_else(|| code.strip_prefix("Server.")).unwrap_or(code);
    match code {
        "InsufficientFreeAddressesInSubnet" => return ErrorKind::SubnetFull,
        "InsufficientCidrBlocks" => return ErrorKind::Fragmented,
        "AttachmentLimitExceeded" => return quota("network interfaces of the instance"),
        "NetworkInterfaceLimitExceeded" => return quota("network interfaces of the account"),
        "PrivateIpAddressLimitExceeded" => return quota("addresses of the network interface"),
        // The attachment has gone; the ENI itself may be attached anew.
        "InvalidAttachmentID.NotFound" => return ErrorKind::Conflict,
        "InternalError" | "InternalFailure" | "Unavailable" | "ServiceUnavailable" => {
            return ErrorKind::Unavailable;
        }
        // The token was used with other parameters: repeating cannot help, a new intent with a new token can.
        "IdempotentParameterMismatch" => return ErrorKind::Invalid,
        // One code for a wrong value, an ENI in use and a device index that somebody else took meanwhile.
        "InvalidParameterValue" if is_about_state(message) => return ErrorKind::Conflict,
        _ => {}
    }
    if code == "RequestLimitExceeded"
        || code.contains("Throttl")
        || code == "TooManyRequestsException"
        || status == 429
    {
        return ErrorKind::Throttled { retry_after: None };
    }
    if is_about_credentials(code) {
        return ErrorKind::Credentials;
    }
    if code == "UnauthorizedOperation" || code.starts_with("AccessDenied") {
        return ErrorKind::Denied(permission(message, action));
    }
    if code.ends_with(".NotFound") {
        return ErrorKind::NotFound;
    }
    if code.ends_with(".InUse") || code.starts_with("Incorrect") || code == "DependencyViolation" {
        return ErrorKind::Conflict;
    }
    if code.contains("LimitExceeded") {
        return quota(code);
    }
    match status {
        // A gateway in front of the API gave up waiting; the API itself may go on.
        502 | 504 => lost(action),
        500.. => ErrorKind::Unavailable,
        _ => ErrorKind::Invalid,
    }
}

/// Action and resource as policies name them. The text tells both, when it does; the action may be another one than that of
/// the call (`ec2:CreateTags` for a create).
fn permission(message: &str, action: &str) -> String {
    let word = |after: &str| {
        let (_, rest) = message.split_once(after)?;
        rest.split_whitespace().next().map(|word| word.trim_end_matches(['.', ',']).to_owned())
    };
    let action = word("not authorized to perform: ").unwrap_or_else(|| format!("ec2:{action}"));
    match word("on resource: ") {
        Some(resource) => format!("{action} on {resource}"),
        None => format!("{action} on all resources (*)"),
    }
}

/// What to change in the configuration: things that people name there and that the cloud does not have.
fn configured(action: &str, code: &str) -> Option<&'static str> {
    if action != "CreateNetworkInterface" {
        return None;
    }
    match code {
        "InvalidSubnetID.NotFound" => Some("name another subnet in eni.subnets"),
        "InvalidGroup.NotFound" | "InvalidSecurityGroupID.NotFound" => {
            Some("name others in eni.securityGroups (without it they are those of the primary ENI)")
        }
        _ => None,
    }
}

fn is_about_state(message: &str) -> bool {
    message.contains("in use") || message.contains("attached at device index")
}

fn is_about_credentials(code: &str) -> bool {
    const CODES: [&str; 9] = [
        "AuthFailure",
        "ExpiredToken",
        "ExpiredTokenException",
        "RequestExpired",
        "SignatureDoesNotMatch",
        "IncompleteSignature",
        "InvalidClientTokenId",
        "UnrecognizedClientException",
        "MissingAuthenticationToken",
    ];
    CODES.contains(&code)
}

/// Whether an error says that an address or prefix to be taken away was not there.
pub(crate) fn was_not_assigned(error: &CloudError) -> bool {
    error.code == "InvalidParameterValue" && error.message.contains("not assigned to")
}

/// The error of a call.
pub(crate) fn refused<E>(
    action: &str,
    error: &SdkError<E, HttpResponse>,
    key: &LastKey,
) -> CloudError
where
    E: ProvideErrorMetadata + Error + 'static,
{
    let clean = |text: &str| clean(text, key);
    let (mut kind, code, message) = match error {
        SdkError::ConstructionFailure(_) => {
            (ErrorKind::Invalid, "Unwritable".to_owned(), clean(&causes(error)))
        }
        SdkError::TimeoutError(_) => (lost(action), "Timeout".to_owned(), clean(&causes(error))),
        SdkError::DispatchFailure(_) => {
            let (kind, code) = undelivered(action, error);
            (kind, code.to_owned(), clean(&causes(error)))
        }
        SdkError::ServiceError(told) if !told.raw().status().is_success() => {
            let status = told.raw().status().as_u16();
            let message = told.err().message().unwrap_or("the answer names no error code");
            let named = told.err().code().map(str::to_owned);
            let code = named.unwrap_or_else(|| format!("Http{status}"));
            // Kinds repeat code and message, too.
            let (code, message) = (clean(&code), clean(message));
            (classify(&code, &message, status, action), code, message)
        }
        // An answer that is torn, or says success and makes no sense.
        SdkError::ResponseError(_) | SdkError::ServiceError(_) | _ => {
            let too_large = chain(error).any(<dyn Error>::is::<LengthLimitError>);
            let torn = matches!(error, SdkError::ResponseError(_));
            let code = match (too_large, torn) {
                (true, _) => "AnswerTooLarge",
                (false, true) => "TornAnswer",
                (false, false) => "SenselessAnswer",
            };
            (lost(action), code.to_owned(), clean(&causes(error)))
        }
    };
    // What only the account's owner can decode fills a line and tells nothing.
    let encoded = message.find("Encoded authorization failure message:");
    let message = message.get(..encoded.unwrap_or(message.len())).unwrap_or_default();
    let mut message = message.trim().to_owned();
    if let Some(remedy) = configured(action, &code) {
        message.extend(["; ", remedy]);
        kind = ErrorKind::Invalid;
    }
    if code == "AuthFailure" {
        message.push_str("; EC2 says the same when its endpoint is not in cloud.region");
    }
    let request_id = request_id(error).map(|id| clean(&id));
    CloudError { action: action.to_owned(), kind, code, message, request_id }
}

/// The request's id: in a header, and in the body of errors.
fn request_id<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> Option<String> {
    if let Some(id) = error.as_service_error().and_then(|told| told.meta().request_id()) {
        return Some(id.to_owned());
    }
    let body = std::str::from_utf8(error.raw_response()?.body().bytes()?).ok()?;
    let (_, rest) = body.split_once("<RequestID>")?;
    rest.split_once("</RequestID>").map(|(id, _)| id.to_owned())
}

/// A call without an answer: whether anything was sent.
fn undelivered(action: &str, error: &(dyn Error + 'static)) -> (ErrorKind, &'static str) {
    if chain(error).any(<dyn Error>::is::<CredentialsError>) {
        return (ErrorKind::Credentials, "NoCredentials");
    }
    let connect = |e: &(dyn Error + 'static)| {
        e.downcast_ref::<legacy::Error>().is_some_and(legacy::Error::is_connect)
    };
    if chain(error).any(connect) {
        return (ErrorKind::Unavailable, "ConnectFailed");
    }
    (lost(action), "ConnectionLost")
}

/// The error of an answer that says success but makes no sense.
pub(crate) fn senseless(action: &str, what: impl Into<String>) -> CloudError {
    own(action, lost(action), "SenselessAnswer", what.into())
}

/// An error that is found on this side.
pub(crate) fn own(action: &str, kind: ErrorKind, code: &str, message: String) -> CloudError {
    CloudError { action: action.to_owned(), kind, code: code.to_owned(), message, request_id: None }
}

/// The error and its causes, outermost first.
fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |e: &&'a (dyn Error + 'static)| (*e).source())
}

/// The chain of causes in one line.
pub(crate) fn causes(error: &(dyn Error + 'static)) -> String {
    let mut parts: Vec<String> = chain(error).map(ToString::to_string).collect();
    parts.dedup();
    parts.join(": ")
}

/// Foreign text for one line of a log: without secrets and control characters, and not endless.
fn clean(text: &str, key: &LastKey) -> String {
    let scrubbed = key.scrub(text);
    let line = scrubbed.chars().map(|c| if c.is_control() { ' ' } else { c });
    line.take(MESSAGE).collect()
}

#[cfg(test)]
mod tests;
