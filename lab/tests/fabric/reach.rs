//! Everybody reaches everybody, in both families, from every kind of place an ENI can be in.

use std::net::{IpAddr, SocketAddr, TcpListener};

use tideway_lab::fabric::{API_ADDRESS, Fabric as _, METADATA_ADDRESS, netns};

use crate::support::{
    Lab, connect, eni, eventually, ip, links_of, policy_routing, reaches, v4, v6,
};

#[test]
fn every_address_reaches_every_other_through_the_vpc() {
    let Some(mut lab) = Lab::start("every_address_reaches_every_other_through_the_vpc") else {
        return;
    };
    let (first, second) = (eni(1, 0, true), eni(2, 1, true));
    // Several ENIs of one instance in one subnet: its kernel asks ARP with the sender address of another ENI.
    let mut shared = eni(11, 0, false);
    shared.addresses.extend([v4(0, 12), v6(0, 12)]);
    let (far, exclusive) = (eni(21, 1, false), eni(31, 0, false));
    lab.instance("n1", &first);
    lab.instance("n2", &second);
    lab.fabric().attach(&shared, "n1").expect("attach");
    lab.fabric().attach(&far, "n2").expect("attach");
    let (n1, n2) = (lab.namespace("n1"), lab.namespace("n2"));
    policy_routing(&n1, "eth1", &shared);
    policy_routing(&n2, "eth1", &far);
    lab.fabric().attach(&exclusive, "n1").expect("attach");
    let pod = lab.pod("x");
    ip(&n1, &format!("link set eth2 netns {pod} name eth0"));
    policy_routing(&pod, "eth0", &exclusive);
    for family in ["-4", "-6"] {
        ip(&pod, &format!("{family} rule add prio 40000 lookup {}", 1000 + exclusive.index));
    }

    let everybody =
        [(&n1, &first), (&n1, &shared), (&n2, &second), (&n2, &far), (&pod, &exclusive)];
    for (namespace, from) in
        everybody.iter().flat_map(|(n, e)| e.addresses.iter().map(move |a| (n, *a)))
    {
        let others = everybody.iter().flat_map(|(_, eni)| &eni.addresses).copied();
        for to in others.filter(|to| to.is_ipv4() == from.is_ipv4()) {
            reaches(namespace, Some(from), to);
        }
        if from.is_ipv4() {
            reaches(namespace, Some(from), METADATA_ADDRESS.into());
            reaches(namespace, Some(from), API_ADDRESS.into());
        }
    }
    for (namespace, eni) in everybody {
        let gateways: [IpAddr; 2] =
            [eni.gateway_v4.expect("given").into(), eni.gateway_v6.expect("given").into()];
        for (gateway, from) in gateways.into_iter().zip(&eni.addresses) {
            reaches(namespace, Some(*from), gateway);
        }
    }
}

#[test]
fn services_in_the_vpc_see_the_source_address_of_the_instance() {
    let Some(lab) = Lab::start("services_in_the_vpc_see_the_source_address_of_the_instance") else {
        return;
    };
    lab.instance("n1", &eni(1, 0, true));
    let address = SocketAddr::new(METADATA_ADDRESS.into(), 80);
    let listener: TcpListener =
        netns::listen_in(lab.fabric().vpc_namespace(), address).expect("listens");
    let mut stream = None;
    eventually("the instance connects to the metadata service", || {
        stream = connect(&lab.namespace("n1"), address);
        stream.is_some()
    });
    let (_, peer) = listener.accept().expect("accepts");
    assert_eq!(peer.ip(), v4(0, 1), "the address tells the instance");
}

#[test]
fn hot_plugged_eni_comes_bare_and_down_under_the_first_free_name() {
    let Some(lab) = Lab::start("hot_plugged_eni_comes_bare_and_down_under_the_first_free_name")
    else {
        return;
    };
    lab.instance("n1", &eni(1, 0, true));
    let n1 = lab.namespace("n1");
    let (a, b, c) = (eni(2, 0, false), eni(3, 0, false), eni(4, 0, false));
    lab.fabric().attach(&a, "n1").expect("attach");
    lab.fabric().attach(&b, "n1").expect("attach");
    lab.fabric().detach(&a.id).expect("detach");
    lab.fabric().attach(&c, "n1").expect("attach");
    assert_eq!((links_of(&n1, &b), links_of(&n1, &c)), (vec!["eth2".into()], vec!["eth1".into()]));
    let shown = ip(&n1, "address show dev eth1");
    assert!(shown.contains("state DOWN") && !shown.contains("inet"), "{shown}");
    assert!(!shown.contains("UP"), "{shown}");
}

#[test]
fn instance_boots_hostile_and_overrides_hold() {
    let Some(lab) = Lab::start("instance_boots_hostile_and_overrides_hold") else { return };
    lab.instance("n1", &eni(1, 0, true));
    let kind = tideway_lab::fabric::InstanceNet {
        name: "n2".into(),
        sysctls: [("net.ipv4.ip_forward".into(), "1".into())].into(),
    };
    lab.fabric().create_instance(&kind).expect("made");
    let read = |instance: &str, file: &str| {
        let path = format!("/proc/sys/net/ipv4/{file}");
        let text = netns::run_in(&lab.namespace(instance), || std::fs::read_to_string(path));
        text.expect("enters").expect("reads").trim().to_owned()
    };
    assert_eq!(read("n1", "ip_forward"), "0");
    assert_eq!(read("n2", "ip_forward"), "1");
    for scope in ["all", "default", "eth0"] {
        assert_eq!(read("n1", &format!("conf/{scope}/rp_filter")), "2", "{scope}");
    }
    let bad = tideway_lab::fabric::InstanceNet {
        name: "n3".into(),
        sysctls: [("kernel.panic".into(), "1".into())].into(),
    };
    let error = lab.fabric().create_instance(&bad).expect_err("not a setting of a namespace");
    assert!(error.to_string().contains("kernel.panic"), "{error}");
}
