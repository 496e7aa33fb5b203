//! The gate: who may call. At Alibaba Cloud key, date, signature, nonce, in this order; a nonce counts only once the
//! signature is right, so that nobody can burn another's. AWS has no nonces: [`super::sigv4`].

use std::collections::BTreeMap;

use super::incoming::Incoming;
use super::keys::{KeyTrouble, Keys};
use super::signature::Claim;
use crate::cloud::clock::{Millis, parse_iso8601};
use crate::cloud::error::ApiError;

/// How far a date may be off, and how long a nonce is remembered beyond it.
const WINDOW: Millis = 15 * 60 * 1000;

/// A request that passed the gate of its cloud.
#[derive(Debug, Clone)]
pub struct Admitted {
    /// Access key id.
    pub key_id: String,
    /// Action.
    pub action: String,
    /// API version.
    pub version: String,
    /// Parameters.
    pub params: Vec<(String, String)>,
}

impl From<Claim> for Admitted {
    fn from(claim: Claim) -> Self {
        let Claim { key_id, action, version, params, .. } = claim;
        Self { key_id, action, version, params }
    }
}

/// The codes of Alibaba Cloud.
fn refused(trouble: KeyTrouble) -> ApiError {
    let bad = |code: &str, why: &str| ApiError::new(400, code, why);
    match trouble {
        KeyTrouble::Unknown => ApiError::not_found("InvalidAccessKeyId.NotFound", "access key"),
        KeyTrouble::NoTokenWanted => {
            bad("InvalidSecurityToken.Malformed", "The key takes no security token.")
        }
        KeyTrouble::TokenMissing => {
            bad("MissingSecurityToken", "The key needs its security token.")
        }
        KeyTrouble::TokenWrong => bad(
            "InvalidSecurityToken.MismatchWithAccessKey",
            "The security token does not belong to the access key.",
        ),
        KeyTrouble::Expired => {
            bad("InvalidSecurityToken.Expired", "The security token has expired.")
        }
    }
}

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
        let secret =
            self.keys.secret(&claim.key_id, claim.token.as_deref(), now).map_err(refused)?;
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
