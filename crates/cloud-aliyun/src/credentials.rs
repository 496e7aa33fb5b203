//! Where access keys come from, and when they are fetched anew.
//!
//! A key is fetched once and used until its end comes near; one task fetches while the others go on with the key that still
//! holds. A key that the cloud refused is forgotten, so a rotated file or role is picked up without a restart.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tideway_cloud::{WrittenKey, written_key};
use tideway_model::UnixMillis;
use tokio::sync::Semaphore;

use crate::{AccessKey, Metadata, MetadataError, Secret};

mod web_identity;
pub use web_identity::{TokenService, WebIdentity};

/// Longest time before its end at which a key is renewed. The metadata service has the next key half an hour before.
const MARGIN: Duration = Duration::from_mins(10);
/// After a failed renewal, the key that still holds is used for this long before the next try.
const RETRY: Duration = Duration::from_secs(10);

const ENV_ID: &str = "ALIBABA_CLOUD_ACCESS_KEY_ID";
const ENV_SECRET: &str = "ALIBABA_CLOUD_ACCESS_KEY_SECRET";
const ENV_TOKEN: &str = "ALIBABA_CLOUD_SECURITY_TOKEN";

/// Why there is no key. No text holds a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CredentialError {
    /// Only a part of the key is in the environment.
    #[error(
        "environment: {have} is set but {lack} is not; set both, or neither to use another source of keys"
    )]
    Environment {
        /// The variable that is set.
        have: &'static str,
        /// The variable that is not.
        lack: &'static str,
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
    /// The token service gave no key for the token of a service account.
    #[error(
        "RRSA, role {role}: {cause}; check the service account's token, the role, and that its trust policy names the identity provider"
    )]
    WebIdentity {
        /// Role.
        role: String,
        /// Cause.
        cause: String,
    },
    /// The instance's role gave no key.
    #[error(
        "RAM role of the instance: {0}; attach a RAM role to the instance, or name a credentials file"
    )]
    Role(#[from] MetadataError),
}

/// Where the key comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CredentialSource {
    /// A fixed key, such as one from the environment.
    Fixed(AccessKey),
    /// A JSON file (`accessKeyId`, `accessKeySecret`, and if temporary `securityToken`, `expiration`).
    File(PathBuf),
    /// A role for the token of a service account (RRSA).
    WebIdentity(WebIdentity),
    /// The RAM role of the instance.
    InstanceRole,
}

impl CredentialSource {
    /// The file when one is named, else the environment when it has a key or a service account's token, else the instance's
    /// role.
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
        let get = |name: &str| var(name).filter(|value| !value.is_empty());
        match (get(ENV_ID), get(ENV_SECRET)) {
            (Some(id), Some(secret)) => Ok(Self::Fixed(AccessKey {
                id,
                secret: Secret::new(secret),
                token: get(ENV_TOKEN).map(Secret::new),
            })),
            (None, None) => {
                Ok(WebIdentity::discover(get)?.map_or(Self::InstanceRole, Self::WebIdentity))
            }
            (Some(_), None) => Err(CredentialError::Environment { have: ENV_ID, lack: ENV_SECRET }),
            (None, Some(_)) => Err(CredentialError::Environment { have: ENV_SECRET, lack: ENV_ID }),
        }
    }
}

/// A key that was fetched, and how long it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldKey {
    /// The key.
    pub key: AccessKey,
    /// When it was fetched.
    pub fetched: UnixMillis,
    /// Its end; none: it has none.
    pub expires: Option<UnixMillis>,
}

impl HeldKey {
    /// Whether it should be renewed: in the last ten minutes of its life, or in the last quarter if it lives shortly.
    pub fn needs_refresh(&self, now: UnixMillis) -> bool {
        let Some(expires) = self.expires else { return false };
        let life = expires.0.saturating_sub(self.fetched.0);
        let margin = u64::try_from(MARGIN.as_millis()).unwrap_or(u64::MAX).min(life / 4);
        now.0 >= expires.0.saturating_sub(margin)
    }

