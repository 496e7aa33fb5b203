//! The daemon's configuration file (`/etc/tideway/tidewayd.yaml`) and its validation.
//!
//! Unknown keys are errors. An error names file, line, column and key, and says what would be right.

use std::{path::Path, time::Duration};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::{Families, SecurityGroupId, SubnetId, names};

/// The whole file. Every key but `cluster` has a default.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Config {
    /// Name of the cluster: goes into ENI tags, so that two clusters in one account never touch each other's ENIs.
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
}

fn default_families() -> Families {
    Families::V4
}
fn default_http() -> std::net::SocketAddr {
    std::net::SocketAddr::from(([127, 0, 0, 1], 9841))
}

/// Which cloud, and how to reach it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct CloudConfig {
    /// Region; default: asked from the metadata service.
    pub region: Option<String>,
    /// Endpoint of ECS, such as `https://ecs.cn-hangzhou.aliyuncs.com`; default: by region. The lab gives its own.
    pub ecs_endpoint: Option<String>,
    /// Endpoint of VPC; default: by region.
    pub vpc_endpoint: Option<String>,
    /// PEM file of a certificate authority that is trusted beside the public ones.
    pub ca_file: Option<String>,
    /// Base URL of the metadata service; default `http://100.100.100.200`.
    pub metadata_endpoint: Option<String>,
    /// File with `accessKeyId` and `accessKeySecret` (JSON); default: environment, then the instance's RAM role.
    pub credentials_file: Option<String>,
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
    /// Below so many addresses that can be handed out now, addresses are asked from the cloud.
    pub low: u16,
    /// So many are asked up to, and what is above goes back after `settle`.
    pub high: u16,
    /// Seconds that an address rests between two pods.
    pub cooldown_seconds: u32,
    /// Seconds between two looks that prove an absence, and that a surplus must last before it goes back.
    pub settle_seconds: u32,
    /// Seconds that an ADD waits for an address. Keep it below the runtime's own limit (4 minutes).
    pub add_timeout_seconds: u32,
    /// Seconds that a call of unknown outcome is waited for beyond its deadline (longest late effect + longest stale read).
    pub late_effect_seconds: u32,
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
        }
    }
}

/// Shared ENIs.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct SharedConfig {
    /// Shared ENIs that are reserved before exclusive slots are offered.
    pub min_enis: u16,
    /// Most shared ENIs; default: as many as demand asks for.
    pub max_enis: Option<u16>,
    /// Whether pods may use the primary address of a secondary ENI (true on Alibaba Cloud, false on AWS).
    pub use_primary_address: bool,
}

impl Default for SharedConfig {
    fn default() -> Self {
        Self { min_enis: 1, max_enis: None, use_primary_address: true }
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

/// Why a configuration is refused. The text names file and place.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file could not be read.
    #[error(
        "configuration {path}: cannot be read ({source}); create it, or name another file with --config"
    )]
    Read {
        /// File.
        path: String,
        /// Cause.
        source: std::io::Error,
    },
    /// The YAML or a key of it is wrong.
    #[error("configuration {path}: {message}")]
    Parse {
        /// File.
        path: String,
        /// Line, column, key and cause.
        message: String,
    },
    /// A value is out of range.
    #[error("configuration {path}: line {line}: key {key}: {message}")]
    Value {
        /// File.
        path: String,
        /// Line of the key, 0 when the key is not in the file.
        line: usize,
        /// Dotted key.
        key: &'static str,
        /// What is wrong and what would be right.
        message: String,
    },
}

impl Config {
    /// Reads and validates a file.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let shown = path.display().to_string();
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: shown.clone(), source })?;
        Self::parse(&text, &shown)
    }

    /// Parses and validates a text; `path` is for messages only.
    pub fn parse(text: &str, path: &str) -> Result<Self, ConfigError> {
        let config: Self = serde_saphyr::from_str(text)
            .map_err(|e| ConfigError::Parse { path: path.to_owned(), message: e.to_string() })?;
        config.validate().map_err(|(key, message)| ConfigError::Value {
            path: path.to_owned(),
            line: line_of(text, key),
            key,
            message,
        })?;
        Ok(config)
    }

    fn validate(&self) -> Result<(), (&'static str, String)> {
        let tag_ok = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if self.cluster.is_empty() || self.cluster.len() > 63 || !self.cluster.chars().all(tag_ok) {
            return Err((
                "cluster",
                "1 to 63 letters, digits, '-', '_' or '.' are expected".into(),
            ));
        }
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
        Ok(())
    }

    /// Cooling time.
    pub fn cooldown(&self) -> Duration {
        Duration::from_secs(self.pool.cooldown_seconds.into())
    }
}

/// The line on which the last part of a dotted key stands, for messages; 0 when the default was taken.
fn line_of(text: &str, key: &str) -> usize {
    let leaf = key.rsplit('.').next().unwrap_or(key);
    text.lines()
        .position(|l| l.trim_start().starts_with(&format!("{leaf}:")))
        .map_or(0, |at| at + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_file_has_the_documented_defaults() {
        let c = Config::parse("cluster: c1\n", "x").unwrap();
        assert_eq!((c.pool.low, c.pool.high, c.pool.cooldown_seconds), (2, 6, 30));
        assert_eq!(c.shared.min_enis, 1);
    }

    #[test]
    fn an_unknown_key_names_file_line_and_key() {
        let e = Config::parse("cluster: c1\npool:\n  lowe: 3\n", "/etc/tideway/tidewayd.yaml")
            .unwrap_err();
        let text = e.to_string();
        assert!(text.contains("/etc/tideway/tidewayd.yaml"), "{text}");
        assert!(text.contains("lowe"), "{text}");
        assert!(text.contains("line 3") || text.contains("3:"), "{text}");
    }

    #[test]
    fn a_value_out_of_range_names_its_line() {
        let e = Config::parse("cluster: c1\npool:\n  low: 9\n  high: 3\n", "f").unwrap_err();
        assert_eq!(
            e.to_string(),
            "configuration f: line 3: key pool.low: 9 is above pool.high (3); low must not exceed high"
        );
    }
}
