//! What the APIs say and hear, one file for each kind of thing: requests from our words, our words from answers.
//!
//! The structures name only the fields that we use; all others are ignored, and `null` counts as absent, so that a new or
//! empty field never breaks a node. What we do use must be there and make sense: an answer that is half understood would
//! look like addresses that have gone.

pub mod address;
pub mod eni;
pub mod instance;
pub mod network;

use serde::{Deserialize, Deserializer, de::DeserializeOwned};

/// An answer that says success but cannot be understood. The text names field and value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the answer cannot be understood: {0}")]
pub struct Senseless(pub String);

/// `null` and an absent field both mean the default.
pub(crate) fn or_default<'de, D, T>(from: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::<T>::deserialize(from)?.unwrap_or_default())
}

pub(crate) fn json<T: DeserializeOwned>(body: &[u8]) -> Result<T, Senseless> {
    serde_json::from_slice(body).map_err(|e| Senseless(e.to_string()))
}

/// Parses a field, naming it when it is wrong.
pub(crate) fn field<T, E: std::fmt::Display>(
    name: &str,
    value: &str,
    parsed: Result<T, E>,
) -> Result<T, Senseless> {
    parsed.map_err(|e| {
        let shown: String = value.chars().take(80).collect();
        Senseless(format!("{name} is {shown:?}: {e}"))
    })
}
