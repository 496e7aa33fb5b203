//! A role for a service account's token (IRSA): the file is read and exchanged whenever a key is wanted, so a token that the
//! kubelet has renewed is picked up.
//!
//! Not the SDK's provider: that one writes the token service's error to the log, and such an error may repeat the token.

use std::path::PathBuf;

use aws_credential_types::{
    Credentials,
    provider::{ProvideCredentials, error::CredentialsError, future},
};
use aws_sdk_sts::{Client, config::Builder, error::ProvideErrorMetadata};

use super::CredentialError;
use crate::refusal::causes;

/// Who asks for which role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebIdentity {
    /// ARN of the role.
    pub role: String,
    /// File with the token.
    pub token_file: PathBuf,
    /// Name of the session, for the audit log.
    pub session: String,
    /// Endpoint of STS; default: by region.
    pub endpoint: Option<String>,
}

/// Longest text of the token service that is passed on, in characters.
const MESSAGE: usize = 600;

/// The provider.
#[derive(Debug)]
pub(super) struct Exchange {
    who: WebIdentity,
    client: Client,
}

impl Exchange {
    /// With the settings of the other calls.
    pub(super) fn new(who: WebIdentity, settings: Builder) -> Self {
        let mut settings = settings;
        settings.set_endpoint_url(who.endpoint.clone());
        Self { client: Client::from_conf(settings.build()), who }
    }

    async fn key(&self) -> Result<Credentials, CredentialError> {
        let WebIdentity { role, token_file, session, .. } = &self.who;
        let fail = |cause: String| CredentialError::WebIdentity { role: role.clone(), cause };
        let file = token_file.display();
        let token = std::fs::read_to_string(token_file)
            .map_err(|e| fail(format!("token file {file}: {e}")))?;
        let token = token.trim();
        if token.is_empty() {
            return Err(fail(format!("token file {file} is empty")));
        }
        let call = self
            .client
            .assume_role_with_web_identity()
            .role_arn(role)
            .role_session_name(session)
            .web_identity_token(token);
        let answer = call.send().await.map_err(|e| {
            let said = match (e.code(), e.message()) {
                (Some(code), message) => format!("{code}: {}", message.unwrap_or_default()),
                (None, _) => causes(&e),
            };
            let line = said.replace(token, "***");
            let line = line.chars().map(|c| if c.is_control() { ' ' } else { c });
            fail(line.take(MESSAGE).collect())
        })?;
        let given = answer.credentials().ok_or_else(|| fail("the answer has no key".to_owned()))?;
        let expires = (*given.expiration())
            .try_into()
            .map_err(|e| fail(format!("the end of the key is no time: {e}")))?;
        Ok(Credentials::new(
            given.access_key_id(),
            given.secret_access_key(),
            Some(given.session_token().to_owned()),
            Some(expires),
            "web-identity",
        ))
    }
}

impl ProvideCredentials for Exchange {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(async {
            self.key().await.map_err(CredentialsError::provider_error)
        })
    }
}