    /// Whether the cloud will refuse it.
    pub fn is_expired(&self, now: UnixMillis) -> bool {
        self.expires.is_some_and(|expires| now >= expires)
    }
}

#[derive(Default)]
struct State {
    held: Option<Arc<HeldKey>>,
    /// No renewal before this while the held key is good.
    not_before: UnixMillis,
}

/// The present key of one source.
pub struct Credentials {
    source: CredentialSource,
    metadata: Arc<Metadata>,
    tokens: TokenService,
    state: Mutex<State>,
    /// One permit: one fetch in flight.
    fetching: Semaphore,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("source", &self.source).finish_non_exhaustive()
    }
}

impl Credentials {
    /// Keys of `source`; roles are asked from `metadata`, those of a service account from `tokens`.
    pub fn new(source: CredentialSource, metadata: Arc<Metadata>, tokens: TokenService) -> Self {
        Self {
            source,
            metadata,
            tokens,
            state: Mutex::new(State::default()),
            fetching: Semaphore::new(1),
        }
    }

    /// The key to sign with now.
    pub async fn key(&self, now: UnixMillis) -> Result<Arc<HeldKey>, CredentialError> {
        if let Some(held) = self.fresh(now) {
            return Ok(held);
        }
        let _permit = match self.fetching.try_acquire() {
            Ok(permit) => Some(permit),
            Err(_busy) => {
                // Somebody fetches already: the key that still holds will do, else wait for that fetch.
                if let Some(held) = self.usable(now) {
                    return Ok(held);
                }
                let permit = self.fetching.acquire().await.ok();
                if let Some(held) = self.fresh(now) {
                    return Ok(held);
                }
                permit
            }
        };
        match self.fetch(now).await {
            Ok(held) => {
                let held = Arc::new(held);
                self.with(|state| state.held = Some(Arc::clone(&held)));
                Ok(held)
            }
            Err(error) => {
                let Some(held) = self.usable(now) else { return Err(error) };
                tracing::warn!(%error, "the access key could not be renewed; the old one is used while it holds");
                self.with(|state| state.not_before = now.plus(RETRY));
                Ok(held)
            }
        }
    }

    /// Forgets a key that the cloud refused, so that the next call fetches anew.
    pub fn refused(&self, key: &HeldKey) {
        self.with(|state| {
            if state.held.as_deref() == Some(key) {
                state.held = None;
            }
        });
    }

    /// The held key when nothing has to be done about it.
    fn fresh(&self, now: UnixMillis) -> Option<Arc<HeldKey>> {
        let (held, not_before) = self.with(|state| (state.held.clone(), state.not_before));
        held.filter(|held| !held.needs_refresh(now) || (now < not_before && !held.is_expired(now)))
    }

    fn usable(&self, now: UnixMillis) -> Option<Arc<HeldKey>> {
        self.with(|state| state.held.clone()).filter(|held| !held.is_expired(now))
    }

    fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    async fn fetch(&self, now: UnixMillis) -> Result<HeldKey, CredentialError> {
        match &self.source {
            CredentialSource::Fixed(key) => {
                Ok(HeldKey { key: key.clone(), fetched: now, expires: None })
            }
            CredentialSource::File(path) => {
                let read = std::fs::read_to_string(path).map_err(|e| e.to_string());
                let key = read.and_then(|text| file_key(&text, now));
                key.map_err(|cause| CredentialError::File {
                    path: path.display().to_string(),
                    cause,
                })
            }
            CredentialSource::WebIdentity(who) => self.tokens.exchange(who, now).await,
            CredentialSource::InstanceRole => Ok(self.metadata.role_credentials(now).await?),
        }
    }
}

/// The key in the text of a credentials file, or of an answer that has one. Else the cause, without secrets.
pub fn file_key(text: &str, now: UnixMillis) -> Result<HeldKey, String> {
    let WrittenKey { key, expires } = written_key(text)?;
    Ok(HeldKey { key, fetched: now, expires })
}

#[cfg(test)]
mod tests;
