//! A pod, as far as it matters for where addresses go. The same type reads the API server's objects and the pod inside a
//! request of the scheduler.

use serde::Deserialize;

use super::units::{self, Container};

/// A pod of the cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "PodWire")]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts, one from each field of the API"
)]
pub struct ClusterPod {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// UID of the object; of a static pod that of its mirror, since the scheduler names victims by it.
    pub uid: String,
    /// `resourceVersion`.
    pub version: Option<u64>,
    /// Node that it is bound to.
    pub node: Option<String>,
    /// Node that is cleared for it by preemption.
    pub nominated: Option<String>,
    /// `spec.schedulerName`.
    pub scheduler: String,
    /// Priority; 0 when none is set.
    pub priority: i32,
    /// It lives in the host's network namespace.
    pub host_network: bool,
    /// Its containers ended for good (phase `Succeeded` or `Failed`).
    pub ended: bool,
    /// Its deletion was asked for.
    pub deleting: bool,
    /// Its sandbox has an address (`status.podIP`).
    pub addressed: bool,
    /// What its condition `PodScheduled` says while that is `False` because no node was found, or none is looked for. A cycle
    /// that ended with an error of the scheduler's (reason `SchedulerError`) leaves open whether the pod was bound.
    pub unscheduled: Option<String>,
    /// Whole ENIs that it asks for.
    pub wants_eni: u32,
    /// Member ENIs that it asks for.
    pub wants_member: u32,
    /// Volume claims that it uses, those of ephemeral volumes too.
    pub claims: Vec<String>,
    /// It would rather be on some nodes than on others (preferred affinity, `ScheduleAnyway`).
    pub choosy: bool,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct PodWire {
    metadata: PodMeta,
    spec: Spec,
    status: Status,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PodMeta {
    name: String,
    namespace: String,
    uid: String,
    resource_version: Option<String>,
    deletion_timestamp: Option<serde::de::IgnoredAny>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    node_name: Option<String>,
    scheduler_name: Option<String>,
    host_network: Option<bool>,
    priority: Option<i32>,
    containers: Option<Vec<Container>>,
    init_containers: Option<Vec<Container>>,
    affinity: Option<Affinity>,
    topology_spread_constraints: Option<Vec<Spread>>,
    volumes: Option<Vec<Volume>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Affinity {
    node_affinity: Option<Preference>,
    pod_affinity: Option<Preference>,
    pod_anti_affinity: Option<Preference>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Preference {
    preferred_during_scheduling_ignored_during_execution: Option<Vec<serde::de::IgnoredAny>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spread {
    when_unsatisfiable: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Volume {
    name: String,
    persistent_volume_claim: Option<ClaimSource>,
    ephemeral: Option<serde::de::IgnoredAny>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ClaimSource {
    claim_name: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Status {
    phase: Option<String>,
    nominated_node_name: Option<String>,
    #[serde(rename = "podIP")]
    pod_ip: Option<String>,
    conditions: Option<Vec<Condition>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Condition {
    #[serde(rename = "type")]
    kind: String,
    status: String,
    reason: Option<String>,
    message: Option<String>,
}

impl Spec {
    fn is_choosy(&self) -> bool {
        let prefers = |p: &Option<Preference>| {
            let preferred =
                p.as_ref().map(|p| &p.preferred_during_scheduling_ignored_during_execution);
            preferred.is_some_and(|list| list.as_ref().is_some_and(|list| !list.is_empty()))
        };
        let affinity = self.affinity.as_ref();
        affinity.is_some_and(|a| {
            prefers(&a.node_affinity) || prefers(&a.pod_affinity) || prefers(&a.pod_anti_affinity)
        }) || self
            .topology_spread_constraints
            .iter()
            .flatten()
            .any(|s| s.when_unsatisfiable == "ScheduleAnyway")
    }

    /// An ephemeral volume's claim is called POD-VOLUME.
    fn claims(&self, pod: &str) -> Vec<String> {
        let name = |volume: &Volume| match (&volume.persistent_volume_claim, &volume.ephemeral) {
            (Some(claim), _) => Some(claim.claim_name.clone()),
            (None, Some(_)) => Some(format!("{pod}-{}", volume.name)),
            (None, None) => None,
        };
        self.volumes.iter().flatten().filter_map(name).collect()
    }
}

fn given(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}

impl From<PodWire> for ClusterPod {
    fn from(pod: PodWire) -> Self {
        let PodWire { metadata: meta, spec, status } = pod;
        let init = spec.init_containers.as_deref().unwrap_or_default();
        let containers = spec.containers.as_deref().unwrap_or_default();
        let conditions = status.conditions.into_iter().flatten();
        let mut unscheduled = conditions.filter(|c| {
            (c.kind.as_str(), c.status.as_str()) == ("PodScheduled", "False")
                && matches!(c.reason.as_deref(), Some("Unschedulable" | "SchedulingGated"))
        });
        Self {
            version: super::object::version(meta.resource_version.as_deref()),
            wants_eni: units::of_pod(init, containers, |asked| asked.eni),
            wants_member: units::of_pod(init, containers, |asked| asked.member),
            claims: spec.claims(&meta.name),
            choosy: spec.is_choosy(),
            unscheduled: unscheduled.next().map(|c| c.message.unwrap_or_default()),
            addressed: given(status.pod_ip).is_some(),
            deleting: meta.deletion_timestamp.is_some(),
            ended: matches!(status.phase.as_deref(), Some("Succeeded" | "Failed")),
            host_network: spec.host_network.unwrap_or(false),
            priority: spec.priority.unwrap_or(0),
            node: given(spec.node_name),
            nominated: given(status.nominated_node_name),
            scheduler: given(spec.scheduler_name).unwrap_or_else(|| "default-scheduler".to_owned()),
            namespace: meta.namespace,
            name: meta.name,
            uid: meta.uid,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn nothing_that_a_pod_can_leave_out_makes_it_unreadable() {
        let pod: ClusterPod = serde_json::from_value(json!({})).unwrap();
        assert_eq!(pod.scheduler, "default-scheduler");
        let nulls = json!({
            "metadata": {"name": "p", "annotations": null, "creationTimestamp": null},
            "spec": {"containers": null, "volumes": null, "affinity": {"nodeAffinity": {}}},
            "status": {},
        });
        let pod: ClusterPod = serde_json::from_value(nulls).unwrap();
        assert_eq!((pod.name.as_str(), pod.choosy, pod.node), ("p", false, None));
    }

    #[test]
    fn what_decides_over_addresses_is_read() {
        let pod = json!({
            "metadata": {
                "namespace": "ns", "name": "p", "uid": "u", "resourceVersion": "42", "deletionTimestamp": "2026-01-01T00:00:00Z",
                "managedFields": [{"manager": "x"}],
            },
            "spec": {
                "nodeName": "n1", "schedulerName": "tideway", "hostNetwork": true, "priority": -5,
                "containers": [{"resources": {"limits": {"aliyun/eni": "1", "aliyun/member-eni": "2"}}}],
                "topologySpreadConstraints": [{"maxSkew": 1, "whenUnsatisfiable": "ScheduleAnyway"}],
                "volumes": [
                    {"name": "a", "persistentVolumeClaim": {"claimName": "c"}},
                    {"name": "scratch", "ephemeral": {"volumeClaimTemplate": {}}}, {"name": "b", "emptyDir": {}},
                ],
            },
            "status": {
                "phase": "Failed", "nominatedNodeName": "n2", "podIP": "10.0.0.7",
                "conditions": [{"type": "Ready", "status": "True"}, {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "no"}],
            },
        });
        let wanted = ClusterPod {
            namespace: "ns".into(),
            name: "p".into(),
            uid: "u".into(),
            version: Some(42),
            node: Some("n1".into()),
            nominated: Some("n2".into()),
            scheduler: "tideway".into(),
            priority: -5,
            host_network: true,
            ended: true,
            deleting: true,
            addressed: true,
            unscheduled: Some("no".into()),
            wants_eni: 1,
            wants_member: 2,
            claims: vec!["c".into(), "p-scratch".into()],
            choosy: true,
        };
        assert_eq!(serde_json::from_value::<ClusterPod>(pod).unwrap(), wanted);
    }
}
