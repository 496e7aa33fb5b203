//! Secrets as types that cannot be printed, and foreign text without them.

use std::fmt;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// RFC 3986: everything but the unreserved characters is encoded.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// Percent-encoding as both clouds sign it: space is `%20`, hex digits are upper case.
pub fn encode(text: &str) -> String {
    utf8_percent_encode(text, ENCODED).to_string()
}

/// A text that `Debug` does not show and that has no `Display`. Take it out with [`Secret::expose`], where it is used.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// The text without the signatures in it (`Signature=…`).
fn without_signatures(text: String) -> String {
    const MARK: &str = "Signature=";
    if !text.contains(MARK) {
        return text;
    }
    let mut parts = text.split(MARK);
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(part.len());
        out.extend([MARK, "***", part.get(end..).unwrap_or_default()]);
    }
    out
}

/// What a request is signed with.
#[derive(Clone, PartialEq, Eq)]
pub struct AccessKey {
    /// Access key id. No secret, but shown only in part.
    pub id: String,
    /// Access key secret.
    pub secret: Secret,
    /// Token of temporary credentials (STS).
    pub token: Option<Secret>,
}

impl AccessKey {
    /// The text with this key's secrets taken out. Error answers about signatures repeat the signed text, the token
    /// included, as it is or encoded, and sometimes all that was sent.
    pub fn scrub(&self, text: &str) -> String {
        let mut out = text.to_owned();
        for secret in [Some(&self.secret), self.token.as_ref()].into_iter().flatten() {
            let once = encode(secret.expose());
            let twice = encode(&once);
            for form in [twice.as_str(), &once, secret.expose()] {
                if !form.is_empty() {
                    out = out.replace(form, "***");
                }
            }
        }
        // Short ids are words of tests; those of the cloud have 24 characters and more.
        if self.id.len() > 8 {
            out = out.replace(&self.id, &self.short_id());
        }
        without_signatures(out)
    }

    /// Enough of the id to tell one key from another.
    fn short_id(&self) -> String {
        self.id.chars().take(4).chain(['…']).collect()
    }
}

impl fmt::Debug for AccessKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessKey")
            .field("id", &format_args!("{}", self.short_id()))
            .field("temporary", &self.token.is_some())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> AccessKey {
        AccessKey {
            id: "LTAI5tSecretive".into(),
            secret: Secret::new("s3cr3t-value"),
            token: Some(Secret::new("t0ken-value")),
        }
    }

    #[test]
    fn debug_output_shows_no_secret() {
        let shown = format!("{:?} {:#?} {:?}", key(), key(), Secret::new("s3cr3t-value"));
        for secret in ["s3cr3t-value", "t0ken-value", "LTAI5tSecretive"] {
            assert!(!shown.contains(secret), "{shown}");
        }
    }

    #[test]
    fn a_message_of_the_cloud_that_repeats_the_token_is_scrubbed() {
        let text = key().scrub("canonical request: x-acs-security-token:t0ken-value");
        assert_eq!(text, "canonical request: x-acs-security-token:***");
    }

    #[test]
    fn a_message_that_repeats_all_that_was_sent_is_scrubbed_of_every_form_of_it() {
        let token = Some(Secret::new("CAIS/+=="));
        let key = AccessKey { token, ..key() };
        let text = key.scrub(
            "POST&%2F&SecurityToken%3DCAIS%252F%252B%253D%253D Token=CAIS%2F%2B%3D%3D CAIS/+== Credential=LTAI5tSecretive,Signature=0af1,x Signature=",
        );
        assert_eq!(
            text,
            "POST&%2F&SecurityToken%3D*** Token=*** *** Credential=LTAI…,Signature=***,x Signature=***"
        );
    }

    #[test]
    fn hard_characters_are_encoded_as_the_signature_wants_them() {
        assert_eq!(encode("c 1*~+/=&%é"), "c%201%2A~%2B%2F%3D%26%25%C3%A9");
    }
}
