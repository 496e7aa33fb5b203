//! The words of Tideway.
//!
//! Every crate speaks of network interfaces, addresses and pods in the types of this crate. They are checked once, where
//! they enter (wire, disk, kernel, people), and trusted afterwards. Nothing here knows a clock, IO or tokio.

pub mod attachment;
pub mod cause;
pub mod cni_code;
pub mod config;
pub mod config_file;
pub mod eni;
pub mod ids;
pub mod lease;
pub mod names;
pub mod net;
pub mod time;

pub use attachment::{Attachment, AttachmentKey, Bandwidth, ExclusiveEni, Mode, PodAddresses};
pub use cause::{Cause, Why};
pub use config::{Config, PrefixMode, Provider};
pub use config_file::{ConfigError, ConfigFile};
pub use eni::{EniState, IPV4_OF_PREFIX, IPV6_OF_PREFIX, Limits, SubnetPlan};
pub use ids::{
    ContainerId, EniId, InstanceId, InvalidId, PodKey, PodRef, PodUid, SecurityGroupId, SlotId,
    SubnetId,
};
pub use lease::LeaseTerms;
pub use net::{Families, Family, IfName, InvalidNet, Mac};
pub use time::{Now, UnixMillis};
