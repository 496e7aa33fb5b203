//! The client against the lab: the suite of both clouds, and what only this one has.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::allow_attributes,
    missing_docs,
    reason = "tests"
)]

mod access;
mod answers;
mod places;
mod provider;
mod server;
#[path = "../../../cloud/tests/suite/mod.rs"]
mod suite;
mod words;
