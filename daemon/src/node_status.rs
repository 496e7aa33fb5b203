//! From counts to the words of the `NodeNetwork`. Pure.

use std::collections::BTreeMap;

use tideway_ipam::{Counts, LeaseCounts};
use tideway_kubeapi::{
    AdapterStatus, ExclusiveStatus, InstanceStatus, LeaseStatus, MemberStatus,
    NodeNetworkCondition, NodeNetworkStatus, SharedStatus, SubnetStatus,
};
use tideway_model::SubnetId;

/// What does not change while the daemon runs.
#[derive(Debug, Clone, Default)]
pub struct Node {
    /// The instance.
    pub instance: InstanceStatus,
    /// Subnets for new ENIs, in order of preference.
    pub subnets: Vec<SubnetId>,
    /// Rest of an address, in milliseconds.
    pub cooldown_millis: u64,
    /// The kubelet gets our devices; without, no pod can ask for one.
    pub offers_devices: bool,
}

/// What stands in the way outside the allocator.
#[derive(Debug, Clone, Default)]
pub struct Trouble {
    /// The cloud's API cannot be used; what to do.
    pub cloud: Option<String>,
    /// The journal cannot be used, so every ADD is refused.
    pub journal: bool,
}

/// Two significant digits, rounded down: the room of a subnet is news to every node, so it must not change with each address.
fn coarse(n: u64) -> u32 {
    let mut unit = 1;
    while n / unit >= 100 {
        unit *= 10;
    }
    u32::try_from(n / unit * unit).unwrap_or(u32::MAX)
}

/// The status without conditions. `version`: of the pods' watch.
pub fn status(
    node: &Node,
    counts: &Counts,
    room: &BTreeMap<SubnetId, u64>,
    version: Option<u64>,
) -> NodeNetworkStatus {
    let Counts { adapters, shared, exclusive, .. } = counts;
    let subnets = node.subnets.iter().map(|id| {
        let free = if counts.full.contains(id) { 0 } else { room.get(id).copied().unwrap_or(0) };
        SubnetStatus { id: id.to_string(), free: coarse(free) }
    });
    NodeNetworkStatus {
        instance: node.instance.clone(),
        adapters: AdapterStatus {
            limit: adapters.limit,
            shared: adapters.shared,
            exclusive: adapters.exclusive,
            foreign: adapters.foreign,
            free: adapters.free,
            free_for_shared: adapters.free_for_shared,
            addresses_per_adapter: adapters.units_per_adapter,
        },
        shared: SharedStatus {
            capacity: shared.capacity,
            held: shared.held,
            ready: shared.ready,
            assigned: shared.assigned,
            leaving: shared.leaving,
            cooling: shared.cooling,
            unusable: shared.unusable,
        },
        exclusive: ExclusiveStatus {
            offered: if node.offers_devices { exclusive.offered } else { 0 },
            assigned: exclusive.assigned,
            leaving: exclusive.leaving,
            ready: exclusive.ready,
        },
        // No members on nodes of this version.
        member: MemberStatus::default(),
        subnets: subnets.collect(),
        leases: leases(&counts.leases),
        cooldown_millis: node.cooldown_millis,
        pods_resource_version: version.map(|v| v.to_string()),
        conditions: Vec::new(),
    }
}

fn leases(counts: &LeaseCounts) -> LeaseStatus {
    let identities = counts.identities.iter().take(LeaseStatus::LONGEST);
    LeaseStatus {
        unclaimed: counts.unclaimed,
        strict: counts.strict,
        identities: identities.map(ToString::to_string).collect(),
        truncated: counts.identities.len() > LeaseStatus::LONGEST,
    }
}

