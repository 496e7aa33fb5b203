//! The part of a Pod that we decode. A whole Pod has some hundred fields and we read ten; everything else is skipped.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::IpAddr;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::Resource;
use serde::Deserialize;
use tideway_model::names::{ANNOTATION_RESERVE, RESOURCE_ENI};
use tideway_model::{InvalidId, PodKey, PodUid};

use crate::{Controller, NodePod};

/// On the object that stands in the API for a static pod: the UID that the kubelet gives the runtime, and so the CNI plugin,
/// for it (kubernetes/kubernetes `pkg/kubelet/types`, `ConfigMirrorAnnotationKey`). The object's own UID is another one.
const STATIC_UID: &str = "kubernetes.io/config.mirror";

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct SlimPod {
    #[serde(default)]
    metadata: ObjectMeta,
    #[serde(default)]
    spec: Spec,
    #[serde(default)]
    status: Status,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    host_network: Option<bool>,
    containers: Vec<Container>,
    init_containers: Option<Vec<Container>>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Container {
    resources: Option<Resources>,
    /// `Always` makes an init container a sidecar, which runs beside the others.
    restart_policy: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Resources {
    limits: Option<BTreeMap<String, serde_json::Value>>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Status {
    phase: Option<String>,
    #[serde(rename = "podIPs")]
    pod_ips: Option<Vec<PodIp>>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct PodIp {
    ip: Option<String>,
}

impl Resource for SlimPod {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        "Pod".into()
    }
    fn group((): &()) -> Cow<'_, str> {
        "".into()
    }
    fn version((): &()) -> Cow<'_, str> {
        "v1".into()
    }
    fn plural((): &()) -> Cow<'_, str> {
        "pods".into()
    }
    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }
    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

impl Container {
    /// Whole ENIs that this container asks for. For extended resources the API server keeps limits and requests equal, and
    /// writes whole numbers plainly below 1000; a larger one with a suffix is more than any node has.
    fn enis(&self) -> u32 {
        let limits = self.resources.as_ref().and_then(|r| r.limits.as_ref());
        match limits.and_then(|l| l.get(RESOURCE_ENI)) {
            None => 0,
            Some(serde_json::Value::String(text)) => text.parse().unwrap_or(u32::MAX),
            Some(other) => other.as_u64().and_then(|n| n.try_into().ok()).unwrap_or(u32::MAX),
        }
    }

    fn is_sidecar(&self) -> bool {
        self.restart_policy.as_deref() == Some("Always")
    }
}

impl Spec {
    /// The scheduler's arithmetic: containers and sidecars add up, an init container runs beside the sidecars before it, and
    /// the pod needs the largest of these moments.
    fn enis(&self) -> u32 {
        let (mut sidecars, mut peak) = (0_u32, 0_u32);
        for init in self.init_containers.iter().flatten() {
            if init.is_sidecar() {
                sidecars = sidecars.saturating_add(init.enis());
            } else {
                peak = peak.max(sidecars.saturating_add(init.enis()));
            }
        }
        let running =
            self.containers.iter().map(Container::enis).fold(sidecars, u32::saturating_add);
        running.max(peak)
    }
}

impl From<OwnerReference> for Controller {
    fn from(owner: OwnerReference) -> Self {
        // `v1` alone is the group without a name.
        let group = owner.api_version.rsplit_once('/').map_or("", |(group, _)| group);
        Self { group: group.to_owned(), kind: owner.kind, name: owner.name }
    }
}

impl TryFrom<SlimPod> for NodePod {
    type Error = InvalidId;

