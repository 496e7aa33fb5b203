use super::script;
use crate::fabric::{
    Direction, GroupPeer, Membership, Policy, PortRange, Protocol, SecurityGroupNet,
    SecurityRuleNet,
};

fn rule(policy: Policy, priority: u8, port: u16) -> SecurityRuleNet {
    SecurityRuleNet {
        direction: Direction::Ingress,
        protocol: Protocol::Tcp,
        ports: Some(PortRange { first: port, last: port }),
        peer: GroupPeer::Any,
        policy,
        priority,
    }
}

fn group(id: &str, rules: Vec<SecurityRuleNet>) -> SecurityGroupNet {
    SecurityGroupNet { id: id.into(), inner: Policy::Accept, rules }
}

fn member(host: u8, groups: &[&str]) -> Membership {
    Membership {
        eni_id: format!("eni-{host}"),
        group_ids: groups.iter().map(|id| (*id).to_owned()).collect(),
        addresses: vec![[10, 0, 0, host].into()],
        blocks: vec![],
    }
}

/// Where each text stands in the script, in the order given.
fn positions(script: &str, texts: &[&str]) -> Vec<usize> {
    texts
        .iter()
        .map(|text| script.find(text).unwrap_or_else(|| panic!("{text}: {script}")))
        .collect()
}

#[test]
fn rules_of_all_groups_are_merged_by_priority_with_drop_first() {
    let a = group("a", vec![rule(Policy::Accept, 5, 1), rule(Policy::Accept, 1, 2)]);
    let b = group("b", vec![rule(Policy::Drop, 5, 3), rule(Policy::Drop, 100, 4)]);
    let text = script(&[a, b], &[member(1, &["a", "b"])]);
    let order =
        positions(&text, &["dport 2 accept", "dport 3 drop", "dport 1 accept", "dport 4 drop"]);
    assert!(order.is_sorted(), "{text}");
}

#[test]
fn enis_with_the_same_groups_share_their_chains() {
    let groups = [group("a", vec![]), group("b", vec![])];
    let text =
        script(&groups, &[member(1, &["a", "b"]), member(2, &["b", "a"]), member(3, &["a"])]);
    assert_eq!(text.matches("chain in").count(), 3, "two profiles and the dispatch: {text}");
}

#[test]
fn address_named_by_two_enis_stands_once_in_the_maps() {
    // In passing, while it moves from one ENI to another; the kernel refuses a key with two values.
    let groups = [group("a", vec![]), group("b", vec![])];
    let text = script(&groups, &[member(1, &["a"]), member(1, &["b"])]);
    assert_eq!(text.matches("10.0.0.1 : goto in").count(), 1, "{text}");
}

#[test]
fn member_of_no_group_is_cut_off() {
    let text = script(&[], &[member(1, &["gone"])]);
    assert!(text.contains("chain out0 {\ndrop\n}"), "{text}");
    assert!(text.contains("chain in0 {\ndrop\n}"), "{text}");
}

#[test]
fn group_without_inner_accept_opens_nothing_by_itself() {
    let mut closed = group("a", vec![]);
    closed.inner = Policy::Drop;
    let text = script(&[closed], &[member(1, &["a"])]);
    assert!(text.contains("chain in0 {\ndrop\n}"), "{text}");
}

#[test]
fn prefix_stands_in_maps_that_take_intervals_and_only_then_there_are_any() {
    let groups = [group("a", vec![])];
    let text = script(&groups, &[member(1, &["a"])]);
    assert!(!text.contains("interval"), "{text}");
    let block = vec!["fd00:10:0:0:5::/80".parse().unwrap()];
    let text = script(&groups, &[Membership { blocks: block, ..member(1, &["a"]) }]);
    assert!(text.contains("fd00:10:0:0:5::/80 : goto in0"), "{text}");
    assert_eq!(text.matches("flags interval").count(), 3, "a set and two maps: {text}");
}
