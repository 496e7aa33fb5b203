//! Key pairs that are accepted: fixed ones of the configuration and temporary ones of the role.

use std::collections::BTreeMap;

use crate::cloud::clock::Millis;
use crate::cloud::dice::Dice;
use crate::cloud::metadata::RoleKey;
use crate::config::{CloudKind, CredentialConfig, LabConfig};

/// Why a key is not accepted. Each cloud has its own codes for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyTrouble {
    /// Nobody has this key id.
    Unknown,
    /// The key takes no security token.
    NoTokenWanted,
    /// The key needs its security token.
    TokenMissing,
    /// The security token is another key's.
    TokenWrong,
    /// The key's time is over.
    Expired,
}

#[derive(Debug, Clone)]
struct Key {
    secret: String,
    token: Option<String>,
    expires: Option<Millis>,
}

/// All keys.
#[derive(Debug, Clone)]
pub struct Keys {
    known: BTreeMap<String, Key>,
    roles: BTreeMap<String, RoleKey>,
    ttl: Millis,
    dice: Dice,
    cloud: CloudKind,
}

impl Keys {
    /// Keys of the configuration.
    pub fn new(config: &LabConfig) -> Self {
        let ttl = config.ram_ttl_seconds.saturating_mul(1000);
        let keys = Self::from_pairs(&config.credentials, ttl, config.seed);
        Self { cloud: config.cloud, ..keys }
    }

    /// Keys from pairs; `ttl` is the life of role keys in milliseconds.
    pub fn from_pairs(pairs: &[CredentialConfig], ttl: Millis, seed: u64) -> Self {
        let known = pairs
            .iter()
            .map(|c| {
                let key = Key {
                    secret: c.secret.clone(),
                    token: c.security_token.clone(),
                    expires: None,
                };
                (c.id.clone(), key)
            })
            .collect();
        // Another stream than the VPC's identifiers: the keys must not repeat them.
        let dice = Dice::new(seed ^ 0x5EED_CAFE);
        Self { known, roles: BTreeMap::new(), ttl, dice, cloud: CloudKind::default() }
    }

    /// The secret for this id, if the security token fits.
    pub fn secret(&self, id: &str, token: Option<&str>, now: Millis) -> Result<&str, KeyTrouble> {
        let key = self.known.get(id).ok_or(KeyTrouble::Unknown)?;
        match (&key.token, token) {
            (None, Some(_)) => return Err(KeyTrouble::NoTokenWanted),
            (Some(_), None) => return Err(KeyTrouble::TokenMissing),
            (Some(own), Some(sent)) if own != sent => return Err(KeyTrouble::TokenWrong),
            (None, None) | (Some(_), Some(_)) => {}
        }
        if key.expires.is_some_and(|end| end <= now) {
            return Err(KeyTrouble::Expired);
        }
        Ok(&key.secret)
    }

    /// The role key of an instance; a new one when less than a quarter of its life is left.
    pub fn role_key(&mut self, instance: &str, now: Millis) -> RoleKey {
        if let Some(key) = self.roles.get(instance)
            && key.expires.saturating_sub(now) > self.ttl / 4
        {
            return key.clone();
        }
        let key = self.mint(self.ttl, now);
        self.roles.insert(instance.to_owned(), key.clone());
        key
    }

    /// A new temporary key that lives for `life` milliseconds.
    pub fn mint(&mut self, life: Millis, now: Millis) -> RoleKey {
        let mut draw = || format!("{:016x}{:016x}", self.dice.roll(), self.dice.roll());
        let (id, token) = match self.cloud {
            CloudKind::Aliyun => (format!("STS.{}", draw()), "CAIS"),
            CloudKind::Aws => {
                (format!("ASIA{}", draw().split_off(16).to_ascii_uppercase()), "IQoJ")
            }
        };
        let key = RoleKey {
            id,
            secret: draw(),
            token: format!("{token}{}{}", draw(), draw()),
            given: now,
            expires: now.saturating_add(life),
        };
        self.known.insert(
            key.id.clone(),
            Key {
                secret: key.secret.clone(),
                token: Some(key.token.clone()),
                expires: Some(key.expires),
            },
        );
        key
    }

    /// The secret of any known key, for exporting recorded requests to a judge.
    pub fn known_secret(&self, id: &str) -> Option<&str> {
        self.known.get(id).map(|key| key.secret.as_str())
    }
}
