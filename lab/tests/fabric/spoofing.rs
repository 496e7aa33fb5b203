//! Only assigned addresses receive and send.

use std::net::IpAddr;

use tideway_lab::fabric::Fabric as _;

use crate::support::{Lab, eni, eventually, ip, ping, policy_routing, reaches, v4, v6};

#[test]
fn packets_with_a_source_that_is_not_assigned_are_dropped() {
    let Some(lab) = Lab::start("packets_with_a_source_that_is_not_assigned_are_dropped") else {
        return;
    };
    lab.instance("n1", &eni(1, 0, true));
    lab.instance("n2", &eni(2, 0, true));
    lab.instance("n3", &eni(3, 0, true));
    lab.fabric().attach(&eni(11, 0, false), "n1").expect("attach");
    let n1 = lab.namespace("n1");
    let gateways: [IpAddr; 2] = [v4(0, 253), v6(0, 253)];
    for (family, target) in [v4(0, 2), v6(0, 2)].into_iter().enumerate() {
        reaches(&n1, None, target);
        // nobody's, another instance's, another ENI's of the same instance, the gateway's
        let others =
            [[v4(0, 77), v6(0, 77)], [v4(0, 3), v6(0, 3)], [v4(0, 11), v6(0, 11)], gateways];
        for stolen in others.map(|pair| pair[family]) {
            let length = if stolen.is_ipv4() { 32 } else { 128 };
            ip(&n1, &format!("address add {stolen}/{length} dev lo"));
            assert!(!ping(&n1, Some(stolen), target), "{stolen} got through to {target}");
            ip(&n1, &format!("address del {stolen}/{length} dev lo"));
        }
        reaches(&n1, None, target);
    }
}

#[test]
fn spoofed_packets_do_not_even_arrive() {
    let Some(lab) = Lab::start("spoofed_packets_do_not_even_arrive") else { return };
    lab.instance("n1", &eni(1, 0, true));
    lab.instance("n2", &eni(2, 0, true));
    let (n1, n2) = (lab.namespace("n1"), lab.namespace("n2"));
    let target = std::net::SocketAddr::new(v4(0, 2), 7000);
    let socket = tideway_lab::fabric::netns::run_in(&n2, || std::net::UdpSocket::bind(target));
    let socket = socket.expect("enters").expect("binds");
    socket.set_nonblocking(true).expect("sets");
    let send = |from: IpAddr| {
        tideway_lab::fabric::netns::run_in(&n1, || {
            let socket = std::net::UdpSocket::bind((from, 0)).expect("binds");
            socket.send_to(from.to_string().as_bytes(), target).expect("sends");
        })
        .expect("enters");
    };
    ip(&n1, "address add 10.0.0.77/32 dev lo");
    send(v4(0, 77));
    // The honest packet goes the same way later: once it is there, the other one would be.
    let mut text = [0; 64];
    eventually("the honest packet arrives, and nothing before it", || {
        send(v4(0, 1));
        let Ok((length, from)) = socket.recv_from(&mut text) else { return false };
        assert_eq!((&text[..length], from.ip()), (b"10.0.0.1".as_slice(), v4(0, 1)));
        true
    });
}

#[test]
fn address_works_from_assignment_to_removal_and_not_outside() {
    let Some(lab) = Lab::start("address_works_from_assignment_to_removal_and_not_outside") else {
        return;
    };
    lab.instance("n1", &eni(1, 0, true));
    lab.instance("n2", &eni(2, 0, true));
    let n2 = lab.namespace("n2");
    let mut secondary = eni(11, 0, false);
    lab.fabric().attach(&secondary, "n1").expect("attach");
    let extra = [v4(0, 50), v6(0, 50)];
    secondary.addresses.extend(extra);
    policy_routing(&lab.namespace("n1"), "eth1", &secondary); // the instance is ready before the cloud is
    for address in extra {
        assert!(!ping(&n2, None, address), "{address} is not assigned yet");
    }
    lab.fabric().set_addresses(&secondary).expect("assign");
    for address in extra {
        reaches(&n2, None, address);
    }
    secondary.addresses.truncate(2);
    lab.fabric().set_addresses(&secondary).expect("withdraw");
    lab.fabric().set_addresses(&secondary).expect("withdraw again");
    for (address, other) in extra.into_iter().zip([v4(0, 2), v6(0, 2)]) {
        assert!(!ping(&n2, None, address), "{address} receives");
        assert!(!ping(&lab.namespace("n1"), Some(address), other), "{address} sends");
    }
    reaches(&n2, None, secondary.addresses[0]);
    reaches(&n2, None, secondary.addresses[1]);
}

#[test]
fn address_that_moved_to_another_eni_answers_only_there() {
    let Some(lab) = Lab::start("address_that_moved_to_another_eni_answers_only_there") else {
        return;
    };
    let (one, mut two) = (eni(1, 0, true), eni(2, 0, true));
    lab.instance("n1", &one);
    lab.instance("n2", &two);
    lab.instance("n3", &eni(3, 0, true));
    let mut moving = eni(11, 0, false);
    lab.fabric().attach(&moving, "n1").expect("attach");
    policy_routing(&lab.namespace("n1"), "eth1", &moving);
    reaches(&lab.namespace("n3"), None, v4(0, 11));
    // The cloud's table may say so in either order; here the new owner comes first.
    two.addresses.push(v4(0, 11));
    lab.fabric().set_addresses(&two).expect("assign");
    moving.addresses.retain(|address| *address != v4(0, 11));
    lab.fabric().set_addresses(&moving).expect("withdraw");
    assert!(!ping(&lab.namespace("n3"), None, v4(0, 11)), "n2 has not configured it yet");
    ip(&lab.namespace("n2"), "address add 10.0.0.11/32 dev eth0");
    reaches(&lab.namespace("n3"), None, v4(0, 11));
    reaches(&lab.namespace("n3"), None, v6(0, 11));
}
