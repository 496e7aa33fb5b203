//! What others break is repaired; what others own is left alone.

use std::collections::BTreeMap;

use tideway_netlink::{Datapath, SharedEniNet};

use crate::world::{SERVICE, World, eventually, shared_eni, skipped};

const POOL: [&str; 3] = ["10.0.0.11", "10.0.0.12", "fd00:10::11"];

async fn setup() -> (World, Datapath, SharedEniNet) {
    let world = World::new();
    let primary = world.node("n1", 1, &["10.0.0.1", "fd00:10::1"]);
    let mac = world.eni("n1", "eth1", 2, &POOL);
    let datapath = world.datapath("n1", primary).await;
    let eni = shared_eni(mac, &POOL);
    datapath.prepare(&eni).await.unwrap();
    (world, datapath, eni)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_deleted_is_put_back_and_a_healthy_host_is_left_as_it_is() {
    if skipped("what_somebody_deleted_is_put_back_and_a_healthy_host_is_left_as_it_is") {
        return;
    }
    let (world, datapath, eni) = setup().await;
    let pod = world.shared_pod("a", &["10.0.0.11", "fd00:10::11"]);
    datapath.add(&pod).await.unwrap();
    let wanted = [pod.clone()];
    let enis = [eni];
    assert_eq!(datapath.repair(&wanted, &enis).await.unwrap(), Vec::<String>::new());
    let host = Datapath::host_link_name(&pod.key, pod.mode);
    let breaks = [
        ("n1", "route del 10.0.0.11 table 510".to_owned()),
        ("n1", "-6 route flush table 510".to_owned()),
        ("n1", "route flush table 1001".to_owned()),
        ("n1", "rule del priority 512".to_owned()),
        ("n1", "rule del priority 1024".to_owned()),
        ("n1", format!("neigh flush dev {host} nud permanent")),
        ("n1", format!("link set {host} down")),
        ("n1", "link set eth1 down".to_owned()),
        ("a", "route del default".to_owned()),
        ("a", "link set eth0 down".to_owned()),
    ];
    for (place, what) in breaks {
        world.ip(place, &what);
        let reports = datapath.repair(&wanted, &enis).await.unwrap();
        assert!(!reports.is_empty(), "{what} was not noticed");
        assert_eq!(datapath.check(&pod).await.unwrap(), Vec::<String>::new(), "{what}");
        assert_eq!(datapath.repair(&wanted, &enis).await.unwrap(), Vec::<String>::new(), "{what}");
        world.must_ping("a", SERVICE[0]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_whose_link_was_deleted_is_plumbed_anew() {
    if skipped("a_pod_whose_link_was_deleted_is_plumbed_anew") {
        return;
    }
    let (world, datapath, eni) = setup().await;
    let pod = world.shared_pod("a", &["10.0.0.11"]);
    datapath.add(&pod).await.unwrap();
    world.ip("n1", &format!("link del {}", Datapath::host_link_name(&pod.key, pod.mode)));
    assert!(!datapath.check(&pod).await.unwrap().is_empty());
    let enis = [eni];
    datapath.repair(std::slice::from_ref(&pod), &enis).await.unwrap();
    world.must_ping("a", SERVICE[0]);
    // A pod that is gone altogether is reported, not an error.
    world.delete("a");
    let reports = datapath.repair(std::slice::from_ref(&pod), &enis).await.unwrap();
    assert!(reports.iter().any(|r| r.contains("is gone")), "{reports:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn links_without_a_pod_go_and_foreign_objects_stay() {
    if skipped("links_without_a_pod_go_and_foreign_objects_stay") {
        return;
    }
    let (world, datapath, eni) = setup().await;
    datapath.start();
    let forgotten = world.shared_pod("a", &["10.0.0.11"]);
    datapath.add(&forgotten).await.unwrap();
    world.ip("n1", "link add twinkle type veth peer name star");
    world.ip("n1", "route add 10.9.9.9 dev eth0 proto static");
    world.ip("n1", "route add 10.9.9.8 dev eth0 table 510 proto 77");
    world.ip("n1", "rule add priority 600 from 10.9.9.9 lookup main");
    world.ip("n1", "neigh add 10.0.0.200 lladdr 02:00:00:00:00:09 dev eth0 nud permanent");
    let reports = datapath.repair(&[], &[eni]).await.unwrap();
    assert!(reports.iter().any(|r| r.contains("without pod")), "{reports:?}");
    let link = Datapath::host_link_name(&forgotten.key, forgotten.mode);
    eventually("the forgotten link goes", || !world.ip("n1", "-br link").contains(link.as_str()));
    assert!(!world.ip("n1", "route show table 510").contains("10.0.0.11"));
    for (show, what) in [
        ("-br link", "twinkle"),
        ("route show", "10.9.9.9"),
        ("route show table 510", "10.9.9.8"),
        ("rule show", "10.9.9.9"),
        ("neigh show", "10.0.0.200"),
    ] {
        assert!(world.ip("n1", show).contains(what), "{what} was removed");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_and_routes_that_dhcp_puts_on_a_shared_eni_are_removed_and_reported() {
    if skipped("addresses_and_routes_that_dhcp_puts_on_a_shared_eni_are_removed_and_reported") {
        return;
    }
    let (world, datapath, eni) = setup().await;
    let pod = world.shared_pod("a", &["10.0.0.11"]);
    datapath.add(&pod).await.unwrap();
    world.ip("n1", "addr add 10.0.0.12/24 dev eth1");
    world.ip("n1", "route add default via 10.0.0.253 dev eth1 proto dhcp metric 5");
    let wanted = [pod];
    let reports = datapath.repair(&wanted, &[eni]).await.unwrap();
    assert!(reports.iter().any(|r| r.contains("10.0.0.12/24")), "{reports:?}");
    assert!(reports.iter().any(|r| r.contains("proto 16")), "{reports:?}");
    assert!(!world.ip("n1", "addr show dev eth1").contains("inet "));
    assert!(!world.ip("n1", "route show").contains("metric 5"));
    world.must_ping("a", SERVICE[0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_nftables_table_comes_back_with_its_addresses() {
    if skipped("a_lost_nftables_table_comes_back_with_its_addresses") {
        return;
    }
    let (world, datapath, eni) = setup().await;
    world.exec("n1", &["nft", "delete table inet tideway"]);
    datapath.repair(&[], std::slice::from_ref(&eni)).await.unwrap();
    let listing = world.exec("n1", &["nft", "list table inet tideway"]);
    for ip in POOL {
        assert!(listing.contains(ip), "{listing}");
    }
    // An addition meets a lost table, and one of another shape.
    world.exec("n1", &["nft", "delete table inet tideway"]);
    datapath.map(1, &["10.0.0.13".parse().unwrap()], &[]).await.unwrap();
    world.exec("n1", &["nft", "delete table inet tideway"]);
    world.exec("n1", &["nft", "add table inet tideway; add chain inet tideway prerouting { type filter hook input priority 7; }"]);
    datapath.base().await.unwrap();
    datapath.map(1, &["10.0.0.14".parse().unwrap()], &[]).await.unwrap();
    assert!(world.exec("n1", &["nft", "list table inet tideway"]).contains("10.0.0.14"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_moves_between_enis_in_the_map_and_leaves_it_again() {
    if skipped("an_address_moves_between_enis_in_the_map_and_leaves_it_again") {
        return;
    }
    let (world, datapath, eni) = setup().await;
    let ip = "10.0.0.12".parse().unwrap();
    let listing = || world.exec("n1", &["nft", "list table inet tideway"]);
    datapath.map(2, &[ip], &[]).await.unwrap();
    assert!(listing().contains("10.0.0.12 : goto eni_2"), "{}", listing());
    datapath.map(2, &[], &[ip]).await.unwrap();
    assert!(!listing().contains("10.0.0.12") && !listing().contains("eni_2"), "{}", listing());
    datapath.retire(eni.mac, 1).await.unwrap();
    assert!(!listing().contains("eni_1"), "{}", listing());
    assert!(!world.ip("n1", "rule show").contains("1001"));
    assert!(!world.ip("n1", "-6 route show table all").contains("1001"));
    assert!(!world.ip("n1", "link show eth1").contains(",UP"));
    datapath.retire(eni.mac, 1).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_eni_that_goes_leaves_alone_what_moved_to_another_one() {
    if skipped("an_eni_that_goes_leaves_alone_what_moved_to_another_one") {
        return;
    }
    let (world, datapath, eni) = setup().await;
    datapath.map(2, &["10.0.0.12".parse().unwrap()], &[]).await.unwrap();
    datapath.retire(eni.mac, 1).await.unwrap();
    let listing = world.exec("n1", &["nft", "list table inet tideway"]);
    assert!(listing.contains("10.0.0.12 : goto eni_2") && !listing.contains("eni_1"), "{listing}");
}

#[tokio::test(flavor = "multi_thread")]
async fn uninstall_leaves_nothing_of_ours() {
    if skipped("uninstall_leaves_nothing_of_ours") {
        return;
    }
    let world = World::new();
    let primary = world.node("n1", 1, &["10.0.0.1", "fd00:10::1"]);
    let mac = world.eni("n1", "eth1", 2, &POOL);
    let shows = [
        "rule",
        "-6 rule",
        "-4 route show table all",
        // The kernel adds local and anycast routes of its own: when duplicate address detection ends, and with forwarding.
        "-6 route show table all type unicast",
        "neigh show nud permanent",
    ];
    let see = || -> BTreeMap<&str, String> {
        let mut all: BTreeMap<&str, String> =
            shows.iter().map(|s| (*s, world.ip("n1", s))).collect();
        all.insert("nft", world.exec("n1", &["nft", "list ruleset"]));
        all.insert("links", world.links("n1").join("\n"));
        all
    };
    let before = see();
    let datapath = world.datapath("n1", primary).await;
    let eni = shared_eni(mac, &POOL);
    datapath.prepare(&eni).await.unwrap();
    for (pod, ip) in [("a", "10.0.0.11"), ("b", "10.0.0.12")] {
        datapath.add(&world.shared_pod(pod, &[ip])).await.unwrap();
    }
    datapath.retire(mac, 1).await.unwrap();
    datapath.uninstall().await.unwrap();
    assert_eq!(datapath.pending_links(), 0);
    assert_eq!(see(), before);
    datapath.uninstall().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_base_reports_drift_once_and_a_hostile_host_works_afterwards() {
    if skipped("the_base_reports_drift_once_and_a_hostile_host_works_afterwards") {
        return;
    }
    let (world, datapath, _eni) = setup().await;
    assert_eq!(datapath.base().await.unwrap(), Vec::<String>::new());
    world.exec("n1", &["sysctl", "-qw", "net.ipv4.conf.all.rp_filter=2"]);
    world.exec("n1", &["sysctl", "-qw", "net.ipv4.ip_forward=0"]);
    let reports = datapath.base().await.unwrap();
    assert!(
        reports.iter().any(|r| r == "net.ipv4.conf.all.rp_filter was 2, set to 0"),
        "{reports:?}"
    );
    assert!(reports.iter().any(|r| r.starts_with("net.ipv4.ip_forward was 0")), "{reports:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn meddling_after_the_attach_is_undone_without_being_asked() {
    if skipped("meddling_after_the_attach_is_undone_without_being_asked") {
        return;
    }
    let (world, datapath, _eni) = setup().await;
    datapath.add(&world.shared_pod("a", &["10.0.0.11"])).await.unwrap();
    let idle = world.eni("n1", "eth5", 5, &[]);
    datapath.idle([idle].into());
    world.ip("n1", "link set eth5 up");
    world.ip("n1", "addr add 10.0.0.77/24 dev eth5");
    world.ip("n1", "route add default via 10.0.0.253 dev eth5 proto dhcp metric 3");
    world.ip("n1", "addr add 10.0.0.12/24 dev eth1");
    world.exec("n1", &["sysctl", "-qw", "net.ipv4.conf.eth1.rp_filter=2"]);
    // What a DHCP client takes away costs the ENI all its routes.
    world.ip("n1", "addr del 10.0.0.12/24 dev eth1");
    datapath.start();
    eventually("the ENIs are in order again", || {
        let addresses = world.ip("n1", "addr show");
        let filter = world.exec("n1", &["sysctl", "-n", "net.ipv4.conf.eth1.rp_filter"]);
        !addresses.contains("10.0.0.77")
            && !world.ip("n1", "route show").contains("metric 3")
            && world.ip("n1", "route show table all").contains("table 1001")
            && filter.trim() == "0"
    });
    world.must_ping("a", SERVICE[0]);
    // The report follows the correction.
    eventually("the watch tells what it corrected", || !datapath.drift().is_empty());
}
