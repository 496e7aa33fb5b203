//! Security groups hold for everybody, keep state, and change in one step.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr};

use tideway_lab::fabric::{
    Direction, EniNet, Fabric as _, GroupPeer, Membership, OUTSIDE_V4, OUTSIDE_V6, Policy,
    PortRange, Protocol, SecurityGroupNet, SecurityRuleNet, netns,
};

use crate::support::{Lab, connect, eni, eventually, ip, ping, reaches, v4, v6};

const PORT: u16 = 8080;

fn group(id: &str, rules: Vec<SecurityRuleNet>) -> SecurityGroupNet {
    SecurityGroupNet { id: id.into(), inner: Policy::Accept, rules }
}

fn member(eni: &EniNet, groups: &[&str]) -> Membership {
    Membership {
        eni_id: eni.id.clone(),
        group_ids: groups.iter().map(|id| (*id).to_owned()).collect(),
        addresses: eni.addresses.clone(),
        blocks: eni.blocks.clone(),
    }
}

fn rule(
    direction: Direction,
    protocol: Protocol,
    peer: GroupPeer,
    policy: Policy,
    priority: u8,
) -> SecurityRuleNet {
    let ports = (protocol == Protocol::Tcp).then_some(PortRange { first: PORT, last: PORT });
    SecurityRuleNet { direction, protocol, ports, peer, policy, priority }
}

/// Two instances in group `a`, one in `b`.
fn three(test: &str) -> Option<(Lab, [EniNet; 3])> {
    let lab = Lab::start(test)?;
    let enis = [eni(1, 0, true), eni(2, 0, true), eni(3, 1, true)];
    for (number, eni) in (1..).zip(&enis) {
        lab.instance(&format!("n{number}"), eni);
    }
    Some((lab, enis))
}

fn apply(lab: &Lab, enis: &[EniNet; 3], groups: &[SecurityGroupNet]) {
    let [one, two, three] = enis;
    let membership = [member(one, &["a"]), member(two, &["a"]), member(three, &["b"])];
    lab.fabric().set_security_groups(groups, &membership).expect("the groups are set");
}

#[test]
fn basic_group_lets_members_in_and_strangers_not_but_their_replies() {
    let test = "basic_group_lets_members_in_and_strangers_not_but_their_replies";
    let Some((lab, enis)) = three(test) else { return };
    let open = rule(Direction::Ingress, Protocol::Icmp, GroupPeer::Any, Policy::Accept, 1);
    apply(&lab, &enis, &[group("a", vec![]), group("b", vec![open])]);
    for (member, stranger) in [(v4(0, 2), v4(1, 3)), (v6(0, 2), v6(1, 3))] {
        reaches(&lab.namespace("n1"), None, member);
        reaches(&lab.namespace("n1"), None, stranger); // the reply comes in, though nothing else may
        assert!(!ping(&lab.namespace("n3"), None, member), "{stranger} is not in the group");
    }
    // The cloud's own services are not behind the groups.
    reaches(&lab.namespace("n3"), None, tideway_lab::fabric::METADATA_ADDRESS.into());
}

#[test]
fn egress_drop_holds_against_an_open_receiver() {
    let Some((lab, enis)) = three("egress_drop_holds_against_an_open_receiver") else { return };
    let open = rule(Direction::Ingress, Protocol::All, GroupPeer::Any, Policy::Accept, 1);
    let shut = |block: &str| {
        let block = GroupPeer::Block(block.parse().expect("a block"));
        rule(Direction::Egress, Protocol::All, block, Policy::Drop, 1)
    };
    let a = group("a", vec![shut("10.0.1.0/24"), shut("fd00:10:0:1::/64")]);
    apply(&lab, &enis, &[a, group("b", vec![open])]);
    for (same, other, outside) in [
        (v4(0, 2), v4(1, 3), IpAddr::from(OUTSIDE_V4)),
        (v6(0, 2), v6(1, 3), IpAddr::from(OUTSIDE_V6)),
    ] {
        reaches(&lab.namespace("n1"), None, same);
        reaches(&lab.namespace("n1"), None, outside);
        assert!(!ping(&lab.namespace("n1"), None, other), "{other} is behind the egress rule");
    }
}

#[test]
fn egress_rules_hold_for_what_is_outside_the_vpc() {
    let Some((lab, enis)) = three("egress_rules_hold_for_what_is_outside_the_vpc") else { return };
    let shut = rule(Direction::Egress, Protocol::All, GroupPeer::Any, Policy::Drop, 1);
    apply(&lab, &enis, &[group("a", vec![shut]), group("b", vec![])]);
    for outside in [IpAddr::from(OUTSIDE_V4), IpAddr::from(OUTSIDE_V6)] {
        reaches(&lab.namespace("n3"), None, outside);
        assert!(!ping(&lab.namespace("n1"), None, outside), "{outside} is behind the egress rule");
    }
}

