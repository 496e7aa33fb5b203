//! What a lab is made of. The file is YAML; unknown keys are refused. Everything has a default, so that an empty file
//! gives one control-plane instance and two workers.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

use crate::cloud::catalog::TypeOverride;
use crate::cloud::latency::LatencyMode;
use crate::cloud::policy::Policy;

mod defaults;

/// A lab: one VPC with what is in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct LabConfig {
    /// Whose VPC this is: whose APIs, metadata service, limits and habits. What is left out below is as that cloud has it.
    pub cloud: CloudKind,
    /// 1..=4 characters of `[a-z0-9]`; prefixes namespaces and names the state directory.
    pub id: String,
    /// Region of everything.
    pub region: String,
    /// Blocks of the VPC.
    pub vpc: VpcConfig,
    /// Subnets; each in one zone.
    pub vswitches: Vec<VSwitchConfig>,
    /// Security groups.
    pub security_groups: Vec<SecurityGroupConfig>,
    /// Instances, made with their primary ENI at the start.
    pub instances: Vec<InstanceConfig>,
    /// Key pairs that the APIs accept; the first one is told in `lab.json`.
    pub credentials: Vec<CredentialConfig>,
    /// Name of the role (RAM or IAM) whose credentials the metadata service gives.
    pub ram_role: String,
    /// Policy of that role, to which every call is held, whoever makes it; without one everything is allowed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role_policy: Option<Policy>,
    /// Seconds that such credentials live.
    pub ram_ttl_seconds: u64,
    /// How long calls and state changes take.
    pub latency: LatencyMode,
    /// Changed limits of instance types.
    pub type_overrides: BTreeMap<String, TypeOverride>,
    /// Account limits.
    pub quotas: QuotaConfig,
    /// Seed of identifiers and latencies; a fixed one replays a run.
    pub seed: u64,
}

/// A cloud that the lab can be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum CloudKind {
    /// Alibaba Cloud: ECS and VPC.
    #[default]
    Aliyun,
    /// AWS: EC2.
    Aws,
}

/// Blocks of the VPC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct VpcConfig {
    /// IPv4 block.
    pub ipv4: Ipv4Net,
    /// IPv6 block.
    #[serde(default)]
    pub ipv6: Option<Ipv6Net>,
}

/// A subnet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct VSwitchConfig {
    /// Name that instances refer to.
    pub name: String,
    /// Zone, such as `cn-hangzhou-h` or `us-east-1a`.
    pub zone: String,
    /// IPv4 block inside the VPC's.
    pub ipv4: Ipv4Net,
    /// IPv6 block inside the VPC's.
    #[serde(default)]
    pub ipv6: Option<Ipv6Net>,
}

/// A security group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SecurityGroupConfig {
    /// Name that instances refer to.
    pub name: String,
    /// Whether members reach each other without a rule.
    #[serde(default = "accept")]
    pub inner: PolicyConfig,
    /// Rules; without any, members may open connections and nobody else may towards them.
    #[serde(default)]
    pub rules: Vec<RuleConfig>,
}

/// One rule; without `cidr` and `group` it holds for everybody.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RuleConfig {
    /// Seen from the member.
    pub direction: DirectionConfig,
    /// Protocol.
    #[serde(default)]
    pub protocol: ProtocolConfig,
    /// `80` or `8000-8100`; every port when absent.
    #[serde(default)]
    pub ports: Option<String>,
    /// The other side as a block.
    #[serde(default)]
    pub cidr: Option<IpNet>,
    /// The other side as the name of a group.
    #[serde(default)]
    pub group: Option<String>,
    /// What happens.
    #[serde(default = "accept")]
    pub policy: PolicyConfig,
    /// 1 (first) to 100.
    #[serde(default = "first")]
    pub priority: u8,
}

/// Direction of a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum DirectionConfig {
    /// Towards the member.
    Ingress,
    /// From the member.
    Egress,
}

/// Protocol of a rule.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ProtocolConfig {
    /// Every protocol.
    #[default]
    All,
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// ICMP of both families.
    Icmp,
}

/// What a rule does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum PolicyConfig {
    /// Let through.
    Accept,
    /// Drop silently.
    Drop,
}

/// An instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct InstanceConfig {
    /// Name; the namespace is `<lab>-<name>`.
    pub name: String,
    /// Instance type.
    #[serde(rename = "type", default = "defaults::demo_type")]
    pub instance_type: String,
    /// Name of the vSwitch of the primary ENI.
    pub vswitch: String,
    /// Names of the groups of the primary ENI.
    #[serde(default = "default_groups")]
    pub security_groups: Vec<String>,
    /// Metadata service.
    #[serde(default)]
    pub metadata: MetadataConfig,
    /// Sysctls on top of the hostile defaults.
    #[serde(default)]
    pub sysctls: BTreeMap<String, String>,
}

/// Metadata service of an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct MetadataConfig {
    /// Whether a token is needed.
    pub http_tokens: HttpTokens,
    /// AWS only: hops that the answer to a request for a token may go, 1 to 64. With 1 it reaches the instance and no pod
    /// behind a hop in it.
    pub hop_limit: u8,
}

impl Default for MetadataConfig {
    fn default() -> Self {
        Self { http_tokens: HttpTokens::default(), hop_limit: 1 }
    }
}

/// Mode of the metadata service.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum HttpTokens {
    /// Works with and without a token.
    #[default]
    Optional,
    /// 401 without a token.
    Required,
}

/// A key pair.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CredentialConfig {
    /// Access key id.
    pub id: String,
    /// Access key secret.
    pub secret: String,
    /// Makes it an STS key, valid only together with this token.
    #[serde(default)]
    pub security_token: Option<String>,
}

