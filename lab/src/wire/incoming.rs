//! A request as it came, reduced to what signatures and actions look at.

use super::encoding::decode_pairs;

/// One HTTP request.
#[derive(Debug, Clone, Default)]
pub struct Incoming {
    /// Method in upper case.
    pub method: String,
    /// Path without the query.
    pub path: String,
    /// Query as on the wire, without `?`.
    pub raw_query: String,
    /// Headers in wire order; names as sent.
    pub headers: Vec<(String, String)>,
    /// Body.
    pub body: Vec<u8>,
}

impl Incoming {
    /// Decoded query pairs in wire order.
    pub fn query(&self) -> Vec<(String, String)> {
        decode_pairs(&self.raw_query)
    }

    /// Decoded pairs of a form body; empty for any other body.
    pub fn form(&self) -> Vec<(String, String)> {
        let is_form = self
            .header("content-type")
            .is_some_and(|t| t.starts_with("application/x-www-form-urlencoded"));
        if !is_form {
            return Vec::new();
        }
        decode_pairs(&String::from_utf8_lossy(&self.body))
    }

    /// First value of a header; `name` in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// All values of a header, trimmed, sorted, joined by `,`, as the signature wants them.
    pub fn signed_value(&self, name: &str) -> Option<String> {
        let mut values: Vec<&str> = self
            .headers
            .iter()
            .filter(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim())
            .collect();
        values.sort_unstable();
        (!values.is_empty()).then(|| values.join(","))
    }
}
