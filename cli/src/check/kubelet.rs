//! The kubelet's `maxPods`.

use tideway_kubeapi::NodeView;
use tideway_proto::node as pb;

use super::Finding;
use crate::capacity::Capacity;

const CHECK: &str = "maxPods";

/// The Node's `capacity.pods` against what its addresses are enough for.
pub(super) fn max_pods(
    capacity: Option<&pb::Capacity>,
    view: &Result<NodeView, String>,
) -> Finding {
    let view = match view {
        Ok(view) => view,
        Err(why) => {
            return Finding::warn(
                CHECK,
                format!("not checked: {why}"),
                "the Node object tells the kubelet's maxPods",
            );
        }
    };
    let Some(has) = view.max_pods else {
        return Finding::warn(
            CHECK,
            "not checked: the API server shows no capacity of this node",
            "see whether the kubelet runs under the name that tidewayd has",
        );
    };
    let Some(capacity) = capacity else {
        return Finding::warn(
            CHECK,
            "not checked: tidewayd does not tell its capacity",
            "start it",
        );
    };
    let should = Capacity::from(capacity).max_pods("", view.host_network_pods);
    let wanted = should.max_pods;
    if has > wanted {
        return Finding::fail(
            CHECK,
            format!(
                "the kubelet takes {has} pods, addresses are enough for {wanted} ({})",
                should.why
            ),
            &format!(
                "set maxPods: {wanted} in the kubelet's configuration, else pods land here and wait for addresses"
            ),
        );
    }
    if has < wanted && should.exact {
        return Finding::warn(
            CHECK,
            format!("the kubelet takes {has} pods, addresses are enough for {wanted}"),
            &format!("with maxPods: {wanted} no address is out of use"),
        );
    }
    Finding::ok(CHECK, format!("{has} of at most {wanted} ({})", should.why))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Grade;

    fn found(max_pods: Option<u32>, min_shared: u32) -> Finding {
        let capacity = pb::Capacity {
            adapters: 2,
            pods_per_adapter: 10,
            min_shared,
            devices: true,
            ..pb::Capacity::default()
        };
        let view = NodeView { max_pods, host_network_pods: 3, ..NodeView::default() };
        max_pods_of(&capacity, view)
    }

    fn max_pods_of(capacity: &pb::Capacity, view: NodeView) -> Finding {
        max_pods(Some(capacity), &Ok(view))
    }

    #[test]
    fn more_pods_than_addresses_fail_and_the_remedy_names_the_number() {
        let found = found(Some(110), 1);
        assert_eq!(found.grade, Grade::Fail);
        assert!(found.remedy.contains("maxPods: 23"), "{found:?}");
    }

    #[test]
    fn fewer_are_fine_below_an_upper_bound_and_a_warning_where_it_is_exact() {
        assert_eq!(found(Some(23), 1).grade, Grade::Ok);
        assert_eq!(found(Some(15), 1).grade, Grade::Ok);
        assert_eq!(found(Some(23), 2).grade, Grade::Ok);
        assert_eq!(found(Some(15), 2).grade, Grade::Warn);
    }

    #[test]
    fn what_cannot_be_seen_is_a_warning_with_its_reason() {
        assert_eq!(found(None, 1).grade, Grade::Warn);
        let away = max_pods(None, &Err("no route".into()));
        assert!(away.grade == Grade::Warn && away.says.contains("no route"), "{away:?}");
        let view = NodeView { max_pods: Some(3), ..NodeView::default() };
        assert_eq!(max_pods(None, &Ok(view)).grade, Grade::Warn);
    }
}
