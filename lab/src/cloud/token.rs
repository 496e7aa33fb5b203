//! Idempotency by `ClientToken`: the same request again gets the first answer again, another request is refused.

use std::collections::BTreeMap;

use serde_json::Value;

use super::cause::Cause;
use super::clock::Millis;
use super::params::Params;

/// How long a token is remembered. The real life time is not published; a day outlives every retry.
const LIFE: Millis = 24 * 3600 * 1000;

/// Longest token.
const LONGEST: usize = 64;

/// Tokens with the first answer to each.
#[derive(Debug, Clone, Default)]
pub struct Tokens(BTreeMap<String, Known>);

#[derive(Debug, Clone)]
struct Known {
    request: String,
    answer: Value,
    at: Millis,
}

impl Tokens {
    /// The answer of an earlier equal request; an error when the token belongs to another request.
    pub fn earlier(
        &self,
        action: &str,
        params: &Params,
        now: Millis,
    ) -> Result<Option<Value>, Cause> {
        let Some(token) = params.get("ClientToken") else { return Ok(None) };
        if token.len() > LONGEST || !token.is_ascii() {
            return Err(Cause::invalid("ClientToken", "not 1 to 64 ASCII characters"));
        }
        let Some(known) = self.0.get(token).filter(|k| now < k.at.saturating_add(LIFE)) else {
            return Ok(None);
        };
        if known.request == request(action, params) {
            return Ok(Some(known.answer.clone()));
        }
        Err(Cause::TokenReused)
    }

    /// Remembers the first answer. Failed calls are not remembered: they may be tried again.
    pub fn remember(&mut self, action: &str, params: &Params, answer: &Value, now: Millis) {
        let Some(token) = params.get("ClientToken") else { return };
        self.0.retain(|_, known| now < known.at.saturating_add(LIFE));
        let known = Known { request: request(action, params), answer: answer.clone(), at: now };
        self.0.insert(token.to_owned(), known);
    }
}

fn request(action: &str, params: &Params) -> String {
    format!("{action}?{}", params.fingerprint("ClientToken"))
}
