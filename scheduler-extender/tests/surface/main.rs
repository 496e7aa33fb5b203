//! The program as the scheduler meets it: real sockets in front, an API server of our own behind.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests end at the first surprise"
)]

mod answers;
mod api;
mod bad_input;
mod bed;
mod binds;
mod clock;
mod lifetime;
mod mutations;
mod tls;
