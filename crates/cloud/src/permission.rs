//! What the daemon's role must be allowed to do, made from what the daemon asks.
//!
//! Every operation and every read of [`crate::Cloud`] is one [`Ask`]; an operation that is added has no [`Ask`] until it is
//! written here, and does not compile. `manifests/policies` is generated from this table, and a node of the lab lives under it
//! with everything else denied.

use std::{collections::BTreeSet, net::IpAddr};

use ipnet::IpNet;
use tideway_model::Family;

use crate::CloudOp;

macro_rules! asks {
    ($($(#[doc = $what:literal])+ $name:ident = [$($ram:literal),+], [$($iam:literal),+];)+) => {
        /// One kind of question to the cloud.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Ask {
            $($(#[doc = $what])+ $name),+
        }

        impl Ask {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name),+];

            /// Actions of Alibaba Cloud, as RAM policies name them.
            pub fn ram(self) -> &'static [&'static str] {
                match self { $(Self::$name => &[$($ram),+]),+ }
            }

            /// Actions of AWS, as IAM policies name them.
            pub fn iam(self) -> &'static [&'static str] {
                match self { $(Self::$name => &[$($iam),+]),+ }
            }
        }
    };
}

asks! {
    /// [`crate::Cloud::instance`]: the instance and the blocks of its VPC.
    Instance = ["ecs:DescribeInstances", "vpc:DescribeVpcs"], ["ec2:DescribeInstances", "ec2:DescribeVpcs"];
    /// [`crate::Cloud::existing`].
    Existing = ["ecs:DescribeInstances"], ["ec2:DescribeInstances"];
    /// [`crate::Cloud::limits`].
    Limits = ["ecs:DescribeInstanceTypes"], ["ec2:DescribeInstanceTypes"];
    /// [`crate::Cloud::subnets`].
    Subnets = ["vpc:DescribeVSwitchAttributes"], ["ec2:DescribeSubnets"];
    /// [`crate::Cloud::enis`].
    Enis = ["ecs:DescribeNetworkInterfaces"], ["ec2:DescribeNetworkInterfaces"];
    /// [`CloudOp::Create`], with its tags.
    Create = ["ecs:CreateNetworkInterface"], ["ec2:CreateNetworkInterface", "ec2:CreateTags"];
    /// [`CloudOp::Attach`]; AWS is told apart that the ENI goes with its instance.
    Attach = ["ecs:AttachNetworkInterface"],
        ["ec2:AttachNetworkInterface", "ec2:ModifyNetworkInterfaceAttribute"];
    /// [`CloudOp::Detach`].
    Detach = ["ecs:DetachNetworkInterface"], ["ec2:DetachNetworkInterface"];
    /// [`CloudOp::Delete`].
    Delete = ["ecs:DeleteNetworkInterface"], ["ec2:DeleteNetworkInterface"];
    /// [`CloudOp::Assign`] of IPv4 addresses, and of prefixes.
    AssignV4 = ["ecs:AssignPrivateIpAddresses"], ["ec2:AssignPrivateIpAddresses"];
    /// [`CloudOp::Assign`] of IPv6 addresses, and of prefixes.
    AssignV6 = ["ecs:AssignIpv6Addresses"], ["ec2:AssignIpv6Addresses"];
    /// [`CloudOp::Unassign`] of IPv4 addresses, and of prefixes.
    UnassignV4 = ["ecs:UnassignPrivateIpAddresses"], ["ec2:UnassignPrivateIpAddresses"];
    /// [`CloudOp::Unassign`] of IPv6 addresses, and of prefixes.
    UnassignV6 = ["ecs:UnassignIpv6Addresses"], ["ec2:UnassignIpv6Addresses"];
}

impl CloudOp {
    /// What the operation asks of the cloud.
    pub fn ask(&self) -> Ask {
        match self {
            Self::Create(_) => Ask::Create,
            Self::Attach { .. } => Ask::Attach,
            Self::Detach { .. } => Ask::Detach,
            Self::Delete { .. } => Ask::Delete,
            Self::Assign { family, .. } | Self::AssignPrefixes { family, .. } => match family {
                Family::V4 => Ask::AssignV4,
                Family::V6 => Ask::AssignV6,
            },
            Self::Unassign { addresses, .. } => match addresses.first() {
                Some(IpAddr::V6(_)) => Ask::UnassignV6,
                _ => Ask::UnassignV4,
            },
            Self::UnassignPrefixes { prefixes, .. } => match prefixes.first() {
                Some(IpNet::V6(_)) => Ask::UnassignV6,
                _ => Ask::UnassignV4,
            },
            Self::Describe { .. } => Ask::Enis,
        }
    }
}

/// Every action of one cloud that the daemon may take, in order.
pub fn actions(of: fn(Ask) -> &'static [&'static str]) -> BTreeSet<&'static str> {
    Ask::ALL.iter().flat_map(|ask| of(*ask)).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The name that limiter, counters and errors have is one that a policy has: people look for it there.
    #[test]
    fn the_action_of_an_operation_is_in_both_policies() {
        let eni = tideway_model::EniId::try_from("eni-1").unwrap();
        let assign =
            |family| CloudOp::Assign { eni: eni.clone(), family, count: 1, token: "t".into() };
        for op in [assign(Family::V4), assign(Family::V6), CloudOp::Delete { eni: eni.clone() }] {
            let ends =
                |all: &[&str]| all.iter().any(|it| it.ends_with(&format!(":{}", op.action())));
            assert!(ends(op.ask().ram()) && ends(op.ask().iam()), "{op:?}");
        }
    }

    #[test]
    fn no_policy_has_a_wildcard_or_another_services_action() {
        for action in actions(Ask::ram).iter().chain(&actions(Ask::iam)) {
            let (service, name) = action.split_once(':').unwrap();
            assert!(["ecs", "vpc", "ec2"].contains(&service), "{action}");
            assert!(name.chars().all(|c| c.is_ascii_alphanumeric()), "{action}");
        }
    }
}
