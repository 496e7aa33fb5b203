//! The configuration on stdin: limited in size, version first, then the keys.

use std::{collections::BTreeMap, io::Read, time::Duration};

use serde::Deserialize;
use serde_json::Value;
use tideway_model::{Cause, ContainerId, IfName, names};

use crate::{CniError, SpecVersion};

/// Most bytes of configuration that we read. Kubernetes allows 256 KiB of annotations; the rest is small.
pub const MAX_STDIN: u64 = 1024 * 1024;

/// Seconds that the daemon lets an ADD wait when the configuration does not say it.
const ADD_TIMEOUT_SECONDS: u32 = 60;
/// What we wait longer than the daemon, so that its error, which names the cause, arrives before ours.
const ADD_MARGIN: Duration = Duration::from_secs(10);

/// The keys of a network configuration that we use. Others belong to the runtime or to other plugins.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct NetConf {
    #[serde(default)]
    pub(crate) name: String,
    /// The daemon's socket.
    #[serde(default = "default_socket")]
    pub(crate) socket: String,
    /// Directory of release tickets.
    #[serde(default = "default_tickets")]
    pub(crate) tickets: String,
    /// The daemon's `pool.addTimeoutSeconds`.
    #[serde(default = "default_add_timeout")]
    add_timeout_seconds: u32,
    #[serde(default)]
    pub(crate) dns: Option<Value>,
    #[serde(default)]
    pub(crate) prev_result: Option<Value>,
    #[serde(default)]
    runtime_config: Option<RuntimeConfig>,
    /// GC: who is alive. A missing key is `None`; `null` is how Go writes an empty list.
    #[serde(default, rename = "cni.dev/valid-attachments", deserialize_with = "list")]
    valid_attachments: Option<Vec<ValidAttachment>>,
    /// The key that older runtimes send beside it (containernetworking/cni issue 1101).
    #[serde(default, rename = "cni.dev/attachments", deserialize_with = "list")]
    old_attachments: Option<Vec<ValidAttachment>>,
}

fn default_socket() -> String {
    names::SOCKET.into()
}
fn default_tickets() -> String {
    names::TICKETS.into()
}
fn default_add_timeout() -> u32 {
    ADD_TIMEOUT_SECONDS
}
fn list<'de, D: serde::Deserializer<'de>>(
    from: D,
) -> Result<Option<Vec<ValidAttachment>>, D::Error> {
    Option::deserialize(from).map(|list| Some(list.unwrap_or_default()))
}

/// What the runtime passes by capabilities.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct RuntimeConfig {
    #[serde(default)]
    pub(crate) bandwidth: Option<RuntimeBandwidth>,
    #[serde(default, rename = "portMappings")]
    port_mappings: Option<Vec<Value>>,
    #[serde(default, rename = "io.kubernetes.cri.pod-annotations")]
    annotations: Option<BTreeMap<String, String>>,
}

/// containerd writes the keys with a capital letter, the convention of the capability is without.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct RuntimeBandwidth {
    #[serde(default, rename = "ingressRate", alias = "IngressRate")]
    pub(crate) ingress_rate: Option<u64>,
    #[serde(default, rename = "ingressBurst", alias = "IngressBurst")]
    pub(crate) ingress_burst: Option<u64>,
    #[serde(default, rename = "egressRate", alias = "EgressRate")]
    pub(crate) egress_rate: Option<u64>,
    #[serde(default, rename = "egressBurst", alias = "EgressBurst")]
    pub(crate) egress_burst: Option<u64>,
}

/// An attachment that must survive GC.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct ValidAttachment {
    #[serde(rename = "containerID")]
    pub(crate) container: ContainerId,
    pub(crate) ifname: IfName,
}

/// A configuration, or an error with the version in which to say it.
pub(crate) struct Stdin {
    pub(crate) version: Option<SpecVersion>,
    pub(crate) conf: Result<NetConf, CniError>,
}

/// Reads the configuration.
pub(crate) fn read(stdin: &mut dyn Read) -> Stdin {
    let object = match read_object(stdin) {
        Ok(object) => object,
        Err(error) => return Stdin { version: None, conf: Err(error) },
    };
    let asked = object.get("cniVersion").and_then(Value::as_str).unwrap_or_default();
    match SpecVersion::parse(asked) {
        Err(error) => Stdin { version: None, conf: Err(error) },
        Ok(version) => Stdin { version: Some(version), conf: NetConf::parse(object) },
    }
}

fn read_object(stdin: &mut dyn Read) -> Result<Value, CniError> {
    let undecodable = |msg: String| {
        CniError::new(
            Cause::ConfigUndecodable,
            msg,
            "the runtime must pass one JSON object with the network configuration on stdin",
        )
    };
    let mut bytes = Vec::with_capacity(4096);
    stdin.take(MAX_STDIN + 1).read_to_end(&mut bytes).map_err(|error| {
        CniError::new(
            Cause::NodeIo,
            format!("the network configuration could not be read from stdin: {error}"),
            "the runtime must keep stdin open until the configuration is written",
        )
    })?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > MAX_STDIN {
        return Err(undecodable(format!(
            "the network configuration is larger than {MAX_STDIN} bytes"
        )));
    }
    let value: Value = serde_json::from_slice(&bytes)
        .map_err(|error| undecodable(format!("the network configuration is no JSON: {error}")))?;
    if value.is_object() {
        Ok(value)
    } else {
        Err(undecodable("the network configuration is no JSON object".into()))
    }
}

impl NetConf {
    fn parse(object: Value) -> Result<Self, CniError> {
        let invalid = |cause: String| {
            CniError::new(
                Cause::NetworkConfig,
                format!("the network configuration is not valid: {cause}"),
                format!(
                    "correct {}/{}, or let tidewayd write it",
                    names::CNI_CONF_DIR,
                    names::CONFLIST
                ),
            )
        };
        let conf: Self =
            serde_json::from_value(object).map_err(|error| invalid(error.to_string()))?;
        if conf.name.is_empty() {
            return Err(invalid("name is missing".into()));
        }
        Ok(conf)
    }

    /// How long we wait for the daemon's answer to an ADD.
    pub(crate) fn add_deadline(&self) -> Duration {
        Duration::from_secs(self.add_timeout_seconds.into()) + ADD_MARGIN
    }

    /// Bandwidth as the runtime passed it.
    pub(crate) fn bandwidth(&self) -> Option<&RuntimeBandwidth> {
        self.runtime_config.as_ref()?.bandwidth.as_ref()
    }

    /// The pod's annotations, as far as the runtime passed them.
    pub(crate) fn annotations(&self) -> BTreeMap<String, String> {
        self.runtime_config.as_ref().and_then(|it| it.annotations.clone()).unwrap_or_default()
    }

    /// Port mappings; empty for most pods.
    pub(crate) fn port_mappings(&self) -> &[Value] {
        self.runtime_config.as_ref().and_then(|it| it.port_mappings.as_deref()).unwrap_or_default()
    }

    /// The list that GC keeps. A missing list is refused: taken for an empty one it would free every pod's address.
    pub(crate) fn valid_attachments(&self) -> Result<&[ValidAttachment], CniError> {
        self.valid_attachments.as_deref().or(self.old_attachments.as_deref()).ok_or_else(|| {
            CniError::new(
                Cause::RuntimeRequest,
                "GC without cni.dev/valid-attachments",
                "the runtime must name the attachments that are alive; without the list nothing is freed",
            )
        })
    }
}
