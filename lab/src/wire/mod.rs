//! The wire: HTTP requests in, signatures checked, JSON out. Knows no rule of the VPC.

pub mod api;
pub mod encoding;
pub mod gate;
pub mod incoming;
pub mod keys;
pub mod listen;
pub mod meta;
pub mod recording;
pub mod shared;
pub mod signature;
pub mod tls;
