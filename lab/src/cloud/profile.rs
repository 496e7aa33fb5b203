//! What one cloud does otherwise than the other, as figures and words. Everything else is the same for both.

use super::clock::Millis;
use super::dice::Dice;
use super::latency::{self, Work};
use crate::config::CloudKind;

/// Addresses of a subnet that are never given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reserved {
    /// How many at the start of the block, the network address among them.
    pub first: u32,
    /// How many at its end.
    pub last: u32,
    /// The gateway, counted from the start of the block; from its end when negative (-1 is the last address).
    pub gateway: i32,
}

/// How a cloud is.
#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a habit of its own that one cloud has and the other has not"
)]
pub struct Profile {
    /// Reserved addresses.
    pub reserved: Reserved,
    /// First half of every MAC address.
    pub mac: [u8; 3],
    /// Account id.
    pub owner: &'static str,
    /// Prefix of a subnet's id.
    pub subnet: &'static str,
    /// Ids are hexadecimal; otherwise letters and digits.
    pub hex_ids: bool,
    /// IPv4 slots of an ENI that is not attached.
    pub loose_v4: u32,
    /// IPv6 slots of an ENI that is not attached.
    pub loose_v6: u32,
    /// Changes of one ENI's addresses exclude each other while one is in work.
    pub one_change_at_a_time: bool,
    /// The account has limits of addresses in a VPC and in a security group.
    pub address_quotas: bool,
    /// An ENI that is attached outlives its instance until somebody says otherwise.
    pub outlives: bool,
    /// New ENIs check source and destination, unless told otherwise.
    pub source_dest_check: bool,
    /// Subnets and instances carry their name as the tag `Name`.
    pub name_tags: bool,
    /// Status, code and text of a throttled call.
    pub throttled: (u16, &'static str, &'static str),
    /// Whether a throttled call is told when to come back.
    pub retry_after: bool,
    /// The code that goes with status 503 when a server fails.
    pub unavailable: &'static str,
    /// Name of the field with the request's id in an answer.
    pub request_id: &'static str,
    /// How long each kind of work takes, in milliseconds, from and to.
    pub latency: fn(Work) -> (Millis, Millis),
}

/// Alibaba Cloud.
pub const ALIYUN: Profile = Profile {
    reserved: Reserved { first: 1, last: 3, gateway: -3 },
    mac: [0x00, 0x16, 0x3e],
    owner: "1234567890123456",
    subnet: "vsw",
    hex_ids: false,
    // The API page's figure.
    loose_v4: 49,
    loose_v6: 10,
    one_change_at_a_time: true,
    address_quotas: true,
    outlives: false,
    source_dest_check: false,
    name_tags: false,
    throttled: (400, "Throttling.User", "Request was denied due to user flow control."),
    retry_after: true,
    unavailable: "ServiceUnavailable",
    request_id: "RequestId",
    latency: latency::aliyun,
};

/// AWS.
pub const AWS: Profile = Profile {
    reserved: Reserved { first: 4, last: 1, gateway: 1 },
    mac: [0x06, 0x4c, 0x1d],
    owner: "123456789012",
    subnet: "subnet",
    hex_ids: true,
    loose_v4: 50,
    loose_v6: 50,
    one_change_at_a_time: false,
    address_quotas: false,
    outlives: true,
    source_dest_check: true,
    name_tags: true,
    throttled: (503, "RequestLimitExceeded", "Request limit exceeded."),
    retry_after: false,
    unavailable: "Unavailable",
    request_id: "requestId",
    latency: latency::aws,
};

impl Profile {
    /// How this cloud is.
    pub fn of(cloud: CloudKind) -> &'static Self {
        match cloud {
            CloudKind::Aliyun => &ALIYUN,
            CloudKind::Aws => &AWS,
        }
    }

    /// A new identifier as this cloud makes them.
    pub fn id(&self, prefix: &str, dice: &mut Dice) -> String {
        if self.hex_ids { dice.hex_id(prefix) } else { dice.id(prefix) }
    }
}
