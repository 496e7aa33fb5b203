//! The causes of the core in the codes of EC2.

use crate::cloud::cause::Cause;
use crate::cloud::error::ApiError;

/// An error of the EC2 API. A type of its own, so that no cause gets a code of the other cloud by mistake.
#[derive(Debug)]
pub struct Failure(pub ApiError);

impl Failure {
    /// An error with any code and status.
    pub fn new(status: u16, code: &str, message: impl Into<String>) -> Self {
        Self(ApiError::new(status, code, message))
    }

    /// An error of the caller: status 400.
    pub fn bad(code: &str, message: impl Into<String>) -> Self {
        Self::new(400, code, message)
    }

    /// `InvalidParameterValue`.
    pub fn value(message: impl Into<String>) -> Self {
        Self::bad("InvalidParameterValue", message)
    }
}

/// Whether an id has the form of EC2's: `PREFIX-` and 8 to 17 hexadecimal digits. What has not is malformed, not unknown.
fn well_formed(id: &str, prefix: &str) -> bool {
    id.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('-')).is_some_and(|digits| {
        (8..=17).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_hexdigit())
    })
}

/// No resource has this id.
fn unknown(id: &str, prefix: &str, what: &str, codes: (&str, &str)) -> Failure {
    if well_formed(id, prefix) {
        Failure::bad(codes.0, format!("The {what} '{id}' does not exist"))
    } else {
        Failure::bad(codes.1, format!("Invalid id: \"{id}\" (expecting \"{prefix}-...\")"))
    }
}

impl From<Cause> for Failure {
    fn from(cause: Cause) -> Self {
        match cause {
            Cause::Missing(name) => Self::bad(
                "MissingParameter",
                format!("The request must contain the parameter {name}"),
            ),
            Cause::Invalid { name, why } => {
                Self::value(format!("Value for parameter {name} is invalid: {why}"))
            }
            Cause::NoAddress(text) => Self::value(format!("Invalid IP address: {text}")),
            Cause::Exclusive(one, other) => Self::bad(
                "InvalidParameterCombination",
                format!("The parameters {one} and {other} may not be used together"),
            ),
            Cause::TooManyTags(max) => {
                Self::bad("TagLimitExceeded", format!("A resource has at most {max} tags"))
            }
            Cause::NextToken => Self::bad("InvalidNextToken", "The specified token is not valid"),
            Cause::TokenReused => Self::bad(
                "IdempotentParameterMismatch",
                "The client token was used by an earlier request with other parameters",
            ),
            Cause::NoEni(id) => unknown(
                &id,
                "eni",
                "networkInterface ID",
                ("InvalidNetworkInterfaceID.NotFound", "InvalidNetworkInterfaceId.Malformed"),
            ),
            Cause::NoInstance(id) => unknown(
                &id,
                "i",
                "instance ID",
                ("InvalidInstanceID.NotFound", "InvalidInstanceID.Malformed"),
            ),
            Cause::NoSubnet(id) => unknown(
                &id,
                "subnet",
                "subnet ID",
                ("InvalidSubnetID.NotFound", "InvalidSubnetId.Malformed"),
            ),
            Cause::NoGroup(id) => unknown(
                &id,
                "sg",
                "security group",
                ("InvalidGroup.NotFound", "InvalidGroupId.Malformed"),
            ),
            Cause::NoAttachment(id) => unknown(
                &id,
                "eni-attach",
                "attachment ID",
                ("InvalidAttachmentID.NotFound", "InvalidNetworkInterfaceAttachmentId.Malformed"),
            ),
            Cause::EniState { id, state } => Self::bad(
                "IncorrectState",
                format!("The network interface '{id}' is {}", super::shape::status(state)),
            ),
            Cause::EniBusy(id) => {
                Self::bad("IncorrectState", format!("The network interface '{id}' is changing"))
            }
            Cause::PrimaryEni(id) => Self::bad(
                "OperationNotPermitted",
                format!("The network interface '{id}' at device index 0 cannot be detached."),
            ),
            Cause::OtherInstance(id) => Self::bad(
                "IncorrectState",
                format!("The network interface '{id}' is attached to another instance"),
            ),
            Cause::InstanceState { id, state } => Self::bad(
                "IncorrectInstanceState",
                format!("The instance '{id}' is not in a valid state: {}", state.word()),
            ),
            Cause::OtherZone => Self::bad(
                "InvalidParameterCombination",
                "You may not attach a network interface to an instance if they are not in the same availability zone",
            ),
            Cause::NoType => {
                Self::new(500, "InternalError", "The type of the instance is not known")
            }
            Cause::EnisOfType(limit) => Self::bad(
                "AttachmentLimitExceeded",
                format!("Interface count {} exceeds the limit of {limit}", limit.saturating_add(1)),
            ),
            Cause::NoCard(card) => {
                Self::value(format!("The instance type has no network card with index {card}"))
            }
            Cause::DeviceTaken(index) => Self::value(format!(
                "The instance already has an interface attached at device index '{index}'."
            )),
            Cause::AddressesOfEni { .. } => Self::bad(
                "PrivateIpAddressLimitExceeded",
                "Number of private addresses will exceed limit.",
            ),
            Cause::EnisOfAccount => Self::bad(
                "NetworkInterfaceLimitExceeded",
                "The maximum number of network interfaces has been reached.",
            ),
            // Limits that this account does not have; the words are there for completeness.
            Cause::AddressesOfVpc | Cause::AddressesOfGroup(_) | Cause::SubnetFull => Self::bad(
                "InsufficientFreeAddressesInSubnet",
                "The specified subnet does not have enough free addresses to satisfy the request.",
            ),
            Cause::NoBlock => Self::bad(
                "InsufficientCidrBlocks",
                "The specified subnet does not have enough free cidr blocks to satisfy the request.",
            ),
            Cause::Outside(what) => Self::value(format!(
                "Address {what} does not fall within the subnet's address range or is reserved"
            )),
            Cause::Taken(what) => {
                Self::bad("InvalidIPAddress.InUse", format!("Address {what} is in use."))
            }
            Cause::Repeated(what) => Self::value(format!("Address {what} is given twice")),
            Cause::NoIpv6 => Self::value("The subnet has no IPv6 CIDR block"),
            Cause::Unassigned(what) => {
                Self::value(format!("{what} is not assigned to the network interface"))
            }
            Cause::PrimaryAddress(what) => {
                Self::value(format!("The primary IP address {what} cannot be unassigned"))
            }
        }
    }
}
