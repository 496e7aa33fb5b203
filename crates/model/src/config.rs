//! The daemon's configuration file (`/etc/tideway/tidewayd.yaml`) and its validation.
//!
//! What shows to be wrong only when the cloud has been asked is refused like the rest ([`Config::refuse`]).

use std::{path::Path, time::Duration};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::{ConfigError, ConfigFile, Families, SecurityGroupId, SubnetId};

mod cloud;
mod paths;
mod pool;

pub use cloud::{CloudConfig, Provider};
pub use paths::{KubernetesConfig, PathsConfig};
pub use pool::{PoolConfig, PrefixMode};

/// A key, and why its value is refused.
type Refusal = (&'static str, String);

/// The whole file. Every key but `cluster` has a default.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Config {
    /// Name of the cluster, 1 to 63 letters, digits, '-', '_' or '.': goes into ENI tags, so that two clusters in one account
    /// never touch each other's ENIs.
    pub cluster: String,
    /// Name of the Kubernetes node; default: the host name.
    #[serde(default)]
    pub node_name: Option<String>,
    /// The families that every pod gets.
    #[serde(default = "default_families")]
    pub families: Families,
    /// The cloud.
    #[serde(default)]
    pub cloud: CloudConfig,
    /// ENIs that we create.
    #[serde(default)]
    pub eni: EniConfig,
    /// Watermarks and times of the pool.
    #[serde(default)]
    pub pool: PoolConfig,
    /// Shared ENIs.
    #[serde(default)]
    pub shared: SharedConfig,
    /// Addresses that wait for the return of their pod.
    #[serde(default)]
    pub leases: LeaseConfig,
    /// ENIs that nodes left behind.
    #[serde(default)]
    pub sweep: SweepConfig,
    /// Pod interfaces.
    #[serde(default)]
    pub pod: PodConfig,
    /// Where the node keeps its things.
    #[serde(default)]
    pub paths: PathsConfig,
    /// The kubelet and the API server.
    #[serde(default)]
    pub kubernetes: KubernetesConfig,
    /// Address of `/metrics`, `/healthz` and `/readyz`; loopback unless told otherwise.
    #[serde(default = "default_http")]
    pub http: std::net::SocketAddr,
    #[serde(skip)]
    file: ConfigFile,
}

fn default_families() -> Families {
    Families::V4
}
fn default_http() -> std::net::SocketAddr {
    std::net::SocketAddr::from(([127, 0, 0, 1], 9841))
}

/// ENIs that we create.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct EniConfig {
    /// Subnets, in order of preference; default: that of the primary ENI.
    pub subnets: Vec<SubnetId>,
    /// Security groups; default: those of the primary ENI.
    pub security_groups: Vec<SecurityGroupId>,
}

/// Shared ENIs.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct SharedConfig {
    /// Shared ENIs that are reserved before exclusive slots are offered.
    pub min_enis: u16,
    /// Most shared ENIs, at least `min_enis`; default: as many as demand asks for.
    pub max_enis: Option<u16>,
}

impl Default for SharedConfig {
    fn default() -> Self {
        Self { min_enis: 1, max_enis: None }
    }
}

/// Addresses that wait for the return of their pod.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct LeaseConfig {
    /// Seconds that an address waits for its pod; 0: no address waits.
    pub ttl_seconds: u32,
    /// Most addresses of a node that wait; default: half of those that it can have.
    pub max: Option<u16>,
    /// Kinds of controllers whose pods come back under their names. Beside them a pod may ask by the annotation
    /// `k8s.aliyun.com/pod-ip-reservation: "true"`.
    pub kinds: Vec<String>,
    /// Those of `kinds` whose addresses go to nobody else while they wait.
    pub strict_kinds: Vec<String>,
}

impl Default for LeaseConfig {
    fn default() -> Self {
        Self {
            ttl_seconds: 86_400,
            max: None,
            kinds: vec!["StatefulSet".into()],
            strict_kinds: Vec::new(),
        }
    }
}

