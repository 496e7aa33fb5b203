//! Flows that are translated on the node: Services, NodePorts, hostPorts. kube-proxy is played by one nftables table.
//! The VPC drops what leaves by an ENI with an address that is not assigned to it, so a wrong way shows as a failed call.

use std::net::{IpAddr, SocketAddr};

use tideway_netlink::Datapath;

use crate::world::{World, shared_eni, skipped};

const POD: &str = "10.0.0.11";
const EXCLUSIVE: &str = "10.0.0.31";
const NODE: &str = "10.0.0.1";
const REMOTE: &str = "10.0.0.2";

fn at(ip: &str, port: u16) -> SocketAddr {
    SocketAddr::new(ip.parse().unwrap(), port)
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// One node with a shared and an exclusive pod, and two remote nodes.
async fn setup(external_snat: bool) -> (World, Datapath) {
    let world = World::new();
    let primary = world.node("n1", 1, &[NODE, "fd00:10::1"]);
    let shared = world.eni("n1", "eth1", 2, &[POD, "fd00:10::11"]);
    let own = world.eni("n1", "eth2", 3, &[EXCLUSIVE, "fd00:10::31"]);
    world.node("n2", 5, &[REMOTE, "fd00:10::2"]);
    world.node("n3", 6, &["10.0.0.3", "fd00:10::3"]);
    let datapath = world.datapath_with("n1", primary, external_snat).await;
    datapath.prepare(&shared_eni(shared, &[POD, "fd00:10::11"])).await.unwrap();
    datapath.add(&world.shared_pod("a", &[POD, "fd00:10::11"])).await.unwrap();
    datapath.add(&world.exclusive_pod("x", own, &[EXCLUSIVE, "fd00:10::31"])).await.unwrap();
    (world, datapath)
}

/// kube-proxy: destination NAT by port, and masquerading of what carries its mark.
fn proxy(world: &World, rules: &str) {
    world.nft(
        "n1",
        &format!(
            "table inet kube {{ chain pre {{ type nat hook prerouting priority dstnat; policy accept;\n{rules}\n}}
            chain out {{ type nat hook output priority -100; policy accept;\n{rules}\n}}
            chain post {{ type nat hook postrouting priority srcnat; policy accept;
            meta mark & 0x4000 == 0x4000 meta mark set meta mark ^ 0x4000 masquerade\n}}\n}}"
        ),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn node_port_replies_of_a_shared_pod_leave_by_the_primary_eni() {
    if skipped("node_port_replies_of_a_shared_pod_leave_by_the_primary_eni") {
        return;
    }
    let (world, _datapath) = setup(true).await;
    proxy(
        &world,
        "tcp dport 30080 ip daddr 10.0.0.1 dnat ip to 10.0.0.11:8080
        tcp dport 30080 ip6 daddr fd00:10::1 dnat ip6 to [fd00:10::11]:8080",
    );
    let _v4 = world.serve("a", at(POD, 8080));
    let _v6 = world.serve("a", at("fd00:10::11", 8080));
    assert_eq!(world.must_call("n2", at(NODE, 30080)), ip(REMOTE));
    assert_eq!(world.must_call("n2", at("fd00:10::1", 30080)), ip("fd00:10::2"));
    // Direct calls go on by the pod's own ENI.
    assert_eq!(world.must_call("n2", at(POD, 8080)), ip(REMOTE));
}

#[tokio::test(flavor = "multi_thread")]
async fn node_port_of_an_exclusive_pod_works_with_the_nodes_address() {
    if skipped("node_port_of_an_exclusive_pod_works_with_the_nodes_address") {
        return;
    }
    let (world, _datapath) = setup(true).await;
    proxy(
        &world,
        "tcp dport 30081 ip daddr 10.0.0.1 dnat ip to 10.0.0.31:8080
        tcp dport 30081 ip6 daddr fd00:10::1 dnat ip6 to [fd00:10::31]:8080",
    );
    let _v4 = world.serve("x", at(EXCLUSIVE, 8080));
    let _v6 = world.serve("x", at("fd00:10::31", 8080));
    assert_eq!(world.must_call("n2", at(NODE, 30081)), ip(NODE));
    assert_eq!(world.must_call("n2", at("fd00:10::1", 30081)), ip("fd00:10::1"));
    assert_eq!(world.must_call("n2", at(EXCLUSIVE, 8080)), ip(REMOTE));
    assert_eq!(world.must_call("n1", at(NODE, 30081)), ip(NODE));
}

#[tokio::test(flavor = "multi_thread")]
async fn cluster_ips_work_from_both_kinds_of_pods_with_local_and_remote_backends() {
    if skipped("cluster_ips_work_from_both_kinds_of_pods_with_local_and_remote_backends") {
        return;
    }
    let (world, _datapath) = setup(true).await;
    proxy(
        &world,
        "ip daddr 172.21.0.10 tcp dport 80 dnat ip to 10.0.0.2:8080
        ip daddr 172.21.0.11 tcp dport 80 dnat ip to 10.0.0.11:8080
        ip daddr 172.21.0.12 tcp dport 80 dnat ip to 10.0.0.31:8080
        ip6 daddr fd00:172::10 tcp dport 80 dnat ip6 to [fd00:10::2]:8080",
    );
    let _remote = world.serve("n2", at("0.0.0.0", 8080));
    let _remote6 = world.serve("n2", at("fd00:10::2", 8080));
    let _shared = world.serve("a", at("0.0.0.0", 8080));
    let _exclusive = world.serve("x", at("0.0.0.0", 8080));
    // A shared pod keeps its address: the ENI carries it.
    assert_eq!(world.must_call("a", at("172.21.0.10", 80)), ip(POD));
    assert_eq!(world.must_call("a", at("fd00:172::10", 80)), ip("fd00:10::11"));
    assert_eq!(world.must_call("a", at("172.21.0.12", 80)), ip(POD));
    // An exclusive pod's Service traffic leaves the node with the node's address, and stays itself within it.
    assert_eq!(world.must_call("x", at("172.21.0.10", 80)), ip(NODE));
    assert_eq!(world.must_call("x", at("fd00:172::10", 80)), ip("fd00:10::1"));
    assert_eq!(world.must_call("x", at("172.21.0.11", 80)), ip(EXCLUSIVE));
    assert_eq!(world.must_call("n1", at("172.21.0.12", 80)), ip(NODE));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_kube_proxy_masquerades_leaves_by_the_primary_eni() {
    if skipped("what_kube_proxy_masquerades_leaves_by_the_primary_eni") {
        return;
    }
    let (world, _datapath) = setup(true).await;
    proxy(&world, "ip daddr 172.21.0.10 tcp dport 80 meta mark set meta mark | 0x4000 dnat ip to 10.0.0.2:8080
        ip daddr 172.21.0.13 tcp dport 80 meta mark set meta mark | 0x4000 dnat ip to 10.0.0.11:8080");
    let _remote = world.serve("n2", at("0.0.0.0", 8080));
    let _own = world.serve("a", at("0.0.0.0", 8080));
    assert_eq!(world.must_call("a", at("172.21.0.10", 80)), ip(NODE));
    // Hairpin: the pod calls itself through its Service.
    assert_eq!(world.must_call("a", at("172.21.0.13", 80)), ip(NODE));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_port_whose_backend_is_remote_is_masqueraded_even_without_kube_proxys_mark() {
    if skipped("a_node_port_whose_backend_is_remote_is_masqueraded_even_without_kube_proxys_mark") {
        return;
    }
    let (world, _datapath) = setup(true).await;
    proxy(&world, "tcp dport 30082 ip daddr 10.0.0.1 dnat ip to 10.0.0.3:8080");
    let _backend = world.serve("n3", at("0.0.0.0", 8080));
    assert_eq!(world.must_call("n2", at(NODE, 30082)), ip(NODE));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_way_out_of_the_vpc_follows_the_configuration() {
    if skipped("the_way_out_of_the_vpc_follows_the_configuration") {
        return;
    }
    for (external_snat, expected) in [(true, POD), (false, NODE)] {
        let (world, _datapath) = setup(external_snat).await;
        let _outside = world.serve("vpc", at("100.100.100.200", 8080));
        assert_eq!(world.must_call("a", at("100.100.100.200", 8080)), ip(expected));
        let _inside = world.serve("n2", at(REMOTE, 8080));
        assert_eq!(world.must_call("a", at(REMOTE, 8080)), ip(POD));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_way_out_of_the_vpc_follows_the_configuration_for_a_pod_with_an_eni_too() {
    if skipped("the_way_out_of_the_vpc_follows_the_configuration_for_a_pod_with_an_eni_too") {
        return;
    }
    let ways = [(true, [EXCLUSIVE, "fd00:10::31"]), (false, [NODE, "fd00:10::1"])];
    for (external_snat, [seen_v4, seen_v6]) in ways {
        let (world, _datapath) = setup(external_snat).await;
        let _outside = world.serve("vpc", at("100.100.100.200", 8080));
        assert_eq!(world.must_call("x", at("100.100.100.200", 8080)), ip(seen_v4));
        world.ip("vpc", "address add 2001:db8::1/128 dev lo nodad");
        let _outside = world.serve("vpc", at("2001:db8::1", 8080));
        assert_eq!(world.must_call("x", at("2001:db8::1", 8080)), ip(seen_v6));
        // Inside the VPC nothing is translated, on the same node neither.
        let _inside = world.serve("n2", at(REMOTE, 8080));
        assert_eq!(world.must_call("x", at(REMOTE, 8080)), ip(EXCLUSIVE));
        let _shared = world.serve("a", at(POD, 8080));
        assert_eq!(world.must_call("x", at(POD, 8080)), ip(EXCLUSIVE));
    }
}
