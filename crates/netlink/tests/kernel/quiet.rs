//! When an address may be used again: links gone, conntrack flushed.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use tideway_model::Mac;
use tideway_netlink::{Datapath, DatapathError};

use crate::world::{SERVICE, World, eventually, quiet, shared_eni, skipped};

async fn setup() -> (World, Datapath) {
    let world = World::new();
    let primary = world.node("n1", 1, &["10.0.0.1", "fd00:10::1"]);
    let pool = ["10.0.0.11", "10.0.0.12"];
    let mac = world.eni("n1", "eth1", 2, &pool);
    let datapath = world.datapath("n1", primary).await;
    datapath.prepare(&shared_eni(mac, &pool)).await.unwrap();
    (world, datapath)
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_is_quiet_only_after_its_link_is_gone_and_conntrack_is_flushed() {
    if skipped("an_address_is_quiet_only_after_its_link_is_gone_and_conntrack_is_flushed") {
        return;
    }
    let (world, datapath) = setup().await;
    let (a, b) = (world.shared_pod("a", &["10.0.0.11"]), world.shared_pod("b", &["10.0.0.12"]));
    for pod in [&a, &b] {
        datapath.add(pod).await.unwrap();
    }
    let _server = world.serve("vpc", SocketAddr::new(ip(SERVICE[0]), 8080));
    for pod in ["a", "b"] {
        world.must_call(pod, SocketAddr::new(ip(SERVICE[0]), 8080));
    }
    let tracked = |address: &str| {
        let count = world.try_exec("n1", &["conntrack", "-L", "-s", address]);
        String::from_utf8_lossy(&count.stdout).lines().count()
    };
    assert!(tracked("10.0.0.11") > 0 && tracked("10.0.0.12") > 0);
    let early = datapath.quiesce(&[ip("10.0.0.11")]).await.unwrap_err();
    assert!(matches!(early, DatapathError::NotQuiet { .. }), "{early}");
    datapath.del(&a).await.unwrap();
    let link = Datapath::host_link_name(&a.key, a.mode);
    assert!(world.ip("n1", "-br link").contains(link.as_str()), "DEL must not wait for the link");
    datapath.start();
    quiet(&datapath, "10.0.0.11").await;
    assert!(!world.ip("n1", "-br link").contains(link.as_str()));
    assert_eq!(tracked("10.0.0.11"), 0);
    assert!(tracked("10.0.0.12") > 0, "another pod's flows were flushed");
    world.must_ping("b", SERVICE[0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn links_that_the_runtime_leaves_are_deleted_and_those_it_takes_are_noticed() {
    if skipped("links_that_the_runtime_leaves_are_deleted_and_those_it_takes_are_noticed") {
        return;
    }
    let (world, datapath) = setup().await;
    let (a, b) = (world.shared_pod("a", &["10.0.0.11"]), world.shared_pod("b", &["10.0.0.12"]));
    for pod in [&a, &b] {
        datapath.add(pod).await.unwrap();
        datapath.del(pod).await.unwrap();
    }
    assert_eq!(datapath.pending_links(), 2);
    world.delete("b");
    // No worker has looked yet: who asks is told of what the kernel has.
    let counted = async { while datapath.count_pending_links().await != 1 {} };
    tokio::time::timeout(Duration::from_secs(10), counted)
        .await
        .expect("a link that is gone is counted");
    datapath.start();
    eventually("no link is pending", || datapath.pending_links() == 0);
    let links = world.ip("n1", "-br link");
    for pod in [&a, &b] {
        assert!(!links.contains(Datapath::host_link_name(&pod.key, pod.mode).as_str()), "{links}");
    }
    assert!(!world.ip("a", "-br link").contains("eth0"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_lives_as_long_as_its_link_or_its_namespace() {
    if skipped("a_pod_lives_as_long_as_its_link_or_its_namespace") {
        return;
    }
    let (world, datapath) = setup().await;
    let (a, b) = (world.shared_pod("a", &["10.0.0.11"]), world.shared_pod("b", &["10.0.0.12"]));
    for pod in [&a, &b] {
        datapath.add(pod).await.unwrap();
    }
    let all = [a.clone(), b.clone()];
    assert_eq!(datapath.live(&all).await.unwrap().len(), 2);
    world.ip("n1", &format!("link del {}", Datapath::host_link_name(&a.key, a.mode)));
    assert_eq!(datapath.live(&all).await.unwrap().len(), 2);
    world.delete("a");
    eventually("the dead pod is seen dead", || !world.path("a").exists());
    let live = datapath.live(&all).await.unwrap();
    assert!(live.contains(&b.key) && !live.contains(&a.key));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_that_cannot_be_opened_is_not_taken_for_gone() {
    if skipped("a_namespace_that_cannot_be_opened_is_not_taken_for_gone") {
        return;
    }
    let (world, datapath) = setup().await;
    let a = world.shared_pod("a", &["10.0.0.11"]);
    datapath.add(&a).await.unwrap();
    world.ip("n1", &format!("link del {}", Datapath::host_link_name(&a.key, a.mode)));
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let seen = |path: std::path::PathBuf| {
        let pod = tideway_model::Attachment { netns: path.display().to_string(), ..a.clone() };
        async { datapath.live(&[pod]).await.map(|live| live.len()) }
    };
    // ELOOP stands for all that says nothing about the namespace, such as EMFILE and ENOMEM.
    std::os::unix::fs::symlink(at("loop"), at("loop")).unwrap();
    let unknown = seen(at("loop")).await;
    assert!(matches!(unknown, Err(DatapathError::Namespace { .. })), "{unknown:?}");
    std::fs::write(at("file"), "").unwrap();
    for gone in [at("absent"), at("file"), at("file").join("below")] {
        assert_eq!(seen(gone.clone()).await.unwrap(), 0, "{}", gone.display());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_was_withdrawn_before_a_crash_survives_when_its_pod_is_still_wanted() {
    if skipped("a_link_that_was_withdrawn_before_a_crash_survives_when_its_pod_is_still_wanted") {
        return;
    }
    let (world, datapath) = setup().await;
    let (a, b) = (world.shared_pod("a", &["10.0.0.11"]), world.shared_pod("b", &["10.0.0.12"]));
    for pod in [&a, &b] {
        datapath.add(pod).await.unwrap();
    }
    datapath.del(&a).await.unwrap();
    // The daemon dies here; the next one finds the attachment in its journal.
    drop(datapath);
    let next = world.datapath("n1", Mac([0x00, 0x16, 0x3e, 0, 0, 1])).await;
    let eni = shared_eni(Mac([0x00, 0x16, 0x3e, 0, 0, 2]), &["10.0.0.11", "10.0.0.12"]);
    next.start();
    next.repair(&[a.clone(), b.clone()], &[eni]).await.unwrap();
    next.del(&b).await.unwrap();
    eventually("the other link is deleted", || next.pending_links() == 0);
    assert_eq!(next.check(&a).await.unwrap(), Vec::<String>::new());
    world.must_ping("a", SERVICE[0]);
}

/// Flows of both families, in the default zone and in others; the last ones know the address only by their NAT.
#[tokio::test(flavor = "multi_thread")]
async fn flows_of_a_released_address_go_in_every_family_zone_and_direction_and_a_neighbours_stay() {
    if skipped(
        "flows_of_a_released_address_go_in_every_family_zone_and_direction_and_a_neighbours_stay",
    ) {
        return;
    }
    let (world, datapath) = setup().await;
    let peers = |ip: &str| {
        if ip.contains(':') {
            ("ipv6", "fd00:10::99", "fd00:172::5")
        } else {
            ("ipv4", "10.0.9.9", "172.21.0.5")
        }
    };
    let (released, neighbours) = (["10.0.0.11", "fd00:10::11"], ["10.0.0.1", "fd00:10::1"]);
    for (ip, port) in released.iter().zip([1, 1]).chain(neighbours.iter().zip([2, 2])) {
        let (_family, peer, service) = peers(ip);
        for zone in [0, 7] {
            let flow = |rest: &str| {
                let line = format!("conntrack -I -p udp -t 600 -w {zone} --dport 53 {rest}");
                world.exec("n1", &line.split_whitespace().collect::<Vec<_>>());
            };
            flow(&format!("-s {ip} -d {peer} --sport 100{port}"));
            flow(&format!("-s {peer} -d {ip} --sport 100{port}"));
            let reply = format!("-r {ip} -q {peer} --reply-port-src 53 --reply-port-dst 200{port}");
            flow(&format!("-s {peer} -d {service} --sport 200{port} {reply}"));
        }
    }
    let flows = |ip: &str| {
        let listed = world.exec("n1", &["conntrack", "-L", "-f", peers(ip).0]);
        let named = |line: &&str| line.split(['=', ' ']).any(|word| word == ip);
        listed.lines().filter(named).count()
    };
    for ip in released.iter().chain(&neighbours) {
        assert_eq!(flows(ip), 6, "{ip}");
    }
    datapath.quiesce(&released.map(ip)).await.unwrap();
    assert_eq!(released.map(flows), [0, 0]);
    assert_eq!(neighbours.map(flows), [6, 6], "a neighbour's flows were flushed");
}