/// ENIs that nodes left behind when they went for good. One daemon of the cluster deletes them, by a Lease of the API server.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct SweepConfig {
    /// Whether this daemon takes part.
    pub enabled: bool,
    /// Seconds between two looks, 1 to 86 400. The Lease of a daemon that is away goes to another after three times as long.
    pub interval_seconds: u32,
    /// Seconds that an ENI must be old, more than `pool.lateEffectSeconds`. Calls of its node may be open until then, and the clocks of node and cloud may differ:
    /// from 15 minutes on the cloud refuses what the node signs.
    pub age_limit_seconds: u32,
}

impl Default for SweepConfig {
    fn default() -> Self {
        Self { enabled: true, interval_seconds: 300, age_limit_seconds: 1800 }
    }
}

/// Pod interfaces.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct PodConfig {
    /// MTU in bytes, 1280 to 9000.
    pub mtu: u32,
    /// Service blocks: exclusive pods reach them through the node.
    pub service_cidrs: Vec<IpNet>,
    /// Further blocks that exclusive pods reach through the node (node-local DNS and the like).
    pub host_stack_cidrs: Vec<IpNet>,
    /// True: the VPC's NAT gateway translates what leaves the VPC. False: the node masquerades it.
    pub external_snat: bool,
}

impl Default for PodConfig {
    fn default() -> Self {
        Self {
            mtu: 1500,
            service_cidrs: Vec::new(),
            host_stack_cidrs: Vec::new(),
            external_snat: true,
        }
    }
}

impl Config {
    /// Reads and validates a file.
    ///
    /// # Errors
    /// The file cannot be read, or says something wrong.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        Self::from_file(ConfigFile::read(path)?)
    }

    /// Parses and validates a text; `path` is for messages only.
    ///
    /// # Errors
    /// It says something wrong.
    pub fn parse(text: &str, path: &str) -> Result<Self, ConfigError> {
        Self::from_file(ConfigFile::of(text, path))
    }

    fn from_file(file: ConfigFile) -> Result<Self, ConfigError> {
        let config: Self = file.parse()?;
        let config = Self { file, ..config };
        config.validate().map_err(|(key, message)| config.refuse(key, message))?;
        Ok(config)
    }

    /// Refuses the value of a key, given in the file or by default.
    pub fn refuse(&self, key: &'static str, message: impl Into<String>) -> ConfigError {
        self.file.refuse(key, message)
    }

    fn validate(&self) -> Result<(), Refusal> {
        let tag_ok = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if self.cluster.is_empty() || self.cluster.len() > 63 || !self.cluster.chars().all(tag_ok) {
            return Err((
                "cluster",
                "1 to 63 letters, digits, '-', '_' or '.' are expected".into(),
            ));
        }
        self.cloud.validate()?;
        self.pool.validate()?;
        self.paths.validate()?;
        self.kubernetes.validate()?;
        if !(1280..=9000).contains(&self.pod.mtu) {
            return Err(("pod.mtu", format!("{} is outside 1280 to 9000", self.pod.mtu)));
        }
        if self.shared.max_enis.is_some_and(|max| max < self.shared.min_enis) {
            return Err(("shared.maxEnis", "it must not be below shared.minEnis".into()));
        }
        let LeaseConfig { kinds, strict_kinds, .. } = &self.leases;
        if let Some(kind) = strict_kinds.iter().find(|kind| !kinds.contains(kind)) {
            return Err((
                "leases.strictKinds",
                format!("{kind:?} is not in leases.kinds; add it there, or take it out here"),
            ));
        }
        let (sweep, late) = (&self.sweep, self.pool.late_effect_seconds);
        if !(1..=86_400).contains(&sweep.interval_seconds) {
            return Err((
                "sweep.intervalSeconds",
                "1 to 86400 is expected; to sweep nothing, set sweep.enabled to false".into(),
            ));
        }
        if sweep.age_limit_seconds <= late {
            return Err((
                "sweep.ageLimitSeconds",
                format!(
                    "it must be above pool.lateEffectSeconds ({late}): a call whose answer was lost may take effect until then"
                ),
            ));
        }
        Ok(())
    }

    /// Cooling time.
    pub fn cooldown(&self) -> Duration {
        Duration::from_secs(self.pool.cooldown_seconds.into())
    }
}

#[cfg(test)]
mod tests;
