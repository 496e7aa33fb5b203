//! The causes of the core in the codes of ECS and VPC.

use crate::cloud::cause::Cause;
use crate::cloud::error::ApiError;

impl From<Cause> for ApiError {
    fn from(cause: Cause) -> Self {
        let family = |ipv6: bool| if ipv6 { "Ipv6" } else { "Ipv4" };
        match cause {
            Cause::Missing(name) => Self::missing(&name),
            Cause::Invalid { name, why } => Self::invalid(&name, &why),
            Cause::Exclusive(one, other) => Self::conflict(one, other),
            Cause::NoAddress(text) => {
                Self::new(400, "InvalidIp.Address", format!("{text} is no valid IP address."))
            }
            Cause::TooManyTags(max) => {
                Self::forbidden("NumberExceed.Tags", format!("More than {max} tags."))
            }
            Cause::NextToken => {
                Self::new(400, "InvalidParameter.NextToken", "The NextToken is not valid.")
            }
            Cause::TokenReused => Self::new(
                400,
                "IdempotentParameterMismatch",
                "The request uses the client token of an earlier request with other parameters.",
            ),
            Cause::NoEni(_) | Cause::NoAttachment(_) => {
                Self::not_found("InvalidEniId.NotFound", "network interface")
            }
            Cause::NoInstance(_) => Self::not_found("InvalidEcsId.NotFound", "instance"),
            Cause::NoSubnet(_) => Self::not_found("InvalidVSwitchId.NotFound", "vSwitch"),
            Cause::NoGroup(_) => {
                Self::not_found("InvalidSecurityGroupId.NotFound", "security group")
            }
            Cause::EniState { id, state } => Self::eni_state(&id, state.word()),
            Cause::EniBusy(id) => Self::forbidden(
                "Operation.Conflict",
                format!("Another change of the network interface {id} is in work: try again."),
            ),
            Cause::PrimaryEni(_) => Self::forbidden(
                "InvalidOperation.InvalidEniType",
                "A primary network interface cannot be detached.",
            ),
            Cause::OtherInstance(id) => Self::forbidden(
                "InvalidOperation.InvalidEniState",
                format!("The network interface {id} is attached to another instance."),
            ),
            Cause::InstanceState { id, state } => Self::forbidden(
                "IncorrectInstanceStatus",
                format!("The instance {id} is {}.", state.word()),
            ),
            Cause::OtherZone => Self::forbidden(
                "InvalidOperation.AvailabilityZoneMismatch",
                "The network interface and the instance are in different zones.",
            ),
            Cause::NoType => Self::invalid("InstanceId", "its type is not known"),
            Cause::EnisOfType(_) => Self::forbidden(
                "EniPerInstanceLimitExceeded",
                "The instance type's limit of network interfaces is reached.",
            ),
            Cause::NoCard(_) => {
                Self::invalid("NetworkCardIndex", "the instance type has no such card")
            }
            Cause::DeviceTaken(index) => {
                Self::invalid("DeviceIndex", &format!("{index} is taken on the instance"))
            }
            Cause::AddressesOfEni { ipv6 } => Self::forbidden(
                &format!("InvalidOperation.{}CountExceeded", family(ipv6)),
                format!(
                    "The limit of {} addresses of one network interface is reached.",
                    family(ipv6)
                ),
            ),
            Cause::EnisOfAccount => Self::forbidden(
                "MaxEniCountExceeded",
                "The maximum number of network interfaces in the region is reached.",
            ),
            Cause::AddressesOfVpc => Self::forbidden(
                "QuotaExceeded.PrivateIpAddress",
                "The quota of private IP addresses in the VPC is used up.",
            ),
            Cause::AddressesOfGroup(group) => Self::forbidden(
                "SecurityGroupInstanceLimitExceed",
                format!("The security group {group} cannot hold more addresses."),
            ),
            Cause::SubnetFull | Cause::NoBlock => Self::forbidden(
                "InvalidVSwitchId.IpNotEnough",
                "The specified vSwitch does not have enough IP addresses.",
            ),
            Cause::Outside(what) => Self::new(
                400,
                "InvalidIp.Address",
                format!("{what} is outside the vSwitch's block or reserved."),
            ),
            Cause::Taken(what) => {
                Self::forbidden("InvalidIp.IpAssigned", format!("{what} is in use already."))
            }
            Cause::Repeated(what) => {
                Self::new(400, "InvalidIp.IpRepeated", format!("{what} is given more than once."))
            }
            Cause::NoIpv6 => Self::forbidden(
                "InvalidVSwitch.Ipv6NotTurnOn",
                "IPv6 is not turned on for the vSwitch of the network interface.",
            ),
            Cause::Unassigned(what) => Self::forbidden(
                "InvalidIp.IpUnassigned",
                format!("{what} is not assigned to the network interface."),
            ),
            Cause::PrimaryAddress(_) => Self::forbidden(
                "InvalidOperation.PrimaryIpAddress",
                "The primary address of a network interface cannot be unassigned.",
            ),
        }
    }
}
