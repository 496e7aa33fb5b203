//! What the API server knows of a node that a check of its settings needs. Asked once, by people's tools.

use std::time::Duration;

use k8s_openapi::api::core::v1::{ConfigMap, Node};
use kube::Api;
use kube::api::ListParams;
use tokio::time::timeout;

use crate::pod::SlimPod;
use crate::watch::{client, told};
use crate::{KubeConfig, NodePod};

/// Longest wait for all answers.
const ANSWER: Duration = Duration::from_secs(15);
/// Where kubeadm keeps kube-proxy's configuration.
const PROXY: (&str, &str, &str) = ("kube-system", "kube-proxy", "config.conf");

/// A node as the API server shows it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NodeView {
    /// `capacity.pods`: the kubelet's `maxPods`. None: there is no such Node, or its kubelet has not told yet.
    pub max_pods: Option<u32>,
    /// Pods on it that use the host's network and have not ended.
    pub host_network_pods: u32,
    /// kube-proxy's configuration of a kubeadm cluster; none when there is none, or it may not be read.
    pub proxy_config: Option<String>,
}

/// Asks for the node that the configuration names.
///
/// # Errors
/// A text for people, when the API server cannot be asked or refuses.
pub async fn node_view(config: &KubeConfig) -> Result<NodeView, String> {
    let ask = async {
        let client = client(config).await.map_err(|e| told(&e))?;
        let nodes: Api<Node> = Api::all(client.clone());
        let node = nodes.get_opt(&config.node).await.map_err(|e| told(&e))?;
        let capacity = node.and_then(|n| n.status).and_then(|s| s.capacity);
        let max_pods = capacity.and_then(|c| c.get("pods")?.0.parse().ok());
        let here = ListParams::default().fields(&format!("spec.nodeName={}", config.node));
        let pods = Api::<SlimPod>::all(client.clone()).list(&here.match_any()).await;
        let pods = pods.map_err(|e| told(&e))?.items.into_iter();
        let pods = pods.filter_map(|pod| NodePod::try_from(pod).ok());
        let on_host = pods.filter(|pod| pod.host_network && !pod.phase_ended).count();
        let (namespace, name, key) = PROXY;
        let maps: Api<ConfigMap> = Api::namespaced(client, namespace);
        // Few may read it, and few clusters have it.
        let map = maps.get_opt(name).await.ok().flatten();
        let proxy_config = map.and_then(|m| m.data).and_then(|mut d| d.remove(key));
        let host_network_pods = u32::try_from(on_host).unwrap_or(u32::MAX);
        Ok(NodeView { max_pods, host_network_pods, proxy_config })
    };
    let silent = || format!("the API server did not answer within {} s", ANSWER.as_secs());
    timeout(ANSWER, ask).await.unwrap_or_else(|_elapsed| Err(silent()))
}
