//! The gate: who may call. Key, date, signature, nonce, in this order; a nonce counts only once the signature is right,
//! so that nobody can burn another's.

use std::collections::BTreeMap;

use super::incoming::Incoming;
use super::keys::Keys;
use super::signature::Claim;
use crate::cloud::clock::{Millis, parse_iso8601};
use crate::cloud::error::ApiError;

/// How far a date may be off, and how long a nonce is remembered beyond it.
const WINDOW: Millis = 15 * 60 * 1000;

/// Keys and seen nonces.
#[derive(Debug)]
pub struct Gate {
    /// The keys.
    pub keys: Keys,
    nonces: BTreeMap<(String, String), Millis>,
    swept: Millis,
}

/// How often old nonces are dropped.
const SWEEP: Millis = 60_000;

impl Gate {
    /// A gate that knows these keys.
    pub fn new(keys: Keys) -> Self {
        Self { keys, nonces: BTreeMap::new(), swept: 0 }
    }

    /// Checks a request; the claim says which action it wants.
    pub fn admit(&mut self, request: &Incoming, now: Millis) -> Result<Claim, ApiError> {
        let claim = Claim::read(request)?;
        let secret = self.keys.secret(&claim.key_id, claim.token.as_deref(), now)?;
        let Some(date) = parse_iso8601(&claim.date) else {
            return Err(ApiError::new(
                400,
                "InvalidTimeStamp.Format",
                "The date is not of the form 2026-01-31T12:00:00Z.",
            ));
        };
        if date.abs_diff(now) > WINDOW {
            return Err(ApiError::new(
                400,
                "InvalidTimeStamp.Expired",
                "The date of the request is more than 15 minutes off.",
            ));
        }
        claim.check(secret)?;
        if now >= self.swept.saturating_add(SWEEP) {
            self.nonces.retain(|_, until| *until > now);
            self.swept = now;
        }
        let nonce = (claim.key_id.clone(), claim.nonce.clone());
        if self.nonces.insert(nonce, date.max(now).saturating_add(WINDOW)).is_some() {
            return Err(ApiError::new(
                400,
                "SignatureNonceUsed",
                "The nonce of the request was used before.",
            ));
        }
        Ok(claim)
    }
}
