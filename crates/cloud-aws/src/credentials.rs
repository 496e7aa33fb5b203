//! Where access keys come from: one source, chosen by the same order on both clouds. The last key is remembered so that it can
//! be kept out of texts.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use aws_config::{
    imds::{self, credentials::ImdsCredentialsProvider},
    provider_config::ProviderConfig,
};
use aws_credential_types::{
    Credentials,
    provider::{
        ProvideCredentials, Result as Provided, SharedCredentialsProvider, error::CredentialsError,
        future,
    },
};
use tideway_cloud::{AccessKey, Secret, WrittenKey, written_key};

mod web_identity;

use web_identity::Exchange;
pub use web_identity::WebIdentity;

use crate::refusal::causes;

const ENV_ID: &str = "AWS_ACCESS_KEY_ID";
const ENV_SECRET: &str = "AWS_SECRET_ACCESS_KEY";
const ENV_TOKEN: &str = "AWS_SESSION_TOKEN";
const ENV_IDENTITY: &str = "AWS_WEB_IDENTITY_TOKEN_FILE";
const ENV_ROLE: &str = "AWS_ROLE_ARN";
const ENV_SESSION: &str = "AWS_ROLE_SESSION_NAME";
const ENV_STS: &str = "AWS_ENDPOINT_URL_STS";

/// Why there is no key. No text holds a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CredentialError {
    /// Only a part of what belongs together is in the environment.
    #[error("environment: {have} is set but {lack} is not; set both, or none of them")]
    Environment {
        /// The variable that is set.
        have: &'static str,
        /// The variable that is not.
        lack: &'static str,
    },
    /// The token of the service account gave no key.
    #[error(
        "role {role} for the service account's token: {cause}; check the token file, and that the role's trust policy names this cluster's identity provider and service account"
    )]
    WebIdentity {
        /// ARN of the role.
        role: String,
        /// Cause.
        cause: String,
    },
    /// The file cannot be read.
    #[error(
        "credentials file {path}: {cause}; a JSON object with accessKeyId and accessKeySecret is expected (cloud.credentialsFile)"
    )]
    File {
        /// File.
        path: String,
        /// Cause.
        cause: String,
    },
    /// The instance's role gave no key.
    #[error(
        "IAM role of the instance: {0}; attach an IAM role to the instance, or name a credentials file (cloud.credentialsFile)"
    )]
    Role(String),
}

/// Where the key comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CredentialSource {
    /// A fixed key, such as one from the environment.
    Fixed(AccessKey),
    /// A JSON file (`accessKeyId`, `accessKeySecret`, and if temporary `securityToken`, `expiration`).
    File(PathBuf),
    /// A token of the cluster that STS takes for a role's key (IRSA).
    WebIdentity(WebIdentity),
    /// The IAM role of the instance.
    InstanceRole,
}

impl CredentialSource {
    /// The file when one is named, else the environment when it has a key, else a web identity when it names one, else the
    /// instance's role.
    pub fn discover(file: Option<&Path>) -> Result<Self, CredentialError> {
        Self::discover_in(file, |name| std::env::var(name).ok())
    }

