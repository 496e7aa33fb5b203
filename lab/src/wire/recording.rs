//! Raw signed requests, the newest ones: so that an outside judge can sign them again and compare.

use std::collections::VecDeque;

use serde::Serialize;

use super::incoming::Incoming;

/// Requests kept.
const KEPT: usize = 20_000;

/// One request in the shape that the judge reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Recorded {
    /// Action.
    pub name: String,
    /// Key pair that signed it.
    pub access_key_id: String,
    /// Its secret, as the lab knows it.
    pub access_key_secret: String,
    /// `POST /?… HTTP/1.1`.
    pub request_line: String,
    /// Method.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// Headers in wire order.
    pub headers: Vec<(String, String)>,
    /// Decoded query pairs in wire order.
    pub query: Vec<(String, String)>,
    /// Body.
    pub body: String,
    /// `OK` or the error code.
    pub outcome: String,
    /// Source address.
    pub source: String,
}

/// The newest requests.
#[derive(Debug, Default)]
pub struct Recording(VecDeque<Recorded>);

impl Recording {
    /// Keeps one request.
    pub fn add(
        &mut self,
        request: &Incoming,
        action: &str,
        key: (&str, &str),
        outcome: &str,
        source: &str,
    ) {
        if self.0.len() == KEPT {
            self.0.pop_front();
        }
        let target = if request.raw_query.is_empty() {
            request.path.clone()
        } else {
            format!("{}?{}", request.path, request.raw_query)
        };
        self.0.push_back(Recorded {
            name: action.to_owned(),
            access_key_id: key.0.to_owned(),
            access_key_secret: key.1.to_owned(),
            request_line: format!("{} {target} HTTP/1.1", request.method),
            method: request.method.clone(),
            target,
            headers: request.headers.clone(),
            query: request.query(),
            body: String::from_utf8_lossy(&request.body).into_owned(),
            outcome: outcome.to_owned(),
            source: source.to_owned(),
        });
    }

    /// All kept requests, oldest first.
    pub fn all(&self) -> Vec<Recorded> {
        self.0.iter().cloned().collect()
    }
}
