//! From the API's objects to the words of the decisions.

use std::time::Duration;

use tideway_kubeapi::{ClusterNode, ClusterPod, NodeNetworkStatus};

use crate::decide::{Failure, NodeFacts, PodFacts, Report, Wants};

pub(crate) fn pod(pod: ClusterPod, schedulers: &[String]) -> PodFacts {
    PodFacts {
        wants: Wants::of_pod(pod.wants_eni, pod.wants_member, pod.host_network),
        ours: schedulers.contains(&pod.scheduler),
        uid: pod.uid.into(),
        namespace: pod.namespace,
        name: pod.name,
        version: pod.version,
        node: pod.node,
        nominated: pod.nominated,
        priority: pod.priority,
        ended: pod.ended,
        deleting: pod.deleting,
        failure: pod.unscheduled.as_deref().map(Failure::of),
        addressed: pod.addressed,
        claims: pod.claims,
        choosy: pod.choosy,
    }
}

pub(crate) fn node(node: ClusterNode) -> NodeFacts {
    NodeFacts {
        name: node.name,
        zone: node.zone,
        schedulable: node.schedulable,
        serves: node.serves,
    }
}

/// An object without a status is a node whose daemon has not spoken yet: Tideway is there, and nothing can be had.
pub(crate) fn report(version: Option<u64>, status: Option<NodeNetworkStatus>) -> Report {
    let Some(status) = status else { return Report { version, ..Report::default() } };
    let says = |kind: &str, status_wanted: &str| {
        status.conditions.iter().any(|c| c.kind == kind && c.status == status_wanted)
    };
    let NodeNetworkStatus { adapters, shared, exclusive, member, leases, .. } = &status;
    // Which of the leases are strict is told only where all of them are.
    let all_strict = leases.strict == leases.unclaimed;
    Report {
        ready: !says("Ready", "False"),
        grows: !says("CloudReachable", "False"),
        zone: status.instance.zone.clone(),
        version,
        pods_version: status.pods_resource_version.as_deref().and_then(|v| v.parse().ok()),
        cooldown: Duration::from_millis(status.cooldown_millis),
        adapters_shared: adapters.shared,
        adapters_exclusive: adapters.exclusive,
        adapters_free: adapters.free,
        free_for_shared: adapters.free_for_shared,
        per_adapter: adapters.addresses_per_adapter,
        shared_capacity: shared.capacity,
        shared_held: shared.held,
        shared_assigned: shared.assigned,
        shared_leaving: shared.leaving,
        shared_cooling: shared.cooling,
        shared_unusable: shared.unusable,
        exclusive_offered: exclusive.offered,
        exclusive_assigned: exclusive.assigned,
        exclusive_leaving: exclusive.leaving,
        exclusive_ready: exclusive.ready,
        member_limit: member.limit,
        member_assigned: member.assigned,
        member_leaving: member.leaving,
        member_unusable: member.unusable,
        subnets: status.subnets.iter().map(|s| (s.id.clone(), s.free)).collect(),
        strict_leases: if all_strict { leases.identities.clone() } else { Vec::new() },
    }
}
