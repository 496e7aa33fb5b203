//! Where the node keeps its things, and the sockets of others on it.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::Refusal;
use crate::names;

/// Bytes of a socket's path that the kernel takes (`unix(7)`: 108 with the end).
const LONGEST_SOCKET: usize = 107;

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

impl PathsConfig {
    pub(super) fn validate(&self) -> Result<(), Refusal> {
        needed("paths.socket", &self.socket)?;
        socket("paths.socket", &self.socket)?;
        needed("paths.journal", &self.journal)?;
        needed("paths.tickets", &self.tickets)?;
        absolute("paths.cniConfDir", &self.cni_conf_dir)?;
        socket("paths.runtimeSocket", &self.runtime_socket)
    }
}

impl KubernetesConfig {
    pub(super) fn validate(&self) -> Result<(), Refusal> {
        absolute("kubernetes.devicePluginDir", &self.device_plugin_dir)?;
        socket("kubernetes.podResourcesSocket", &self.pod_resources_socket)?;
        if !self.device_plugin_dir.is_empty() && self.pod_resources_socket.is_empty() {
            return Err((
                "kubernetes.podResourcesSocket",
                "it is empty, but devices are offered in kubernetes.devicePluginDir: without it nobody tells which pod holds one, and such a pod would get a shared address; name the kubelet's socket, or empty devicePluginDir too".into(),
            ));
        }
        Ok(())
    }
}

fn needed(key: &'static str, path: &str) -> Result<(), Refusal> {
    if path.is_empty() {
        return Err((key, "it is empty; name an absolute path, or take the key out".into()));
    }
    absolute(key, path)
}

/// The plugin and the runtime use the path, too, from directories of their own.
fn absolute(key: &'static str, path: &str) -> Result<(), Refusal> {
    if path.is_empty() || Path::new(path).is_absolute() {
        return Ok(());
    }
    Err((key, format!("{path:?} is no absolute path; it must begin with /")))
}

fn socket(key: &'static str, path: &str) -> Result<(), Refusal> {
    absolute(key, path)?;
    if path.len() > LONGEST_SOCKET {
        return Err((
            key,
            format!(
                "it has {} bytes, and the path of a socket at most {LONGEST_SOCKET}; use a shorter one",
                path.len()
            ),
        ));
    }
    Ok(())
}
