use std::net::Ipv4Addr;

use super::{assign, configure_primary, meddle, plug, withdraw};
use crate::fabric::EniNet;

fn eni() -> EniNet {
    EniNet {
        id: "eni-1".into(),
        mac: [0, 0x16, 0x3e, 0, 0xab, 1],
        index: u32::MAX,
        primary: false,
        addresses: vec![[10, 0, 0, 5].into(), "fd00:10::5".parse().unwrap()],
        blocks: vec!["fd00:10:0:0:5::/80".parse().unwrap()],
        subnet_v4: Some("10.0.0.0/24".parse().unwrap()),
        subnet_v6: None,
        gateway_v4: Some(Ipv4Addr::new(10, 0, 0, 253)),
        gateway_v6: None,
    }
}

#[test]
fn port_name_fits_into_the_kernel() {
    assert!(super::name(&eni()).len() <= 15, "IFNAMSIZ - 1");
}

#[test]
fn hot_plugged_link_is_named_by_the_kernel_and_a_boot_time_one_is_eth0() {
    assert!(plug(&eni(), "lab-n1", true)[0].contains("peer name eth%d "));
    assert!(plug(&eni(), "lab-n1", false)[0].contains("peer name eth0 "));
    assert!(plug(&eni(), "lab-n1", true)[0].contains("address 00:16:3e:00:ab:01"));
}

#[test]
fn withdrawal_undoes_every_assignment() {
    let addresses = eni().delivered();
    let objects = |lines: Vec<String>, verb: &str| {
        let mut objects: Vec<_> = lines
            .iter()
            .map(|line| line.replace(verb, "").split(' ').take(3).collect::<Vec<_>>().join(" "))
            .collect();
        objects.sort();
        objects
    };
    let (put, taken) = (assign(&eni(), &addresses), withdraw(&eni(), &addresses));
    assert_eq!(put.len(), 5, "a route and a neighbour each, and one route for all of a prefix");
    assert_eq!(objects(put, "replace"), objects(taken, "del"));
}

#[test]
fn meddling_and_boot_configure_only_the_families_of_the_subnet() {
    let mut v4_only = eni();
    v4_only.addresses.truncate(1);
    let lines = [configure_primary(&v4_only), meddle(&v4_only, "eth1", "ens5")].concat();
    assert!(!lines.iter().any(|line| line.contains("fe80") || line.contains("/128")), "{lines:?}");
}
