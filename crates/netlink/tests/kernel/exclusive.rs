//! Exclusive pods: the ENI itself goes in, and comes back.

use tideway_netlink::{Datapath, DatapathError};

use crate::world::{SERVICE, World, eventually, shared_eni, skipped};

const IPS: [&str; 2] = ["10.0.0.31", "fd00:10::31"];

struct Setup {
    world: World,
    datapath: Datapath,
    mac: tideway_model::Mac,
}

async fn setup() -> Setup {
    let world = World::new();
    let primary = world.node("n1", 1, &["10.0.0.1", "fd00:10::1"]);
    let shared = world.eni("n1", "eth1", 2, &["10.0.0.11", "fd00:10::11"]);
    let mac = world.eni("n1", "eth2", 3, &IPS);
    let datapath = world.datapath("n1", primary).await;
    datapath.prepare(&shared_eni(shared, &["10.0.0.11", "fd00:10::11"])).await.unwrap();
    Setup { world, datapath, mac }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exclusive_pod_reaches_vpc_and_node_and_meets_shared_pods_in_the_vpc_only() {
    if skipped("an_exclusive_pod_reaches_vpc_and_node_and_meets_shared_pods_in_the_vpc_only") {
        return;
    }
    let Setup { world, datapath, mac } = setup().await;
    let pod = world.exclusive_pod("x", mac, &IPS);
    let plumbed = datapath.add(&pod).await.unwrap();
    assert_eq!(plumbed.interfaces[0].mac, mac);
    assert_eq!(plumbed.ips[0].gateway, Some("10.0.0.253".parse().unwrap()));
    assert_eq!(datapath.check(&pod).await.unwrap(), Vec::<String>::new());
    datapath.add(&world.shared_pod("a", &["10.0.0.11", "fd00:10::11"])).await.unwrap();
    for (from, to) in [
        ("x", SERVICE[0]),
        ("x", SERVICE[1]),
        ("vpc", IPS[0]),
        ("vpc", IPS[1]),
        ("n1", IPS[0]),
        ("n1", IPS[1]),
        ("x", "10.0.0.1"),
        ("x", "fd00:10::1"),
        ("x", "10.0.0.11"),
        ("a", IPS[0]),
        ("a", IPS[1]),
        ("x", "fd00:10::11"),
    ] {
        world.must_ping(from, to);
    }
    // What the VPC forbids between the two is forbidden, although they share the node.
    world.nft("vpc", "add rule inet vpc pre ip saddr { 10.0.0.11, 10.0.0.31 } ip daddr { 10.0.0.11, 10.0.0.31 } drop");
    assert!(!world.pings("a", IPS[0]));
    assert!(!world.pings("x", "10.0.0.11"));
    world.must_ping("n1", IPS[0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn del_returns_the_eni_before_it_answers_bare_and_down() {
    if skipped("del_returns_the_eni_before_it_answers_bare_and_down") {
        return;
    }
    let Setup { world, datapath, mac } = setup().await;
    let pod = world.exclusive_pod("x", mac, &IPS);
    let first = datapath.add(&pod).await.unwrap();
    assert_eq!(datapath.add(&pod).await.unwrap(), first);
    assert_eq!(datapath.link_of(mac).await.unwrap(), None);
    datapath.del(&pod).await.unwrap();
    let link = datapath.link_of(mac).await.unwrap().expect("the ENI is back").name;
    let shown = world.ip("n1", &format!("addr show dev {link}"));
    assert!(!shown.contains("inet") && !shown.contains(",UP"), "{shown}");
    assert!(!world.ip("n1", "route show").contains(IPS[0]));
    assert!(!world.ip("x", "link show").contains("eth0"));
    datapath.del(&pod).await.unwrap();
    // The next pod takes it, whatever its name is now, in the former one's namespace too.
    let mut next = pod.clone();
    next.key.container = "next".try_into().unwrap();
    datapath.add(&next).await.unwrap();
    world.must_ping("x", SERVICE[0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_eni_whose_mac_the_pod_changed_comes_back_as_itself() {
    if skipped("an_eni_whose_mac_the_pod_changed_comes_back_as_itself") {
        return;
    }
    let Setup { world, datapath, mac } = setup().await;
    let pod = world.exclusive_pod("x", mac, &IPS);
    datapath.add(&pod).await.unwrap();
    world.ip("x", "link set eth0 address 02:00:00:00:00:77");
    datapath.del(&pod).await.unwrap();
    assert!(datapath.link_of(mac).await.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn del_after_the_namespace_died_withdraws_the_rest() {
    if skipped("del_after_the_namespace_died_withdraws_the_rest") {
        return;
    }
    let Setup { world, datapath, mac } = setup().await;
    let pod = world.exclusive_pod("x", mac, &IPS);
    datapath.add(&pod).await.unwrap();
    world.delete("x");
    datapath.del(&pod).await.unwrap();
    eventually("the host peer goes with the namespace", || {
        let links = world.ip("n1", "-br link show");
        !links.contains("twx")
    });
    assert!(!world.ip("n1", "route show").contains(IPS[0]));
    assert!(datapath.live(std::slice::from_ref(&pod)).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn add_waits_for_an_eni_that_is_still_on_its_way() {
    if skipped("add_waits_for_an_eni_that_is_still_on_its_way") {
        return;
    }
    let Setup { world, datapath, .. } = setup().await;
    let late = tideway_model::Mac([0x00, 0x16, 0x3e, 0, 0, 4]);
    let pod = world.exclusive_pod("y", late, &["10.0.0.41"]);
    let adding = tokio::spawn({
        let (datapath, pod) = (datapath.clone(), pod.clone());
        async move { datapath.add(&pod).await }
    });
    tokio::task::yield_now().await;
    world.eni("n1", "eth7", 4, &["10.0.0.41"]);
    adding.await.unwrap().unwrap();
    world.must_ping("y", SERVICE[0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_eni_goes_into_the_pod_without_what_dhcp_clients_put_on_it() {
    if skipped("an_eni_goes_into_the_pod_without_what_dhcp_clients_put_on_it") {
        return;
    }
    let Setup { world, datapath, mac } = setup().await;
    world.ip("n1", "link set eth2 up");
    world.ip("n1", "addr add 10.0.0.99/24 dev eth2");
    world.ip("n1", "route add default via 10.0.0.253 dev eth2 proto dhcp metric 500");
    let pod = world.exclusive_pod("x", mac, &IPS);
    datapath.add(&pod).await.unwrap();
    assert!(!world.ip("x", "addr show").contains("10.0.0.99"));
    assert!(!world.ip("n1", "route show").contains("metric 500"));
    world.must_ping("x", SERVICE[0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_of_somebody_else_is_not_replaced_and_an_old_one_of_ours_is() {
    if skipped("a_route_of_somebody_else_is_not_replaced_and_an_old_one_of_ours_is") {
        return;
    }
    let Setup { world, datapath, mac } = setup().await;
    let pod = world.exclusive_pod("x", mac, &IPS[..1]);
    world.ip("n1", "route add 10.0.0.31 dev eth0 proto static");
    let error = datapath.add(&pod).await.unwrap_err();
    assert!(error.to_string().contains("protocol 4 "), "{error}");
    assert!(world.ip("n1", "route show").contains("10.0.0.31 dev eth0"));
    assert!(datapath.link_of(mac).await.unwrap().is_some(), "the ENI was not given back");
    world.ip("n1", "route del 10.0.0.31 dev eth0");
    world.ip("n1", "route add 10.0.0.31 dev eth1 proto 84 scope link");
    datapath.add(&pod).await.unwrap();
    assert_eq!(datapath.check(&pod).await.unwrap(), Vec::<String>::new());
    world.must_ping("n1", IPS[0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_exclusive_add_gives_the_eni_back() {
    if skipped("a_failed_exclusive_add_gives_the_eni_back") {
        return;
    }
    let Setup { world, datapath, mac } = setup().await;
    let pod = world.exclusive_pod("x", mac, &IPS);
    world.ip("x", "link add twhost type veth peer name foreign");
    let error = datapath.add(&pod).await.unwrap_err();
    assert!(matches!(error, DatapathError::NameTaken { .. }), "{error}");
    assert!(datapath.link_of(mac).await.unwrap().is_some());
}
