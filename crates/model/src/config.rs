//! The daemon's configuration file (`/etc/tideway/tidewayd.yaml`) and its validation.
//!
//! What shows to be wrong only when the cloud has been asked is refused like the rest ([`Config::refuse`]).

use std::{path::Path, time::Duration};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::{ConfigError, ConfigFile, Families, SecurityGroupId, SubnetId, names};

mod cloud;

pub use cloud::{CloudConfig, Provider};

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

/// Watermarks and times of the pool.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct PoolConfig {
    /// Below so many addresses that can be handed out now, addresses are asked from the cloud. At most `high`.
    pub low: u16,
    /// So many are asked up to, and what is above goes back after `settle`.
    pub high: u16,
    /// Seconds that an address rests between two pods.
    pub cooldown_seconds: u32,
    /// Seconds between two looks that prove an absence, and that a surplus must last before it goes back.
    pub settle_seconds: u32,
    /// Seconds that an ADD waits for an address, 1 to 230: the runtime gives up after 240.
    pub add_timeout_seconds: u32,
    /// Seconds that a call of unknown outcome is waited for beyond its deadline (longest late effect + longest stale read).
    pub late_effect_seconds: u32,
    /// Whether addresses are asked for in prefixes.
    pub prefix_mode: PrefixMode,
}

/// Whether addresses are asked for in prefixes (/28 of IPv4, /80 of IPv6): each takes the place of one address.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum PrefixMode {
    /// Single addresses. Prefixes that ENIs have stay while pods need them.
    #[default]
    Off,
    /// Prefixes; single addresses where a subnet has no whole one.
    Preferred,
}

impl Default for PoolConfig {
    fn default() -> Self {
        Self {
            low: 2,
            high: 6,
            cooldown_seconds: 30,
            settle_seconds: 30,
            add_timeout_seconds: 60,
            late_effect_seconds: 60,
            prefix_mode: PrefixMode::Off,
        }
    }
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

/// Where the node keeps its things.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct PathsConfig {
    /// gRPC socket.
    pub socket: String,
    /// Journal.
    pub journal: String,
    /// Release tickets.
    pub tickets: String,
    /// CNI configuration directory; empty: none is written.
    pub cni_conf_dir: String,
    /// The runtime's CRI socket; empty: the runtime is not asked.
    pub runtime_socket: String,
}

impl Default for PathsConfig {
    fn default() -> Self {
        Self {
            socket: names::SOCKET.into(),
            journal: names::JOURNAL.into(),
            tickets: names::TICKETS.into(),
            cni_conf_dir: names::CNI_CONF_DIR.into(),
            runtime_socket: "/run/containerd/containerd.sock".into(),
        }
    }
}

/// The kubelet and the API server.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct KubernetesConfig {
    /// Directory of the kubelet's device plugin socket; empty: no device plugin.
    pub device_plugin_dir: String,
    /// The kubelet's pod-resources socket; empty: not asked.
    pub pod_resources_socket: String,
    /// Kubeconfig for the watch of the node's pods; default: in-cluster, and none when there is none.
    pub kubeconfig: Option<String>,
}

impl Default for KubernetesConfig {
    fn default() -> Self {
        Self {
            device_plugin_dir: "/var/lib/kubelet/device-plugins".into(),
            pod_resources_socket: "/var/lib/kubelet/pod-resources/kubelet.sock".into(),
            kubeconfig: None,
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

    fn validate(&self) -> Result<(), (&'static str, String)> {
        let tag_ok = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if self.cluster.is_empty() || self.cluster.len() > 63 || !self.cluster.chars().all(tag_ok) {
            return Err((
                "cluster",
                "1 to 63 letters, digits, '-', '_' or '.' are expected".into(),
            ));
        }
        self.cloud.validate()?;
        if self.pool.low > self.pool.high {
            return Err((
                "pool.low",
                format!(
                    "{} is above pool.high ({}); low must not exceed high",
                    self.pool.low, self.pool.high
                ),
            ));
        }
        if !(1..=230).contains(&self.pool.add_timeout_seconds) {
            return Err((
                "pool.addTimeoutSeconds",
                "1 to 230 is expected: the runtime gives up after 240".into(),
            ));
        }
        if !(1280..=9000).contains(&self.pod.mtu) {
            return Err(("pod.mtu", format!("{} is outside 1280 to 9000", self.pod.mtu)));
        }
        if self.shared.max_enis.is_some_and(|max| max < self.shared.min_enis) {
            return Err(("shared.maxEnis", "it must not be below shared.minEnis".into()));
        }
        let kubernetes = &self.kubernetes;
        if !kubernetes.device_plugin_dir.is_empty() && kubernetes.pod_resources_socket.is_empty() {
            return Err((
                "kubernetes.podResourcesSocket",
                "it is empty, but devices are offered in kubernetes.devicePluginDir: without it nobody tells which pod holds one, and such a pod would get a shared address; name the kubelet's socket, or empty devicePluginDir too".into(),
            ));
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
