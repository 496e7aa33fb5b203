//! EC2 (API version 2016-11-15) and its instance metadata service, on `aws-sdk-ec2`.
//!
//! The SDK writes, signs, sends and parses; what a call means for us is decided here. Nothing else in the workspace names
//! the SDK: it is 1.2 million lines, and only what needs it should wait for it.
//!
//! Invariants, the same as those of the other cloud
//! - nothing is repeated inside: the SDK's own retries are off, so that one policy owns back-off and the account's budget;
//! - a failure *before* anything was sent is [`tideway_cloud::ErrorKind::Unavailable`]; a lost, torn or senseless answer
//!   *after* it is [`tideway_cloud::ErrorKind::Unknown`], for reads `Unavailable`, because a read has no effect;
//! - a list is read to its last page or the call fails: a part of a list would look like things that have gone;
//! - secrets appear in no `Debug` output, no error and no message of the cloud that we pass on.
//!
//! Where EC2 is otherwise: an ENI needs a device index and a network card to be attached ([`places`]), it is detached by the
//! id of its attachment, and it outlives its instance until a call of its own says otherwise.

pub mod clock;
pub mod cloud;
pub mod credentials;
mod http;
pub mod metadata;
pub mod places;
pub mod refusal;
mod view;

pub use clock::{Clock, system_clock};
pub use cloud::{AwsCloud, AwsConfig, SetupError};
pub use credentials::{CredentialError, CredentialSource, WebIdentity};
pub use http::{Timeouts, TrustError};
pub use metadata::{Metadata, MetadataError};
pub use tideway_cloud::{Endpoint, InvalidEndpoint};
