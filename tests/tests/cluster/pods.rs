//! Pods of the scenarios: what is created, and what is known of one that lives.

use std::{net::IpAddr, time::Duration};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};
use tideway_e2e::{
    cluster::{Node, list, text},
    image,
    wait::{self, Look},
};

use crate::bed::{Bed, PATIENCE};

/// A pod that runs, as far as a fault must not change it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Live {
    pub(crate) uid: String,
    pub(crate) mode: String,
    pub(crate) eni: String,
    pub(crate) ips: Vec<IpAddr>,
}

/// The container of every pod.
pub(crate) fn container(exclusive: bool) -> Value {
    let mut container = json!({
        "name": "probe", "image": image::PROBE_IMAGE, "imagePullPolicy": "Never",
        "command": ["/bin/sh", "-c", "trap exit TERM; tideway-probe serve 8080 & wait"],
    });
    if exclusive && let Some(fields) = container.as_object_mut() {
        fields.insert("resources".into(), json!({"limits": {"aliyun/eni": 1}}));
    }
    container
}

/// The part of a pod that Deployments share.
pub(crate) fn spec(exclusive: bool) -> Value {
    json!({
        "terminationGracePeriodSeconds": 1,
        "automountServiceAccountToken": false,
        "enableServiceLinks": false,
        "containers": [container(exclusive)],
    })
}

/// A pod for a node, which the scheduler puts there.
pub(crate) fn pod(name: &str, node: &Node<'_>, exclusive: bool) -> Value {
    let mut spec = spec(exclusive);
    spec["nodeSelector"] = json!({"kubernetes.io/hostname": node.name()});
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec})
}

impl Bed {
    /// Creates objects.
    pub(crate) fn create(&self, objects: &[Value]) -> Result<()> {
        let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
        self.kubectl()?.apply(&list.to_string())
    }

    /// Creates pods on nodes and waits until all run.
    pub(crate) fn create_live(&self, pods: &[(&str, &Node<'_>, bool)]) -> Result<Vec<Live>> {
        let objects: Vec<Value> =
            pods.iter().map(|(name, node, own)| pod(name, node, *own)).collect();
        self.create(&objects)?;
        pods.iter().map(|(name, node, _)| self.live(name, node)).collect()
    }

    /// Waits until a pod satisfies a condition. One that has failed for good ends the wait.
    pub(crate) fn pod_until(
        &self,
        name: &str,
        what: &str,
        limit: Duration,
        mut holds: impl FnMut(&Value) -> bool,
    ) -> Result<Value> {
        let kubectl = self.kubectl()?;
        let seen = wait::until(&format!("pod {name} {what}"), limit, || {
            let pod = kubectl.get(&format!("pods/{name}"))?;
            let phase = text(&pod, "/status/phase");
            if phase == "Failed" {
                bail!("pod {name} failed: {}", pod.pointer("/status").cloned().unwrap_or_default());
            }
            if holds(&pod) {
                return Ok(Look::Seen(pod));
            }
            Ok(Look::NotYet(format!("{phase}, restarts {}", restarts(&pod))))
        });
        seen.map_err(|error| {
            let events = self.events(name).unwrap_or_default();
            error.context(format!("events of {name}:\n  {}", events.join("\n  ")))
        })
    }

    /// Waits until a pod of a dual-stack node is ready and its daemon shows it.
    pub(crate) fn live(&self, name: &str, node: &Node<'_>) -> Result<Live> {
        let live = self.ready(name, node)?;
        let ips = &live.ips;
        ensure!(ips.len() == 2, "pod {name} has no addresses of two families: {ips:?}");
        Ok(live)
    }

    /// The same of a node of any family.
    pub(crate) fn ready(&self, name: &str, node: &Node<'_>) -> Result<Live> {
        let pod = self.pod_until(name, "is ready", PATIENCE, is_ready)?;
        let ips = list(&pod, "/status/podIPs").iter().map(|ip| text(ip, "/ip").parse());
        let ips = ips.collect::<Result<Vec<_>, _>>().context("addresses of a pod")?;
        let (mode, eni) = self.attached(name, node)?;
        Ok(Live { uid: text(&pod, "/metadata/uid").to_owned(), mode, eni, ips })
    }

    /// Mode and ENI of a pod in the daemon's books.
    fn attached(&self, name: &str, node: &Node<'_>) -> Result<(String, String)> {
        let shown = self.show(node)?;
        let key = format!("default/{name}");
        let pod = list(&shown, "/pods").iter().find(|p| text(p, "/pod") == key);
        let pod =
            pod.with_context(|| format!("tidewayd of {} does not know {key}", node.name()))?;
        Ok((text(pod, "/mode").to_owned(), text(pod, "/eni").to_owned()))
    }

    /// Reasons and texts of a pod's events.
    pub(crate) fn events(&self, name: &str) -> Result<Vec<String>> {
        let of_it = format!("events?fieldSelector=involvedObject.name={name}");
        let events = self.kubectl()?.get(&of_it)?;
        let line = |e: &Value| format!("{}: {}", text(e, "/reason"), text(e, "/message"));
        Ok(list(&events, "/items").iter().map(line).collect())
    }
}

/// Whether the pod is Ready.
pub(crate) fn is_ready(pod: &Value) -> bool {
    let ready = |c: &Value| text(c, "/type") == "Ready" && text(c, "/status") == "True";
    list(pod, "/status/conditions").iter().any(ready)
}

/// How often the pod's containers were started again.
pub(crate) fn restarts(pod: &Value) -> u64 {
    let count = |c: &Value| c.get("restartCount").and_then(Value::as_u64).unwrap_or_default();
    list(pod, "/status/containerStatuses").iter().map(count).sum()
}
