//! Secrets as types that cannot be printed.

use std::fmt;

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
    /// included.
    pub fn scrub(&self, text: &str) -> String {
        let mut out = text.to_owned();
        for secret in [Some(&self.secret), self.token.as_ref()].into_iter().flatten() {
            if !secret.expose().is_empty() {
                out = out.replace(secret.expose(), "***");
            }
        }
        out
    }
}

impl fmt::Debug for AccessKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let start: String = self.id.chars().take(4).collect();
        f.debug_struct("AccessKey")
            .field("id", &format_args!("{start}…"))
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
}
