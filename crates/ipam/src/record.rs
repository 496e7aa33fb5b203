//! What the journal keeps. One record is one key with its new value, or its end. Values carry a version, so that a newer
//! file is recognised and refused with a clear error.
//!
//! Kept is what cannot be learnt again from the outside: which attachment was promised which addresses, which addresses
//! still rest, which slot belongs to which pod, which ENIs are ours and what they are for, and which cloud calls were
//! started. Boot time is never kept: rests and waits start afresh after a restart.

use std::{collections::BTreeSet, net::IpAddr};

use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize, Serializer, ser::SerializeStruct};
use tideway_cloud::CloudOp;
use tideway_model::{
    Attachment, AttachmentKey, EniId, EniState, LeaseTerms, Mac, PodAddresses, PodKey, PodRef,
    SecurityGroupId, SlotId, SubnetId, UnixMillis,
};

use crate::{IntentId, view::Use};

/// Version of the values written here.
pub const VERSION: u8 = 1;

/// A change of the durable state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Key, such as `attachment/<container>/<interface>`.
    pub key: String,
    /// New value; none: the key ends.
    pub value: Option<Entry>,
}

/// A durable value. Serialised as `{"v": 1, "entry": {"kind": …}}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", remote = "Self")]
pub enum Entry {
    /// An attachment that was promised.
    Attachment(Box<Attachment>),
    /// An ENI of ours.
    Eni(Box<EniRecord>),
    /// A cloud operation that was started and whose outcome is not known yet.
    Intent(Box<IntentRecord>),
    /// A device that belongs to a pod.
    Device(DeviceRecord),
    /// An address that rests.
    Cooling(CoolingRecord),
    /// The address of an identity.
    Lease(Box<LeaseRecord>),
    /// The numbers that must never be used twice.
    Counters(Counters),
}

impl Entry {
    /// The key under which it stands.
    pub fn key(&self) -> String {
        match self {
            Self::Attachment(a) => attachment_key(&a.key),
            Self::Eni(r) => eni_key(r.number),
            Self::Intent(r) => intent_key(r.id),
            Self::Device(d) => device_key(d.slot),
            Self::Cooling(c) => cooling_key(c.ip),
            Self::Lease(l) => lease_key(&l.pod),
            Self::Counters(_) => COUNTERS_KEY.to_owned(),
        }
    }
}

/// An ENI of ours.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EniRecord {
    /// Number in our books: stands for the ENI before the cloud has named it.
    pub number: u32,
    /// Identity, once the cloud has named it.
    pub id: Option<EniId>,
    /// MAC, once known.
    pub mac: Option<Mac>,
    /// State.
    pub state: EniState,
    /// Whether it is attached to the instance, as far as we did it or saw it.
    pub attached: bool,
    /// Whether it is to be given back.
    pub leaving: bool,
    /// Use.
    pub usage: Use,
    /// Adapter slot that it takes.
    pub slot: SlotId,
    /// Subnet.
    pub subnet: SubnetId,
    /// Security groups.
    pub security_groups: Vec<SecurityGroupId>,
    /// Table slot of a shared ENI, 1 to 250; 0 for an exclusive one.
    pub table_slot: u16,
    /// Units that were planned for it when it was decided.
    pub planned: u16,
    /// Primary IPv4 address.
    pub primary: Option<IpAddr>,
    /// All addresses of both families, the primary one included.
    pub addresses: BTreeSet<IpAddr>,
    /// Addresses whose Unassign was decided: they never become free again directly.
    pub releasing: BTreeSet<IpAddr>,
    /// Addresses that the cloud's last look did not show: nobody gets them before a look shows them again.
    #[serde(default)]
    pub doubted: BTreeSet<IpAddr>,
    /// Prefixes that some of the addresses lie in.
    #[serde(default)]
    pub prefixes: BTreeSet<IpNet>,
    /// It was found in the cloud: which addresses of its prefixes pods had before is not known.
    #[serde(default)]
    pub adopted: bool,
}

/// A started cloud operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IntentRecord {
    /// Identity.
    pub id: IntentId,
    /// Operation, with its token.
    pub op: CloudOp,
    /// ENI in our books.
    pub eni: u32,
    /// Addresses that the ENI was believed to have, or to have had lately, before the call.
    pub before: BTreeSet<IpAddr>,
    /// When it was sent first (wall time; for the age of the token).
    pub sent: UnixMillis,
}

/// A device that belongs to a pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceRecord {
    /// Device.
    pub slot: SlotId,
    /// The pod that was matched.
    pub pod: PodRef,
    /// Whether the pod's addresses were ever promised to one of its containers.
    pub used: bool,
}

/// An address that rests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CoolingRecord {
    /// Address.
    pub ip: IpAddr,
    /// ENI in our books.
    pub eni: u32,
}

/// The address of a pod with a stable identity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseRecord {
    /// The identity.
    pub pod: PodKey,
    /// ENI in our books.
    pub eni: u32,
    /// Its addresses.
    pub addresses: PodAddresses,
    /// What was promised.
    pub terms: LeaseTerms,
    /// Ends then, unless the identity comes back before; none while a container of the identity has the addresses.
    pub until: Option<UnixMillis>,
}

/// The numbers that must never be used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Next intent.
    pub intent: u64,
    /// Next ENI in our books.
    pub eni: u32,
}

/// Key of the counters.
pub(crate) const COUNTERS_KEY: &str = "counters";

/// Key of an attachment.
pub fn attachment_key(key: &AttachmentKey) -> String {
    format!("attachment/{}/{}", key.container, key.ifname)
}

pub(crate) fn eni_key(number: u32) -> String {
    format!("eni/{number}")
}

/// Key of a cloud operation whose outcome is not known yet.
pub fn intent_key(id: IntentId) -> String {
    format!("intent/{}", id.0)
}

pub(crate) fn device_key(slot: SlotId) -> String {
    format!("device/{}", slot.0)
}

pub(crate) fn lease_key(pod: &PodKey) -> String {
    format!("lease/{}/{}", pod.namespace, pod.name)
}

pub(crate) fn cooling_key(ip: IpAddr) -> String {
    format!("cooling/{ip}")
}

impl Serialize for Entry {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        struct Inner<'a>(&'a Entry);
        impl Serialize for Inner<'_> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                Entry::serialize(self.0, serializer)
            }
        }
        let mut out = serializer.serialize_struct("Entry", 2)?;
        out.serialize_field("v", &VERSION)?;
        out.serialize_field("entry", &Inner(self))?;
        out.end()
    }
}

impl<'de> Deserialize<'de> for Entry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Stored {
            v: u8,
            entry: serde_json::Value,
        }
        let stored = Stored::deserialize(deserializer)?;
        if stored.v != VERSION {
            return Err(serde::de::Error::custom(format!(
                "the entry has version {}, this program knows version {VERSION}",
                stored.v
            )));
        }
        Self::deserialize(stored.entry).map_err(serde::de::Error::custom)
    }
}
