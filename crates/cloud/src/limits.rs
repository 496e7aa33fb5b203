//! Limits of instance types, for the hour in which the cloud does not tell them.
//!
//! The cloud's word comes first, then that of the node's last run; this table is for the first start of a node while the API
//! is away. It need not be whole: a type that is not here waits for the API. Figures as published (instance family pages of
//! Alibaba Cloud; "maximum IP addresses per network interface" of AWS); a test holds them against the lab's.

use tideway_model::Limits;

/// Type, ENIs, IPv4 and IPv6 addresses of each, members of a trunk (0: no trunk).
#[rustfmt::skip]
const TYPES: &[(&str, u16, u16, u16, u16)] = &[
    // Alibaba Cloud.
    ("ecs.g6.large", 2, 6, 1, 0),
    ("ecs.g6.xlarge", 3, 10, 1, 0),
    ("ecs.g6.2xlarge", 4, 10, 1, 0),
    ("ecs.g6.3xlarge", 6, 10, 1, 0),
    ("ecs.g6.4xlarge", 8, 20, 1, 0),
    ("ecs.g6.6xlarge", 8, 20, 1, 0),
    ("ecs.g6.8xlarge", 8, 20, 1, 0),
    ("ecs.g6.13xlarge", 7, 20, 1, 0),
    ("ecs.g6.26xlarge", 15, 20, 1, 0),
    ("ecs.g7.large", 3, 6, 6, 0),
    ("ecs.g7.xlarge", 4, 15, 15, 16),
    ("ecs.g7.2xlarge", 4, 15, 15, 0),
    ("ecs.g7.3xlarge", 8, 15, 15, 0),
    ("ecs.g7.4xlarge", 8, 30, 30, 0),
    ("ecs.g7.6xlarge", 8, 30, 30, 0),
    ("ecs.g7.8xlarge", 8, 30, 30, 0),
    ("ecs.g7.16xlarge", 8, 30, 30, 0),
    ("ecs.g7.32xlarge", 15, 30, 30, 0),
    ("ecs.g7h.large", 3, 6, 6, 0),
    ("ecs.g7h.xlarge", 4, 10, 10, 0),
    ("ecs.g7h.2xlarge", 4, 10, 10, 0),
    ("ecs.g7h.4xlarge", 8, 30, 30, 0),
    ("ecs.g7h.8xlarge", 8, 30, 30, 0),
    ("ecs.g7h.16xlarge", 8, 30, 30, 0),
    ("ecs.u1-c1m4.xlarge", 3, 10, 1, 3),
    ("ecs.ebmg7.32xlarge", 32, 20, 20, 0),
    // AWS.
    ("t2.micro", 2, 2, 2, 0),
    ("t3.small", 3, 4, 4, 0),
    ("t3.medium", 3, 6, 6, 0),
    ("t3.large", 3, 12, 12, 0),
    ("t3.xlarge", 4, 15, 15, 0),
    ("t4g.medium", 3, 6, 6, 0),
    ("m4.large", 2, 10, 10, 0),
    ("m5.large", 3, 10, 10, 0),
    ("m5.xlarge", 4, 15, 15, 0),
    ("m5.2xlarge", 4, 15, 15, 0),
    ("m5.4xlarge", 8, 30, 30, 0),
    ("m5.8xlarge", 8, 30, 30, 0),
    ("m5.24xlarge", 15, 50, 50, 0),
    ("m6i.large", 3, 10, 10, 0),
    ("m6g.xlarge", 4, 15, 15, 0),
    ("m7i.large", 3, 10, 10, 0),
    ("m7i.xlarge", 4, 15, 15, 0),
    ("m7g.2xlarge", 4, 15, 15, 0),
    ("c5.large", 3, 10, 10, 0),
    ("c5.xlarge", 4, 15, 15, 0),
    ("c5.4xlarge", 8, 30, 30, 0),
    ("c5.18xlarge", 15, 50, 50, 0),
    ("c5n.18xlarge", 15, 50, 50, 0),
    ("c6i.large", 3, 10, 10, 0),
    ("c6i.32xlarge", 15, 50, 50, 0),
    ("c7g.large", 3, 10, 10, 0),
    ("c8g.large", 3, 10, 10, 0),
    ("r5.large", 3, 10, 10, 0),
    ("r6i.xlarge", 4, 15, 15, 0),
    ("r7i.2xlarge", 4, 15, 15, 0),
    ("i3.large", 3, 10, 10, 0),
    ("g4dn.xlarge", 3, 10, 10, 0),
    ("p4d.24xlarge", 60, 50, 50, 0),
    ("p5.48xlarge", 64, 50, 50, 0),
    ("trn1.32xlarge", 40, 50, 50, 0),
    ("hpc7a.96xlarge", 4, 50, 50, 0),
    ("m5.metal", 15, 50, 50, 0),
];

/// What is known of a type without asking.
pub fn known_limits(instance_type: &str) -> Option<Limits> {
    let (_, enis, ipv4_per_eni, ipv6_per_eni, members) =
        *TYPES.iter().find(|(name, ..)| *name == instance_type)?;
    Some(Limits { enis, ipv4_per_eni, ipv6_per_eni, trunk: members > 0, members })
}

/// Types of the table.
pub fn known_types() -> impl Iterator<Item = &'static str> {
    TYPES.iter().map(|(name, ..)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_stands_in_the_table_once_and_another_one_is_not_guessed() {
        let mut all: Vec<_> = known_types().collect();
        all.sort_unstable();
        assert!(all.windows(2).all(|pair| pair[0] != pair[1]), "{all:?}");
        assert_eq!(known_limits("ecs.g6.xlarge").unwrap().slots(), 2);
        assert_eq!(known_limits("ecs.g99.xlarge"), None);
    }
}
