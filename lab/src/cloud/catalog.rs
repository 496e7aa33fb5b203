//! Instance types and their limits, one file for each cloud.
//!
//! The files hold published figures (instance family pages, answers of `DescribeInstanceTypes`). Trunk figures
//! (`EniTotalQuantity`, `EniTrunkSupported`) are filled in only for types for which a real answer was seen. A field that
//! a cloud does not have stays at its default.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::config::CloudKind;

/// One instance type, field names as in `DescribeInstanceTypes` of ECS.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields, default)]
pub struct InstanceType {
    /// `ecs.g6.xlarge`, `m7i.large`.
    pub instance_type_id: String,
    /// `ecs.g6`.
    pub instance_type_family: String,
    /// `General-purpose`.
    pub instance_category: String,
    /// `EnterpriseLevel`.
    pub instance_family_level: String,
    /// `X86`.
    pub cpu_architecture: String,
    /// vCPUs.
    pub cpu_core_count: u32,
    /// GiB.
    pub memory_size: f64,
    /// ENIs including the primary one.
    pub eni_quantity: u32,
    /// ENIs including members of a trunk.
    pub eni_total_quantity: u32,
    /// Can be the host of a trunk ENI.
    pub eni_trunk_supported: bool,
    /// IPv4 addresses per ENI, the primary address included.
    pub eni_private_ip_address_quantity: u32,
    /// IPv6 addresses per ENI.
    pub eni_ipv6_address_quantity: u32,
    /// RDMA interfaces.
    pub eri_quantity: u32,
    /// Physical network cards; 0 = the type has no such notion.
    pub network_card_quantity: u32,
    /// Queues of the primary ENI.
    pub primary_eni_queue_number: u32,
    /// Queues of a secondary ENI.
    pub secondary_eni_queue_number: u32,
    /// Upper bound of queues per ENI.
    pub maximum_queue_number_per_eni: u32,
    /// Queues of all ENIs together.
    pub total_eni_queue_quantity: u32,
    /// kbit/s in.
    pub instance_bandwidth_rx: u64,
    /// kbit/s out.
    pub instance_bandwidth_tx: u64,
    /// Packets per second in.
    pub instance_pps_rx: u64,
    /// Packets per second out.
    pub instance_pps_tx: u64,
    /// ENIs that each network card takes; AWS only.
    #[serde(skip_serializing)]
    pub eni_quantity_of_cards: Vec<u32>,
    /// `nitro`, `xen`, or nothing for a machine without one; AWS only.
    #[serde(skip_serializing)]
    pub hypervisor: String,
    /// `Up to 12.5 Gigabit`; AWS only.
    #[serde(skip_serializing)]
    pub network_performance: String,
    /// Still offered to new customers; AWS only.
    #[serde(skip_serializing)]
    pub current_generation: bool,
}

/// Changes to a type for one lab: what is given replaces the published figure.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TypeOverride {
    /// ENIs including the primary one.
    pub eni_quantity: Option<u32>,
    /// IPv4 addresses per ENI.
    pub ipv4_per_eni: Option<u32>,
    /// IPv6 addresses per ENI.
    pub ipv6_per_eni: Option<u32>,
}

/// All types that the lab knows, by id.
#[derive(Debug, Clone)]
pub struct Catalog(BTreeMap<String, InstanceType>);

/// The type file or an override does not fit.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// The built-in file is broken.
    #[error("a built-in list of instance types cannot be read; repair the files in lab/src/data")]
    BuiltIn(#[source] serde_json::Error),
    /// An override names a type that is not listed.
    #[error("instance type {0} is not known; use a listed one (`tideway-lab types`)")]
    UnknownType(String),
}

impl Catalog {
    /// Reads the built-in file of a cloud and lays `overrides` over it.
    pub fn load(
        cloud: CloudKind,
        overrides: &BTreeMap<String, TypeOverride>,
    ) -> Result<Self, CatalogError> {
        let file = match cloud {
            CloudKind::Aliyun => include_str!("../data/instance-types.json"),
            CloudKind::Aws => include_str!("../data/instance-types-aws.json"),
        };
        let types: Vec<InstanceType> = serde_json::from_str(file).map_err(CatalogError::BuiltIn)?;
        let mut all: BTreeMap<String, InstanceType> =
            types.into_iter().map(|t| (t.instance_type_id.clone(), t)).collect();
        for (id, change) in overrides {
            let Some(found) = all.get_mut(id) else {
                return Err(CatalogError::UnknownType(id.clone()));
            };
            let take = |field: &mut u32, value: Option<u32>| {
                if let Some(value) = value {
                    *field = value;
                }
            };
            take(&mut found.eni_quantity, change.eni_quantity);
            take(&mut found.eni_private_ip_address_quantity, change.ipv4_per_eni);
            take(&mut found.eni_ipv6_address_quantity, change.ipv6_per_eni);
            found.eni_total_quantity = found.eni_total_quantity.max(found.eni_quantity);
            if let ([card], Some(enis)) =
                (found.eni_quantity_of_cards.as_mut_slice(), change.eni_quantity)
            {
                *card = enis;
            }
        }
        Ok(Self(all))
    }

    /// The type with this id.
    pub fn get(&self, id: &str) -> Option<&InstanceType> {
        self.0.get(id)
    }

    /// All types in the order of their ids.
    pub fn iter(&self) -> impl Iterator<Item = &InstanceType> {
        self.0.values()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn demo_type_has_the_published_limits() {
        let catalog = Catalog::load(CloudKind::Aliyun, &BTreeMap::new()).unwrap();
        assert!(catalog.iter().count() >= 20);
        let g6 = catalog.get("ecs.g6.xlarge").unwrap();
        assert_eq!((g6.eni_quantity, g6.eni_private_ip_address_quantity), (3, 10));
        assert_eq!(g6.eni_ipv6_address_quantity, 1, "published; dual stack needs an override");
        let big = catalog.get("ecs.ebmg7.32xlarge").unwrap();
        assert!((big.eni_quantity - 1) * big.eni_private_ip_address_quantity >= 250);
    }

    #[test]
    fn override_of_an_unknown_type_is_refused() {
        let overrides = BTreeMap::from([("ecs.none".to_owned(), TypeOverride::default())]);
        let loaded = Catalog::load(CloudKind::Aliyun, &overrides);
        assert!(matches!(loaded, Err(CatalogError::UnknownType(_))));
    }

    #[test]
    fn cards_of_every_aws_type_take_all_its_enis() {
        let catalog = Catalog::load(CloudKind::Aws, &BTreeMap::new()).unwrap();
        assert!(catalog.iter().count() >= 20);
        for known in catalog.iter() {
            let cards = &known.eni_quantity_of_cards;
            assert_eq!(cards.iter().sum::<u32>(), known.eni_quantity, "{}", known.instance_type_id);
            let number = u32::try_from(cards.len()).unwrap();
            assert_eq!(number, known.network_card_quantity, "{}", known.instance_type_id);
            assert!(known.eni_private_ip_address_quantity > 0);
        }
        let p4d = catalog.get("p4d.24xlarge").unwrap();
        assert_eq!((p4d.eni_quantity, p4d.network_card_quantity), (60, 4));
        let change = TypeOverride { eni_quantity: Some(2), ..TypeOverride::default() };
        let overrides = BTreeMap::from([("m7i.large".to_owned(), change)]);
        let catalog = Catalog::load(CloudKind::Aws, &overrides).unwrap();
        assert_eq!(catalog.get("m7i.large").unwrap().eni_quantity_of_cards, [2]);
    }
}
