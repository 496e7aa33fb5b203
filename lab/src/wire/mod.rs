//! The wire: HTTP requests in, signatures checked, JSON or XML out. Knows no rule of the VPC.

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
pub mod sigv4;
pub mod sts;
pub mod tls;
pub mod xml;