/// The conditions; `before` are the last ones, for the time of their last change, `now` is RFC 3339. Texts are constant for
/// a cause: a text that varies would be a write each time.
pub fn conditions(
    node: &Node,
    counts: &Counts,
    trouble: &Trouble,
    before: &[NodeNetworkCondition],
    now: &str,
) -> Vec<NodeNetworkCondition> {
    let ready = if counts.uninstalling {
        ("False", "Uninstalling", "tidewayd is being uninstalled; drain the node")
    } else if trouble.journal {
        (
            "False",
            "JournalFails",
            "no address can be promised, since the journal cannot be used; `tideway status` on the node says why",
        )
    } else if counts.cloud_known || counts.shared.ready > 0 {
        ("True", "Serving", "pods get addresses")
    } else {
        (
            "False",
            "CloudUnknown",
            "the cloud has not told yet which ENIs the node has; check the route to its API if it lasts",
        )
    };
    let cloud = match &trouble.cloud {
        None => ("True", "Answers", "the cloud's API answers"),
        Some(remedy) => ("False", "NoAnswer", remedy.as_str()),
    };
    let open = node.subnets.iter().any(|id| !counts.full.contains(id));
    let subnet = if open {
        ("True", "Room", "a subnet gives addresses")
    } else {
        (
            "False",
            "Full",
            "every subnet of the node is full; add a subnet to eni.subnets or free addresses",
        )
    };
    [("Ready", ready), ("CloudReachable", cloud), ("SubnetHasRoom", subnet)]
        .into_iter()
        .map(|(kind, (status, reason, message))| {
            let last = before.iter().find(|c| c.kind == kind && c.status == status);
            NodeNetworkCondition {
                kind: kind.into(),
                status: status.into(),
                reason: reason.into(),
                message: message.into(),
                last_transition_time: last
                    .map_or_else(|| now.to_owned(), |c| c.last_transition_time.clone()),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node() -> Node {
        let subnets = vec!["vsw-1".try_into().unwrap(), "vsw-2".try_into().unwrap()];
        Node { subnets, offers_devices: true, ..Node::default() }
    }

    #[test]
    fn the_room_of_a_subnet_is_told_with_two_digits() {
        let told = [0, 7, 99, 100, 109, 110, 4093, 65_531, u64::MAX].map(coarse);
        assert_eq!(told, [0, 7, 99, 100, 100, 110, 4000, 65_000, u32::MAX]);
    }

    #[test]
    fn a_subnet_that_refuses_has_no_room_whatever_was_said_before() {
        let counts = Counts { full: vec!["vsw-1".try_into().unwrap()], ..Counts::default() };
        let room =
            BTreeMap::from([("vsw-1".try_into().unwrap(), 50), ("vsw-2".try_into().unwrap(), 60)]);
        let told = status(&node(), &counts, &room, Some(12));
        assert_eq!(told.subnets.iter().map(|s| s.free).collect::<Vec<_>>(), [0, 60]);
        assert_eq!(told.pods_resource_version.as_deref(), Some("12"));
    }

    #[test]
    fn a_long_list_of_leases_is_cut_and_says_so() {
        let counts = |n: usize| LeaseCounts {
            unclaimed: n.try_into().unwrap(),
            strict: 1,
            identities: (0..n)
                .map(|n| tideway_model::PodKey::new("ns", &format!("db-{n:04}")).unwrap())
                .collect(),
        };
        let all = leases(&counts(LeaseStatus::LONGEST));
        assert!(!all.truncated && all.identities.len() == LeaseStatus::LONGEST);
        assert_eq!(all.identities.first().map(String::as_str), Some("ns/db-0000"));
        let cut = leases(&counts(LeaseStatus::LONGEST + 1));
        assert!(cut.truncated && cut.identities == all.identities);
        assert_eq!((cut.unclaimed, cut.strict), (129, 1));
    }

    #[test]
    fn without_a_device_plugin_no_device_is_offered() {
        let mut counts = Counts::default();
        counts.exclusive.offered = 2;
        let told = |offers_devices| {
            let node = Node { offers_devices, ..node() };
            status(&node, &counts, &BTreeMap::new(), None).exclusive.offered
        };
        assert_eq!((told(true), told(false)), (2, 0));
    }

    #[test]
    fn a_node_that_refuses_every_add_is_not_shown_as_ready() {
        let fine = Counts { cloud_known: true, ..Counts::default() };
        let failing = Trouble { journal: true, ..Trouble::default() };
        let told = conditions(&node(), &fine, &failing, &[], "T1");
        let ready = told.iter().find(|c| c.kind == "Ready").unwrap();
        assert_eq!((ready.status.as_str(), ready.reason.as_str()), ("False", "JournalFails"));
    }

    #[test]
    fn the_time_of_a_condition_moves_with_its_status_only() {
        let fine = Counts { cloud_known: true, ..Counts::default() };
        let first = conditions(&node(), &fine, &Trouble::default(), &[], "T1");
        assert!(first.iter().all(|c| c.status == "True" && c.last_transition_time == "T1"));
        let again = conditions(&node(), &fine, &Trouble::default(), &first, "T2");
        assert_eq!(again, first);
        let away = Trouble { cloud: Some("check the route".into()), ..Trouble::default() };
        let then = conditions(&node(), &fine, &away, &first, "T3");
        let of = |kind: &str| then.iter().find(|c| c.kind == kind).unwrap();
        assert_eq!(of("CloudReachable").last_transition_time, "T3");
        assert_eq!(of("CloudReachable").message, "check the route");
        assert_eq!(of("Ready").last_transition_time, "T1");
        let full = Counts { full: node().subnets, ..fine };
        let then = conditions(&node(), &full, &Trouble::default(), &first, "T4");
        assert_eq!(then.iter().filter(|c| c.status == "False").count(), 1);
    }
}
