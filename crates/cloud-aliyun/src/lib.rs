//! Our own client of Alibaba Cloud: ECS 2014-05-26, VPC 2016-04-28 and the instance metadata service.
//!
//! A call is a chain of small steps, and only one of them does IO: an operation becomes an [`ApiRequest`] (a value), the
//! value becomes a signed `http::Request`, [`send`] exchanges it for an answer, and the answer is decoded into the words of
//! `tideway-cloud`. So requests, signatures and answers are tested without a network.
//!
//! Invariants
//! - nothing is repeated inside: repeating is the caller's decision, for a lost answer may have had its effect;
//! - a failure *before* anything was sent is [`tideway_cloud::ErrorKind::Unavailable`]; a lost, torn or senseless answer
//!   *after* it is [`tideway_cloud::ErrorKind::Unknown`], for reads `Unavailable`, because a read has no effect;
//! - a list is read to its last page or the call fails: a part of a list would look like things that have gone;
//! - secrets live in [`Secret`] and appear in no `Debug` output, no error and no message of the cloud that we pass on.

pub mod cloud;
pub mod codec;
pub mod credentials;
pub mod metadata;
pub mod refusal;
pub mod request;
pub mod send;
pub mod sign;
mod skew;
mod tls;

pub use cloud::{AliyunCloud, AliyunConfig, Clock, SetupError, system_clock};
pub use credentials::{CredentialError, CredentialSource, Credentials, TokenService, WebIdentity};
pub use metadata::{Metadata, MetadataError, MetadataInstance};
pub use request::{Api, ApiRequest};
pub use send::Timeouts;
pub use tideway_cloud::{AccessKey, Endpoint, InvalidEndpoint, Secret};
