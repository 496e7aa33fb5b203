//! How many pods the addresses of a node are enough for: what the kubelet's `maxPods` should be.
//!
//! The scheduler knows `maxPods` and devices, and no addresses. So `maxPods` tells it of addresses what it can: exactly where
//! all places for ENIs go to shared ones, else an upper bound, since each place may also go to one pod with a whole ENI.

use std::path::Path;

use serde::{Deserialize, Serialize};
use tideway_model::{Config, Family, IPV4_OF_PREFIX, IPV6_OF_PREFIX, PrefixMode, Provider};
use tideway_proto::node as pb;

use crate::CommandError;

/// What bounds the number of pods.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Capacity {
    /// Places for ENIs.
    pub(crate) adapters: u32,
    /// Pods on one shared ENI.
    pub(crate) pods_per_adapter: u32,
    /// Places kept for shared ENIs.
    pub(crate) min_shared: u32,
    /// Most shared ENIs.
    pub(crate) max_shared: Option<u32>,
    /// The other places are offered to exclusive pods.
    pub(crate) devices: bool,
}

/// `tideway maxpods -o json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct MaxPods {
    /// Instance type.
    pub(crate) instance_type: String,
    /// What the kubelet's `maxPods` should be.
    pub(crate) max_pods: u32,
    /// Pods that get an address or a whole ENI at most.
    pub(crate) addresses: u32,
    /// Pods on the host's network that are added.
    pub(crate) host_network_pods: u32,
    /// The node can always take so many; else it is an upper bound.
    pub(crate) exact: bool,
    /// Where the number comes from.
    pub(crate) why: String,
}

impl From<&pb::Capacity> for Capacity {
    fn from(c: &pb::Capacity) -> Self {
        Self {
            adapters: c.adapters,
            pods_per_adapter: c.pods_per_adapter,
            min_shared: c.min_shared,
            max_shared: c.max_shared,
            devices: c.devices,
        }
    }
}

impl Capacity {
    /// Most shared ENIs.
    fn shared(&self) -> u32 {
        self.max_shared.unwrap_or(u32::MAX).max(self.min_shared).min(self.adapters)
    }

    /// Pods with an address or an ENI at most.
    fn pods(&self) -> u32 {
        let others = if self.devices { self.adapters - self.shared() } else { 0 };
        self.shared().saturating_mul(self.pods_per_adapter).saturating_add(others)
    }

    /// Whether it can have so many at any time.
    fn exact(&self) -> bool {
        !self.devices || self.min_shared >= self.adapters
    }

    /// The whole answer.
    pub(crate) fn max_pods(&self, instance_type: &str, host_network: u32) -> MaxPods {
        let (shared, each) = (self.shared(), self.pods_per_adapter);
        let others = match self.adapters - shared {
            0 => String::new(),
            _ if !self.devices => String::new(),
            places => format!(", {places} places for pods with aliyun/eni"),
        };
        let kind = if self.exact() {
            "exact: all places go to shared ENIs"
        } else {
            "upper bound: each pod with aliyun/eni takes the place of a shared ENI"
        };
        let why = format!(
            "{shared} shared ENIs with {each} pods each{others}, {host_network} hostNetwork pods; {kind}"
        );
        MaxPods {
            instance_type: instance_type.to_owned(),
            max_pods: self.pods().saturating_add(host_network),
            addresses: self.pods(),
            host_network_pods: host_network,
            exact: self.exact(),
            why,
        }
    }
}

/// An answer of `DescribeInstanceTypes`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    instance_types: TypeList,
}