    /// As [`CredentialSource::discover`], with the environment as an argument.
    pub fn discover_in(
        file: Option<&Path>,
        var: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, CredentialError> {
        if let Some(path) = file {
            return Ok(Self::File(path.to_owned()));
        }
        let get = |name| var(name).filter(|value| !value.is_empty());
        let pair = |one, other| match (get(one), get(other)) {
            (Some(a), Some(b)) => Ok(Some((a, b))),
            (None, None) => Ok(None),
            (Some(_), None) => Err(CredentialError::Environment { have: one, lack: other }),
            (None, Some(_)) => Err(CredentialError::Environment { have: other, lack: one }),
        };
        if let Some((id, secret)) = pair(ENV_ID, ENV_SECRET)? {
            let (secret, token) = (Secret::new(secret), get(ENV_TOKEN).map(Secret::new));
            return Ok(Self::Fixed(AccessKey { id, secret, token }));
        }
        // A role alone is not enough: other tools set it, too.
        if get(ENV_IDENTITY).is_none() {
            return Ok(Self::InstanceRole);
        }
        let Some((token_file, role)) = pair(ENV_IDENTITY, ENV_ROLE)? else {
            return Ok(Self::InstanceRole);
        };
        Ok(Self::WebIdentity(WebIdentity {
            role,
            token_file: token_file.into(),
            session: get(ENV_SESSION).unwrap_or_else(|| "tidewayd".into()),
            endpoint: get(ENV_STS),
        }))
    }

    /// The provider of the source. Nothing is sent yet.
    pub(crate) fn provider(
        self,
        config: &ProviderConfig,
        imds: &imds::Client,
        sts: aws_sdk_sts::config::Builder,
    ) -> SharedCredentialsProvider {
        const FROM: &str = "tideway";
        match self {
            Self::Fixed(AccessKey { id, secret, token }) => {
                let token = token.map(|token| token.expose().to_owned());
                let key = Credentials::new(id, secret.expose(), token, None, FROM);
                SharedCredentialsProvider::new(key)
            }
            Self::File(path) => SharedCredentialsProvider::new(KeyFile(path)),
            Self::WebIdentity(who) => SharedCredentialsProvider::new(Exchange::new(who, sts)),
            Self::InstanceRole => {
                let provider =
                    ImdsCredentialsProvider::builder().configure(config).imds_client(imds.clone());
                SharedCredentialsProvider::new(Role(provider.build()))
            }
        }
    }
}

/// The SDK's provider of the role's keys, with the remedy that its errors lack.
#[derive(Debug)]
struct Role(ImdsCredentialsProvider);

impl ProvideCredentials for Role {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(async {
            let given = self.0.provide_credentials().await;
            given.map_err(|e| CredentialsError::provider_error(CredentialError::Role(causes(&e))))
        })
    }

    fn fallback_on_interrupt(&self) -> Option<Credentials> {
        self.0.fallback_on_interrupt()
    }
}

/// A file that is read whenever a key is wanted, so a rotated one is picked up.
#[derive(Debug)]
struct KeyFile(PathBuf);

/// Keys of a file without `expiration` are read anew after this.
const FILE_LIFE: Duration = Duration::from_mins(15);

impl KeyFile {
    fn read(&self) -> Result<Credentials, CredentialError> {
        let fail = |cause| CredentialError::File { path: self.0.display().to_string(), cause };
        let text = std::fs::read_to_string(&self.0).map_err(|e| fail(e.to_string()))?;
        let WrittenKey { key, expires } = written_key(&text).map_err(fail)?;
        let expires = expires.map_or_else(
            || SystemTime::now() + FILE_LIFE,
            |at| SystemTime::UNIX_EPOCH + Duration::from_millis(at.0),
        );
        Ok(Credentials::new(
            key.id,
            key.secret.expose(),
            key.token.map(|t| t.expose().to_owned()),
            Some(expires),
            "file",
        ))
    }
}

impl ProvideCredentials for KeyFile {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::ready(self.read().map_err(CredentialsError::provider_error))
    }
}

/// The key that was given to the SDK last, to keep it out of texts.
#[derive(Clone, Default)]
pub(crate) struct LastKey(Arc<Mutex<Option<AccessKey>>>);

impl LastKey {
    fn set(&self, key: &Credentials) {
        let key = AccessKey {
            id: key.access_key_id().to_owned(),
            secret: Secret::new(key.secret_access_key()),
            token: key.session_token().map(Secret::new),
        };
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(key);
    }

    /// The text with the key's secrets taken out.
    pub(crate) fn scrub(&self, text: &str) -> String {
        let held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.as_ref().map_or_else(|| text.to_owned(), |key| key.scrub(text))
    }
}

/// A provider whose last key is remembered.
pub(crate) struct Remembered {
    pub(crate) inner: SharedCredentialsProvider,
    pub(crate) last: LastKey,
}

impl fmt::Debug for Remembered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remembered").finish_non_exhaustive()
    }
}

impl Remembered {
    async fn key(&self) -> Provided {
        let key = self.inner.provide_credentials().await?;
        self.last.set(&key);
        Ok(key)
    }
}

impl ProvideCredentials for Remembered {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.key())
    }

    // What the instance's role gave last holds on while the metadata service is away.
    fn fallback_on_interrupt(&self) -> Option<Credentials> {
        self.inner.fallback_on_interrupt()
    }
}

#[cfg(test)]
mod tests;