/// Limits of the account; the defaults are large enough to never be met by chance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct QuotaConfig {
    /// Secondary ENIs in the region.
    pub enis: u32,
    /// Private IPv4 addresses in a security group.
    pub addresses_per_group: u32,
    /// Private IPv4 addresses in the VPC.
    pub addresses_per_vpc: u32,
}

impl Default for QuotaConfig {
    fn default() -> Self {
        Self { enis: 1000, addresses_per_group: 6000, addresses_per_vpc: 60_000 }
    }
}

fn accept() -> PolicyConfig {
    PolicyConfig::Accept
}
fn first() -> u8 {
    1
}
fn default_groups() -> Vec<String> {
    vec!["default".to_owned()]
}

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("the lab configuration {path} cannot be read: check the path")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file is not what is expected.
    #[error("the lab configuration {path} is not usable: {said}")]
    Parse {
        /// The file.
        path: PathBuf,
        /// Line, key and cause.
        said: String,
    },
    /// A value does not fit the others.
    #[error("the lab configuration is not usable: {key}: {why}")]
    Value {
        /// Where.
        key: String,
        /// What is wrong and what would be right.
        why: String,
    },
}

impl LabConfig {
    /// Reads and checks a YAML file.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        let config: Self = serde_saphyr::from_str(&text)
            .map_err(|e| ConfigError::Parse { path: path.to_owned(), said: e.to_string() })?;
        let config = config.fitted();
        config.check()?;
        Ok(config)
    }

    /// Whether all parts fit together.
    pub fn check(&self) -> Result<(), ConfigError> {
        let bad = |key: &str, why: String| Err(ConfigError::Value { key: key.to_owned(), why });
        check_id(&self.id)?;
        for vswitch in &self.vswitches {
            let key = format!("vswitches.{}", vswitch.name);
            if !self.vpc.ipv4.contains(&vswitch.ipv4) {
                return bad(
                    &key,
                    format!("{} is not inside the VPC {}", vswitch.ipv4, self.vpc.ipv4),
                );
            }
            if vswitch.ipv4.prefix_len() > 29 {
                return bad(&key, format!("{} is smaller than a /29", vswitch.ipv4));
            }
            if let Some(v6) = vswitch.ipv6
                && (!self.vpc.ipv6.is_some_and(|all| all.contains(&v6)) || v6.prefix_len() != 64)
            {
                return bad(&key, format!("{v6} is not a /64 inside the VPC's IPv6 block"));
            }
            let twins = self.vswitches.iter().filter(|other| {
                other.name == vswitch.name
                    || other.ipv4.contains(&vswitch.ipv4)
                    || other.ipv6.is_some() && other.ipv6 == vswitch.ipv6
            });
            if twins.count() > 1 {
                return bad(&key, "name or block is used twice".to_owned());
            }
        }
        for instance in &self.instances {
            let key = format!("instances.{}", instance.name);
            if !self.vswitches.iter().any(|v| v.name == instance.vswitch) {
                return bad(&key, format!("vswitch {} is not listed", instance.vswitch));
            }
            if !(1..=64).contains(&instance.metadata.hop_limit) {
                return bad(&key, "metadata.hopLimit is not 1 to 64".to_owned());
            }
            if instance.security_groups.is_empty() {
                return bad(&key, "needs at least one security group".to_owned());
            }
            for group in &instance.security_groups {
                if !self.security_groups.iter().any(|g| g.name == *group) {
                    return bad(&key, format!("security group {group} is not listed"));
                }
            }
            if self.instances.iter().filter(|other| other.name == instance.name).count() > 1 {
                return bad(&key, "name is used twice".to_owned());
            }
        }
        if self.credentials.is_empty() {
            return bad("credentials", "give at least one key pair".to_owned());
        }
        Ok(())
    }
}

/// Whether `id` can prefix namespaces and link names.
pub fn check_id(id: &str) -> Result<(), ConfigError> {
    let fits = (1..=4).contains(&id.len())
        && id.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    if fits {
        return Ok(());
    }
    Err(ConfigError::Value {
        key: "id".to_owned(),
        why: format!("{id:?} is not 1 to 4 characters of a-z and 0-9"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_configuration_is_usable() {
        LabConfig::default().check().unwrap();
    }

    #[test]
    fn unknown_key_is_refused_with_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lab.yaml");
        std::fs::write(&path, "region: cn-hangzhou\ninstanzes: []\n").unwrap();
        let said = LabConfig::read(&path).unwrap_err().to_string();
        assert!(said.contains("instanzes"), "{said}");
    }

    #[test]
    fn instance_on_an_unlisted_vswitch_is_refused() {
        let mut config = LabConfig::default();
        config.instances[0].vswitch = "nowhere".to_owned();
        assert!(config.check().unwrap_err().to_string().contains("nowhere"));
    }

    #[test]
    fn what_a_file_leaves_out_is_as_its_cloud_has_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lab.yaml");
        let text = "cloud: aws\nregion: eu-west-1\ninstances: [{name: n1, vswitch: a}]\n";
        std::fs::write(&path, text).unwrap();
        let config = LabConfig::read(&path).unwrap();
        assert_eq!(config.region, "eu-west-1", "what the file says stays");
        assert_eq!(config.vswitches, LabConfig::of(CloudKind::Aws).vswitches);
        assert_eq!(config.instances[0].instance_type, "m7i.large");
        assert!(config.type_overrides.is_empty(), "of the other cloud's type");
        let mut back = config;
        back.cloud = CloudKind::Aliyun;
        assert_eq!(back.fitted().instances[0].instance_type, "ecs.g6.xlarge");
    }
}