#[test]
fn lower_priority_goes_first_and_drop_wins_among_equals() {
    let Some((lab, enis)) = three("lower_priority_goes_first_and_drop_wins_among_equals") else {
        return;
    };
    let rule = |policy, priority| {
        rule(Direction::Ingress, Protocol::Icmp, GroupPeer::Group("b".into()), policy, priority)
    };
    let (accept, drop) = (Policy::Accept, Policy::Drop);
    for (rules, through) in [
        (vec![rule(drop, 50), rule(accept, 10)], true),
        (vec![rule(accept, 50), rule(drop, 10)], false),
        (vec![rule(accept, 10), rule(drop, 10)], false),
    ] {
        apply(&lab, &enis, &[group("a", rules.clone()), group("b", vec![])]);
        for to in [v4(0, 1), v6(0, 1)] {
            if through {
                reaches(&lab.namespace("n3"), None, to);
            } else {
                assert!(!ping(&lab.namespace("n3"), None, to), "{to} with {rules:?}");
            }
        }
    }
}

#[test]
fn open_connection_survives_a_change_that_refuses_new_ones() {
    let Some((lab, enis)) = three("open_connection_survives_a_change_that_refuses_new_ones") else {
        return;
    };
    let target = SocketAddr::new(enis[0].addresses[0], PORT);
    let listener = netns::listen_in(&lab.namespace("n1"), target).expect("listens");
    let closed = SocketAddr::new(enis[0].addresses[0], PORT + 1);
    let _other = netns::listen_in(&lab.namespace("n1"), closed).expect("listens");
    let web = rule(Direction::Ingress, Protocol::Tcp, GroupPeer::Any, Policy::Accept, 1);
    apply(&lab, &enis, &[group("a", vec![web]), group("b", vec![])]);
    let mut client = None;
    eventually("the open port answers", || {
        client = connect(&lab.namespace("n3"), target);
        client.is_some()
    });
    assert!(connect(&lab.namespace("n3"), closed).is_none(), "only one port is open");
    let (mut server, _) = listener.accept().expect("accepts");

    apply(&lab, &enis, &[group("a", vec![]), group("b", vec![])]);
    assert!(connect(&lab.namespace("n3"), target).is_none(), "new connections are refused");
    let mut client = client.expect("connected");
    client.write_all(b"still").expect("writes");
    let mut heard = [0; 5];
    server.set_read_timeout(Some(std::time::Duration::from_secs(10))).expect("sets");
    server.read_exact(&mut heard).expect("the open connection lives");
    assert_eq!(&heard, b"still");
}

#[test]
fn refused_change_leaves_the_old_groups_in_force() {
    let Some((lab, enis)) = three("refused_change_leaves_the_old_groups_in_force") else { return };
    apply(&lab, &enis, &[group("a", vec![]), group("b", vec![])]);
    let target = v4(0, 1);
    assert!(!ping(&lab.namespace("n3"), None, target), "strangers stay out");
    // Nothing that the lab accepts as input is refused by the kernel, so the script is tried by hand.
    let half = "delete table inet security\ntable inet security { chain x { jump nowhere } }";
    let mut nft = std::process::Command::new("nft");
    let output = netns::exec_in(lab.fabric().vpc_namespace(), nft.arg(half)).expect("nft runs");
    assert!(!output.status.success(), "a chain that does not exist");
    assert!(!ping(&lab.namespace("n3"), None, target), "strangers still stay out");
    reaches(&lab.namespace("n2"), None, target);
}

#[test]
fn every_address_of_a_prefix_is_reached_and_only_while_the_eni_has_it() {
    let test = "every_address_of_a_prefix_is_reached_and_only_while_the_eni_has_it";
    let Some((lab, mut enis)) = three(test) else { return };
    let groups = [group("a", vec![]), group("b", vec![])];
    let (n1, n2) = (lab.namespace("n1"), lab.namespace("n2"));
    let inside: [IpAddr; 2] = ["fd00:10:0:0:5::7", "fd00:10:0:0:5:ffff:ffff:ffff"]
        .map(|text| text.parse().expect("an address"));
    for address in inside {
        ip(&n2, &format!("address add {address}/128 dev lo"));
    }
    apply(&lab, &enis, &groups);
    reaches(&n1, None, v6(0, 2));
    assert!(!ping(&n1, None, inside[0]), "nobody has the prefix yet");

    enis[1].blocks = vec!["fd00:10:0:0:5::/80".parse().expect("a prefix")];
    lab.fabric().set_addresses(&enis[1]).expect("the prefix is assigned");
    assert!(!ping(&n1, None, inside[0]), "the prefix is in no group yet");
    apply(&lab, &enis, &groups);
    for address in inside {
        reaches(&n1, None, address);
        reaches(&n2, Some(address), v6(0, 1));
    }
    reaches(&n1, None, v6(0, 2));

    // The prefix goes to another ENI, whose instance does not know its addresses.
    let blocks = std::mem::take(&mut enis[1].blocks);
    enis[2].blocks = blocks;
    lab.fabric().set_addresses(&enis[2]).expect("the prefix moves");
    apply(&lab, &enis, &groups);
    assert!(!ping(&n1, None, inside[0]), "it has moved");
    assert!(!ping(&n2, Some(inside[0]), v6(0, 1)), "nor may its former owner use it");
    reaches(&n1, None, v6(0, 2));
}
