//! Shared pods: veth, policy routing, DEL and ADD again.

use tideway_model::Mode;
use tideway_netlink::{Datapath, DatapathError};

use crate::world::{SERVICE, World, shared_eni, skipped};

const POOL: [&str; 4] = ["10.0.0.11", "10.0.0.12", "fd00:10::11", "fd00:10::12"];

async fn node(world: &World) -> Datapath {
    let primary = world.node("n1", 1, &["10.0.0.1", "fd00:10::1"]);
    let mac = world.eni("n1", "eth1", 2, &POOL);
    let datapath = world.datapath("n1", primary).await;
    let link = datapath.prepare(&shared_eni(mac, &POOL)).await.unwrap();
    let (gone, seen) = (tideway_model::Mac([2; 6]), datapath.link_of(mac).await.unwrap());
    let shown = world.ip("n1", "-o link show dev eth1");
    assert!(shown.starts_with(&format!("{}: {}@", link.index, link.name)), "{link:?} {shown}");
    assert_eq!(seen, Some(link));
    assert_eq!(datapath.link_of(gone).await.unwrap(), None);
    datapath
}

/// Routes in the table of local pods, both families.
fn pod_routes(world: &World) -> usize {
    let all = world.ip("n1", "route show table all") + &world.ip("n1", "-6 route show table all");
    all.lines().filter(|l| l.contains("table 510")).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn shared_pods_reach_vpc_node_and_each_other_in_both_families() {
    if skipped("shared_pods_reach_vpc_node_and_each_other_in_both_families") {
        return;
    }
    let world = World::new();
    let datapath = node(&world).await;
    let a = world.shared_pod("a", &["10.0.0.11", "fd00:10::11"]);
    let b = world.shared_pod("b", &["10.0.0.12", "fd00:10::12"]);
    for pod in [&a, &b] {
        let plumbed = datapath.add(pod).await.unwrap();
        assert_eq!(plumbed.ips.len(), 2);
        assert_eq!(plumbed.interfaces[0].name.as_str(), "eth0");
        assert_eq!(datapath.check(pod).await.unwrap(), Vec::<String>::new());
    }
    for to in SERVICE.iter().chain(&["10.0.0.1", "fd00:10::1", "10.0.0.12", "fd00:10::12"]) {
        world.must_ping("a", to);
    }
    for (from, to) in
        [("vpc", "10.0.0.11"), ("n1", "10.0.0.11"), ("n1", "fd00:10::11"), ("b", "fd00:10::11")]
    {
        world.must_ping(from, to);
    }
    // Nothing was asked on the wire between pod and host.
    assert!(!world.ip("a", "neigh show").contains("REACHABLE"));
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_do_not_grow_with_pods() {
    if skipped("rules_do_not_grow_with_pods") {
        return;
    }
    let world = World::new();
    let datapath = node(&world).await;
    let count = || {
        world.ip("n1", "rule show").lines().count() + world.ip("n1", "-6 rule show").lines().count()
    };
    let before = count();
    for (pod, ip) in [("a", "10.0.0.11"), ("b", "10.0.0.12")] {
        datapath.add(&world.shared_pod(pod, &[ip])).await.unwrap();
    }
    assert_eq!(count(), before);
    assert_eq!(pod_routes(&world), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_add_answers_the_same_and_a_second_del_succeeds() {
    if skipped("a_second_add_answers_the_same_and_a_second_del_succeeds") {
        return;
    }
    let world = World::new();
    let datapath = node(&world).await;
    let pod = world.shared_pod("a", &["10.0.0.11", "fd00:10::11"]);
    let first = datapath.add(&pod).await.unwrap();
    world.must_ping("a", SERVICE[0]);
    assert_eq!(datapath.add(&pod).await.unwrap(), first);
    world.must_ping("a", SERVICE[0]);
    datapath.del(&pod).await.unwrap();
    assert_eq!(pod_routes(&world), 0);
    datapath.del(&pod).await.unwrap();
    world.delete("a");
    datapath.del(&pod).await.unwrap();
    let mut nameless = pod.clone();
    nameless.netns = String::new();
    datapath.del(&nameless).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn add_after_del_in_the_same_namespace_does_not_meet_the_old_link() {
    if skipped("add_after_del_in_the_same_namespace_does_not_meet_the_old_link") {
        return;
    }
    let world = World::new();
    let datapath = node(&world).await;
    let old = world.shared_pod("a", &["10.0.0.11"]);
    datapath.add(&old).await.unwrap();
    datapath.del(&old).await.unwrap();
    assert_eq!(datapath.pending_links(), 1);
    let mut new = world.attachment("a", Mode::Veth, old.eni_mac, &["10.0.0.12"]);
    new.key.container = "another".try_into().unwrap();
    datapath.add(&new).await.unwrap();
    assert_eq!(datapath.pending_links(), 0);
    assert_eq!(datapath.check(&new).await.unwrap(), Vec::<String>::new());
    world.must_ping("a", SERVICE[0]);
    // The same container again, while its own link is pending.
    datapath.del(&new).await.unwrap();
    datapath.add(&new).await.unwrap();
    world.must_ping("a", SERVICE[0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_that_is_gone_or_the_hosts_own_or_none_is_refused_with_its_cause() {
    if skipped("a_namespace_that_is_gone_or_the_hosts_own_or_none_is_refused_with_its_cause") {
        return;
    }
    let world = World::new();
    let datapath = node(&world).await;
    let mut pod = world.shared_pod("a", &["10.0.0.11"]);
    pod.netns = "/run/netns/there-is-none".to_owned();
    assert!(datapath.add(&pod).await.unwrap_err().is_namespace_gone());
    for (bad, word) in [
        (world.path("n1").display().to_string(), "host's own"),
        ("/etc/hostname".to_owned(), "no namespace"),
        ("relative".to_owned(), "not absolute"),
    ] {
        pod.netns = bad;
        let error = datapath.add(&pod).await.unwrap_err();
        assert!(matches!(error, DatapathError::NamespaceRefused { .. }), "{error}");
        assert!(error.to_string().contains(word), "{error}");
        datapath.del(&pod).await.unwrap();
    }
    assert_eq!(pod_routes(&world), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_add_leaves_nothing_behind() {
    if skipped("a_failed_add_leaves_nothing_behind") {
        return;
    }
    let world = World::new();
    let datapath = node(&world).await;
    let before = world.links("n1");
    let pod = world.shared_pod("a", &["10.0.0.11"]);
    world.ip("a", "link add eth0 type veth peer name foreign");
    let error = datapath.add(&pod).await.unwrap_err();
    assert!(matches!(error, DatapathError::NameTaken { .. }), "{error}");
    // An address that no interface can have makes the part after the link fail.
    let bad = world.shared_pod("b", &["10.0.0.12", "ff02::1"]);
    datapath.add(&bad).await.unwrap_err();
    assert_eq!(world.links("n1"), before);
    assert!(!world.ip("b", "link show").contains("eth0"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_namespace_without_ipv6_gets_its_address_all_the_same() {
    if skipped("a_pod_namespace_without_ipv6_gets_its_address_all_the_same") {
        return;
    }
    let world = World::new();
    let datapath = node(&world).await;
    let pod = world.shared_pod("a", &["10.0.0.11", "fd00:10::11"]);
    world.exec("a", &["sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1"]);
    world.exec("a", &["sysctl", "-qw", "net.ipv6.conf.default.disable_ipv6=1"]);
    datapath.add(&pod).await.unwrap();
    assert_eq!(datapath.check(&pod).await.unwrap(), Vec::<String>::new());
    world.must_ping("a", SERVICE[1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_adds_and_dels_at_once_do_not_meet_each_other() {
    if skipped("many_adds_and_dels_at_once_do_not_meet_each_other") {
        return;
    }
    let world = World::new();
    let datapath = node(&world).await;
    datapath.start();
    let pods: Vec<_> = (100..140u8)
        .map(|n| world.shared_pod(&format!("m{n}"), &[&format!("10.0.0.{n}")]))
        .collect();
    for _round in 0..2 {
        let adds: Vec<_> = pods
            .iter()
            .cloned()
            .map(|pod| {
                let datapath = datapath.clone();
                tokio::spawn(async move { datapath.add(&pod).await.map(|_| ()) })
            })
            .collect();
        for add in adds {
            add.await.unwrap().unwrap();
        }
        assert_eq!(pod_routes(&world), pods.len());
        for pod in &pods {
            assert_eq!(datapath.check(pod).await.unwrap(), Vec::<String>::new());
        }
        let dels: Vec<_> = pods
            .iter()
            .cloned()
            .map(|pod| {
                let datapath = datapath.clone();
                tokio::spawn(async move { datapath.del(&pod).await })
            })
            .collect();
        for del in dels {
            del.await.unwrap().unwrap();
        }
        assert_eq!(pod_routes(&world), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_eni_that_appears_late_is_waited_for() {
    if skipped("an_eni_that_appears_late_is_waited_for") {
        return;
    }
    let world = World::new();
    let primary = world.node("n1", 1, &["10.0.0.1", "fd00:10::1"]);
    let datapath = world.datapath("n1", primary).await;
    let mac = tideway_model::Mac([0x00, 0x16, 0x3e, 0, 0, 2]);
    let preparing = tokio::spawn({
        let datapath = datapath.clone();
        async move { datapath.prepare(&shared_eni(mac, &["fd00:10::11"])).await }
    });
    tokio::task::yield_now().await;
    world.eni("n1", "eth1", 2, &["fd00:10::11"]);
    preparing.await.unwrap().unwrap();
    // A pod with IPv6 alone.
    datapath.add(&world.shared_pod("a", &["fd00:10::11"])).await.unwrap();
    world.must_ping("a", SERVICE[1]);
}