/// The list has a shape of its own in each cloud.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum TypeList {
    #[serde(rename_all = "PascalCase")]
    Aliyun {
        instance_type: Vec<AliyunType>,
    },
    Aws(Vec<AwsType>),
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct AliyunType {
    instance_type_id: String,
    eni_quantity: u32,
    eni_private_ip_address_quantity: u32,
    #[serde(default)]
    eni_ipv6_address_quantity: u32,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct AwsType {
    instance_type: String,
    network_info: AwsNetwork,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct AwsNetwork {
    maximum_network_interfaces: u32,
    ipv4_addresses_per_interface: u32,
    #[serde(default)]
    ipv6_addresses_per_interface: u32,
}

/// What either cloud says of a type.
struct TypeLimits {
    name: String,
    enis: u32,
    ipv4: u32,
    ipv6: u32,
}

impl TypeList {
    fn provider(&self) -> Provider {
        match self {
            Self::Aliyun { .. } => Provider::Aliyun,
            Self::Aws(_) => Provider::Aws,
        }
    }

    fn limits(self) -> Vec<TypeLimits> {
        let aliyun = |t: AliyunType| TypeLimits {
            name: t.instance_type_id,
            enis: t.eni_quantity,
            ipv4: t.eni_private_ip_address_quantity,
            ipv6: t.eni_ipv6_address_quantity,
        };
        let aws = |AwsType { instance_type, network_info: of }: AwsType| TypeLimits {
            name: instance_type,
            enis: of.maximum_network_interfaces,
            ipv4: of.ipv4_addresses_per_interface,
            ipv6: of.ipv6_addresses_per_interface,
        };
        match self {
            Self::Aliyun { instance_type } => instance_type.into_iter().map(aliyun).collect(),
            Self::Aws(types) => types.into_iter().map(aws).collect(),
        }
    }
}

impl Capacity {
    /// Of an instance type, from the cloud's answer about it and the configuration that nodes of it will have.
    pub(crate) fn of_type(name: &str, answer: &str, config: &Config) -> Result<Self, CommandError> {
        let answer: Answer = serde_json::from_str(answer).map_err(|error| {
            CommandError::Input(format!("this is no answer of DescribeInstanceTypes: {error}"))
        })?;
        let kept = u32::from(!answer.instance_types.provider().pods_use_primary_addresses());
        let types = answer.instance_types.limits();
        let limits = types.iter().find(|t| t.name == name).ok_or_else(|| {
            let known: Vec<&str> = types.iter().map(|t| t.name.as_str()).collect();
            CommandError::Input(format!("it does not tell of {name}, only of {known:?}"))
        })?;
        let prefixes = config.pool.prefix_mode == PrefixMode::Preferred;
        let of = |family: &Family| match family {
            Family::V4 if prefixes => {
                let secondary = limits.ipv4.saturating_sub(1);
                limits
                    .ipv4
                    .min(1)
                    .saturating_sub(kept)
                    .saturating_add(secondary.saturating_mul(IPV4_OF_PREFIX.into()))
            }
            Family::V4 => limits.ipv4.saturating_sub(kept),
            Family::V6 if prefixes && limits.ipv6 > 0 => IPV6_OF_PREFIX.into(),
            Family::V6 => limits.ipv6,
        };
        Ok(Self {
            adapters: limits.enis.saturating_sub(1),
            pods_per_adapter: config.families.list().iter().map(of).min().unwrap_or(0),
            min_shared: config.shared.min_enis.into(),
            max_shared: config.shared.max_enis.map(Into::into),
            devices: !config.kubernetes.device_plugin_dir.is_empty(),
        })
    }
}

/// The configuration that is there, else the defaults.
pub(crate) fn config(path: &str) -> Result<Config, CommandError> {
    let path = Path::new(path);
    let config =
        if path.exists() { Config::load(path) } else { Config::parse("cluster: none\n", "") };
    config.map_err(|error| CommandError::Input(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn capacity() -> Capacity {
        Capacity {
            adapters: 3,
            pods_per_adapter: 10,
            min_shared: 1,
            max_shared: None,
            devices: true,
        }
    }

    #[test]
    fn where_places_may_go_to_exclusive_pods_the_number_is_an_upper_bound() {
        let told = capacity().max_pods("t", 4);
        assert_eq!((told.max_pods, told.addresses, told.exact), (34, 30, false));
        assert!(told.why.contains("upper bound"), "{}", told.why);
    }

    #[test]
    fn where_all_places_are_shared_it_is_exact() {
        for all_shared in
            [Capacity { min_shared: 3, ..capacity() }, Capacity { devices: false, ..capacity() }]
        {
            let told = all_shared.max_pods("t", 0);
            assert_eq!((told.max_pods, told.exact), (30, true));
        }
    }

    #[test]
    fn places_that_shared_enis_may_not_have_carry_one_pod_each_or_none() {
        let bounded = Capacity { max_shared: Some(1), ..capacity() };
        assert_eq!(bounded.max_pods("t", 0).max_pods, 12);
        let without = Capacity { devices: false, ..bounded };
        assert_eq!((without.max_pods("t", 0).max_pods, without.exact()), (10, true));
    }

    #[test]
    fn a_type_is_read_from_the_answer_of_the_cloud_and_another_one_is_refused() {
        let answer = r#"{"InstanceTypes": {"InstanceType": [{"InstanceTypeId": "ecs.g6.xlarge", "EniQuantity": 3,
            "EniPrivateIpAddressQuantity": 10, "EniIpv6AddressQuantity": 1, "CpuCoreCount": 4}]}}"#;
        let v4 = Config::parse("cluster: c\n", "").unwrap();
        let c = Capacity::of_type("ecs.g6.xlarge", answer, &v4).unwrap();
        assert_eq!((c.adapters, c.pods_per_adapter), (2, 10));
        let dual = Config::parse("cluster: c\nfamilies: DualStack\n", "").unwrap();
        let c = Capacity::of_type("ecs.g6.xlarge", answer, &dual).unwrap();
        assert_eq!(c.pods_per_adapter, 1, "one IPv6 address is all that an ENI of this type has");
        let error = Capacity::of_type("ecs.g7.large", answer, &v4).unwrap_err().to_string();
        assert!(error.contains("ecs.g7.large") && error.contains("ecs.g6.xlarge"), "{error}");
        let error = Capacity::of_type("ecs.g6.xlarge", "[]", &v4).unwrap_err().to_string();
        assert!(error.contains("DescribeInstanceTypes"), "{error}");
    }

    #[test]
    fn a_prefix_in_the_place_of_each_secondary_address_carries_sixteen_pods() {
        let answer = r#"{"InstanceTypes": {"InstanceType": [{"InstanceTypeId": "ecs.g6.xlarge", "EniQuantity": 3,
            "EniPrivateIpAddressQuantity": 10, "EniIpv6AddressQuantity": 1, "CpuCoreCount": 4}]}}"#;
        for families in ["IPv4", "DualStack"] {
            let text =
                format!("cluster: c\nfamilies: {families}\npool: {{prefixMode: preferred}}\n");
            let config = Config::parse(&text, "").unwrap();
            let c = Capacity::of_type("ecs.g6.xlarge", answer, &config).unwrap();
            assert_eq!(c.pods_per_adapter, 1 + 9 * 16, "{families}");
        }
    }

    #[test]
    fn on_aws_the_primary_address_of_each_eni_carries_no_pod() {
        let answer = r#"{"InstanceTypes": [{"InstanceType": "m5.large", "Hypervisor": "nitro", "NetworkInfo": {
            "MaximumNetworkInterfaces": 3, "Ipv4AddressesPerInterface": 10, "Ipv6AddressesPerInterface": 10}}]}"#;
        let of = |families| {
            let config = Config::parse(&format!("cluster: c\nfamilies: {families}\n"), "").unwrap();
            Capacity::of_type("m5.large", answer, &config).unwrap()
        };
        assert_eq!((of("IPv4").adapters, of("IPv4").pods_per_adapter), (2, 9));
        assert_eq!(of("IPv6").pods_per_adapter, 10);
    }
}
