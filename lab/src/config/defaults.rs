//! What a lab is when nothing is said: one control-plane instance and two workers in two subnets, on either cloud.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use ipnet::{Ipv4Net, Ipv6Net};

use super::{
    CloudKind, CredentialConfig, DirectionConfig, InstanceConfig, LabConfig, MetadataConfig,
    PolicyConfig, ProtocolConfig, QuotaConfig, RuleConfig, SecurityGroupConfig, VSwitchConfig,
    VpcConfig, default_groups,
};
use crate::cloud::catalog::TypeOverride;
use crate::cloud::latency::LatencyMode;

/// Region, zone and instance type of a cloud's default lab.
struct Place {
    region: &'static str,
    zone: &'static str,
    instance_type: &'static str,
}

const ALIYUN: Place =
    Place { region: "cn-hangzhou", zone: "cn-hangzhou-h", instance_type: "ecs.g6.xlarge" };
const AWS: Place = Place { region: "us-east-1", zone: "us-east-1a", instance_type: "m7i.large" };

/// The type of an instance whose type is not given, until [`LabConfig::fitted`] sees which cloud it is on.
pub(super) fn demo_type() -> String {
    ALIYUN.instance_type.to_owned()
}

impl Default for LabConfig {
    fn default() -> Self {
        Self::of(CloudKind::Aliyun)
    }
}

impl LabConfig {
    /// The default lab of a cloud.
    pub fn of(cloud: CloudKind) -> Self {
        let place = match cloud {
            CloudKind::Aliyun => ALIYUN,
            CloudKind::Aws => AWS,
        };
        let subnet = |name: &str, third: u8| VSwitchConfig {
            name: name.to_owned(),
            zone: place.zone.to_owned(),
            ipv4: Ipv4Net::new_assert(Ipv4Addr::new(10, 0, third, 0), 24),
            ipv6: Some(Ipv6Net::new_assert([0xfd00, 0x10, 0, third.into(), 0, 0, 0, 0].into(), 64)),
        };
        let instance = |name: &str| InstanceConfig {
            name: name.to_owned(),
            instance_type: place.instance_type.to_owned(),
            vswitch: "a".to_owned(),
            security_groups: default_groups(),
            metadata: MetadataConfig::default(),
            sysctls: BTreeMap::new(),
        };
        Self {
            cloud,
            id: "lab".to_owned(),
            region: place.region.to_owned(),
            vpc: VpcConfig {
                ipv4: Ipv4Net::new_assert(Ipv4Addr::new(10, 0, 0, 0), 16),
                ipv6: Some(Ipv6Net::new_assert([0xfd00, 0x10, 0, 0, 0, 0, 0, 0].into(), 56)),
            },
            // One zone: an ENI attaches only within its zone, and both subnets shall serve every instance.
            vswitches: vec![subnet("a", 0), subnet("b", 1)],
            security_groups: vec![SecurityGroupConfig {
                name: "default".to_owned(),
                inner: PolicyConfig::Accept,
                rules: vec![RuleConfig {
                    direction: DirectionConfig::Ingress,
                    protocol: ProtocolConfig::All,
                    ports: None,
                    cidr: None,
                    group: None,
                    policy: PolicyConfig::Accept,
                    priority: 1,
                }],
            }],
            instances: vec![instance("cp"), instance("n1"), instance("n2")],
            credentials: vec![CredentialConfig {
                id: "testid".to_owned(),
                secret: "testsecret".to_owned(),
                security_token: None,
            }],
            ram_role: "TidewayNodeRole".to_owned(),
            role_policy: None,
            ram_ttl_seconds: 6 * 3600,
            latency: LatencyMode::Real,
            type_overrides: overrides(cloud),
            quotas: QuotaConfig::default(),
            seed: 1,
        }
    }

    /// What was left as another cloud has it becomes as this one has it: a file names only what it cares for, and the
    /// command line may change the cloud of a file.
    #[must_use]
    pub fn fitted(mut self) -> Self {
        let mine = Self::of(self.cloud);
        let other = Self::of(match self.cloud {
            CloudKind::Aliyun => CloudKind::Aws,
            CloudKind::Aws => CloudKind::Aliyun,
        });
        fit(&mut self.region, &other.region, mine.region);
        fit(&mut self.vswitches, &other.vswitches, mine.vswitches);
        fit(&mut self.type_overrides, &other.type_overrides, mine.type_overrides);
        let (theirs, ours) = (other.instances.first(), mine.instances.first());
        if let (Some(theirs), Some(ours)) = (theirs, ours) {
            for instance in &mut self.instances {
                let default = ours.instance_type.clone();
                fit(&mut instance.instance_type, &theirs.instance_type, default);
            }
        }
        self
    }
}

fn fit<T: PartialEq>(value: &mut T, theirs: &T, ours: T) {
    if value == theirs {
        *value = ours;
    }
}

/// Published IPv6 limit of the g6 family is one address per ENI: no dual stack for shared pods. The lab lifts it for the
/// demo's type, so that one cheap type serves both families.
fn overrides(cloud: CloudKind) -> BTreeMap<String, TypeOverride> {
    match cloud {
        CloudKind::Aliyun => BTreeMap::from([(
            demo_type(),
            TypeOverride { ipv6_per_eni: Some(10), ..TypeOverride::default() },
        )]),
        CloudKind::Aws => BTreeMap::new(),
    }
}