    fn try_from(pod: SlimPod) -> Result<Self, InvalidId> {
        let meta = pod.metadata;
        let owners = meta.owner_references.unwrap_or_default();
        let controller = owners.into_iter().find(|o| o.controller == Some(true));
        let reserves = meta.annotations.as_ref().and_then(|a| a.get(ANNOTATION_RESERVE));
        let reserves = reserves.is_some_and(|v| v == "true");
        let (namespace, name) = (meta.namespace.unwrap_or_default(), meta.name.unwrap_or_default());
        let ips = pod.status.pod_ips.iter().flatten().filter_map(|ip| ip.ip.as_deref());
        let of_static_pod = meta.annotations.and_then(|mut a| a.remove(STATIC_UID));
        Ok(Self {
            key: PodKey::new(&namespace, &name)?,
            uid: PodUid::try_from(of_static_pod.or(meta.uid).unwrap_or_default())?,
            wants_eni: pod.spec.enis(),
            host_network: pod.spec.host_network.unwrap_or(false),
            phase_ended: matches!(pod.status.phase.as_deref(), Some("Succeeded" | "Failed")),
            deleting: meta.deletion_timestamp.is_some(),
            controller: controller.map(Controller::from),
            reserves,
            ips: ips.filter_map(|ip| ip.parse::<IpAddr>().ok()).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn container(enis: Option<&str>, sidecar: bool) -> serde_json::Value {
        let policy = sidecar.then_some("Always");
        json!({
            "name": "c", "image": "x", "restartPolicy": policy,
            "resources": enis.map(|n| json!({"limits": {RESOURCE_ENI: n, "cpu": "100m"}})),
        })
    }

    fn wants(init: &serde_json::Value, containers: &serde_json::Value) -> u32 {
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"namespace": "default", "name": "p", "uid": "u-1"},
            "spec": {"nodeName": "node-1", "initContainers": init, "containers": containers},
            "status": {"phase": "Pending", "podIPs": null, "conditions": []},
        });
        let pod: SlimPod = serde_json::from_value(pod).unwrap();
        NodePod::try_from(pod).unwrap().wants_eni
    }

    #[test]
    fn an_init_container_and_its_app_share_one_eni_as_the_kubelet_counts() {
        let one = || container(Some("1"), false);
        let none = || container(None, false);
        assert_eq!(wants(&json!(null), &json!([none()])), 0);
        assert_eq!(wants(&json!([one()]), &json!([one()])), 1);
        assert_eq!(wants(&json!([one()]), &json!([none()])), 1);
        assert_eq!(wants(&json!([]), &json!([one(), one()])), 2);
        assert_eq!(wants(&json!([container(Some("1"), true), one()]), &json!([none()])), 2);
        assert_eq!(wants(&json!([]), &json!([container(Some("1k"), false), one()])), u32::MAX);
    }

    #[test]
    fn a_static_pod_is_known_by_the_uid_that_the_runtime_has_of_it() {
        let pod = json!({"metadata": {
            "namespace": "default", "name": "p-node-1", "uid": "u-of-the-mirror",
            "annotations": {"kubernetes.io/config.mirror": "77a5b2c9", "other": "x"},
        }});
        let pod: SlimPod = serde_json::from_value(pod).unwrap();
        assert_eq!(NodePod::try_from(pod).unwrap().uid, PodUid::try_from("77a5b2c9").unwrap());
    }

    #[test]
    fn of_several_owners_the_controller_counts() {
        let owner = |kind: &str, controller: bool| json!({"apiVersion": "apps/v1", "kind": kind, "name": "db", "uid": "o", "controller": controller});
        let mut pod = json!({"metadata": {
            "namespace": "default", "name": "db-0", "uid": "u-1",
            "ownerReferences": [owner("Other", false), owner("StatefulSet", true)],
            "annotations": {ANNOTATION_RESERVE: "true"},
        }});
        let read = |pod: &serde_json::Value| {
            NodePod::try_from(serde_json::from_value::<SlimPod>(pod.clone()).unwrap()).unwrap()
        };
        let (group, kind, name) = ("apps".into(), "StatefulSet".into(), "db".into());
        assert_eq!(read(&pod).controller, Some(Controller { group, kind, name }));
        assert!(read(&pod).reserves);
        pod["metadata"]["annotations"][ANNOTATION_RESERVE] = json!("yes");
        pod["metadata"]["ownerReferences"] = json!(null);
        assert_eq!((read(&pod).controller, read(&pod).reserves), (None, false));
    }

    #[test]
    fn a_pod_without_a_uid_is_refused_instead_of_being_taken_for_another() {
        let pod = json!({"metadata": {"namespace": "default", "name": "p"}});
        let pod: SlimPod = serde_json::from_value(pod).unwrap();
        assert_eq!(
            NodePod::try_from(pod).map_err(|e| e.to_string().contains("pod UID")),
            Err(true)
        );
    }
}
