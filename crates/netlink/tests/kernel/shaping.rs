//! Rate limits in both directions and both modes.

use tideway_model::{Attachment, Bandwidth};
use tideway_netlink::Datapath;

use crate::world::{SERVICE, World, quiet, shared_eni, skipped};

const LIMITS: Bandwidth = Bandwidth {
    ingress_rate: 100_000_000,
    ingress_burst: 4_294_967_295,
    egress_rate: 50_000_000,
    egress_burst: 8 * 300_000,
};

/// Bytes that the token bucket of a link has let through, and its line.
fn bucket(world: &World, place: &str, link: &str) -> (String, u64) {
    let shown = world.exec(place, &["tc", "-s", "qdisc", "show", "dev", link]);
    let line = shown
        .lines()
        .find(|l| l.contains("qdisc tbf"))
        .unwrap_or_else(|| panic!("{link}: {shown}"));
    let sent = shown.lines().skip_while(|l| !l.contains("qdisc tbf")).nth(1).unwrap();
    let bytes = sent.split_whitespace().nth(1).unwrap().parse().unwrap();
    (line.to_owned(), bytes)
}

fn ifb(world: &World, place: &str) -> String {
    let links = world.ip(place, "-br link");
    links
        .split_whitespace()
        .find(|w| w.starts_with("twi"))
        .unwrap_or_else(|| panic!("{links}"))
        .to_owned()
}

async fn check(world: &World, datapath: &Datapath, pod: &Attachment, from: &str) {
    assert_eq!(datapath.check(pod).await.unwrap(), Vec::<String>::new());
    world.must_ping(from, SERVICE[0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn both_directions_of_a_shared_pod_pass_their_bucket_and_the_ifb_goes_with_the_pod() {
    if skipped("both_directions_of_a_shared_pod_pass_their_bucket_and_the_ifb_goes_with_the_pod") {
        return;
    }
    let world = World::new();
    let primary = world.node("n1", 1, &["10.0.0.1", "fd00:10::1"]);
    let mac = world.eni("n1", "eth1", 2, &["10.0.0.11"]);
    let datapath = world.datapath("n1", primary).await;
    datapath.prepare(&shared_eni(mac, &["10.0.0.11"])).await.unwrap();
    let mut pod = world.shared_pod("a", &["10.0.0.11"]);
    pod.bandwidth = LIMITS;
    datapath.add(&pod).await.unwrap();
    datapath.add(&pod).await.unwrap();
    check(&world, &datapath, &pod, "a").await;
    let host = Datapath::host_link_name(&pod.key, pod.mode);
    let (line, to_pod) = bucket(&world, "n1", host.as_str());
    assert!(line.contains("rate 100Mbit"), "{line}");
    let back = ifb(&world, "n1");
    let (line, from_pod) = bucket(&world, "n1", &back);
    assert!(line.contains("rate 50Mbit") && line.contains("burst 300000b"), "{line}");
    assert!(to_pod > 0 && from_pod > 0, "{to_pod} {from_pod}");
    let filters = world.exec("n1", &["tc", "filter", "show", "dev", host.as_str(), "ingress"]);
    assert_eq!(filters.matches("Redirect to device").count(), 1, "{filters}");
    world.exec("n1", &["tc", "qdisc", "del", "dev", host.as_str(), "root"]);
    assert!(datapath.check(&pod).await.unwrap().iter().any(|f| f.contains("not limited")));
    datapath.start();
    datapath.del(&pod).await.unwrap();
    quiet(&datapath, "10.0.0.11").await;
    assert!(!world.ip("n1", "-br link").contains("twi"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exclusive_pod_is_limited_on_its_eni_which_comes_back_unlimited() {
    if skipped("an_exclusive_pod_is_limited_on_its_eni_which_comes_back_unlimited") {
        return;
    }
    let world = World::new();
    let primary = world.node("n1", 1, &["10.0.0.1", "fd00:10::1"]);
    let mac = world.eni("n1", "eth2", 3, &["10.0.0.31"]);
    let datapath = world.datapath("n1", primary).await;
    let mut pod = world.exclusive_pod("x", mac, &["10.0.0.31"]);
    pod.bandwidth = LIMITS;
    datapath.add(&pod).await.unwrap();
    check(&world, &datapath, &pod, "x").await;
    let (line, sent) = bucket(&world, "x", "eth0");
    assert!(line.contains("rate 50Mbit") && sent > 0, "{line} {sent}");
    let (line, received) = bucket(&world, "x", &ifb(&world, "x"));
    assert!(line.contains("rate 100Mbit") && received > 0, "{line} {received}");
    datapath.del(&pod).await.unwrap();
    assert!(!world.ip("x", "-br link").contains("twi"));
    let link = datapath.link_of(mac).await.unwrap().unwrap().name;
    let shown = world.exec("n1", &["tc", "qdisc", "show", "dev", link.as_str()]);
    assert!(!shown.contains("tbf") && !shown.contains("clsact"), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rate_beyond_32_bits_is_not_cut() {
    if skipped("a_rate_beyond_32_bits_is_not_cut") {
        return;
    }
    let world = World::new();
    let primary = world.node("n1", 1, &["10.0.0.1", "fd00:10::1"]);
    let datapath = world.datapath("n1", primary).await;
    let mut pod = world.shared_pod("a", &["10.0.0.11"]);
    pod.bandwidth = Bandwidth { ingress_rate: 100_000_000_000, ..Bandwidth::default() };
    datapath.add(&pod).await.unwrap();
    assert_eq!(datapath.check(&pod).await.unwrap(), Vec::<String>::new());
    let host = Datapath::host_link_name(&pod.key, pod.mode);
    assert!(bucket(&world, "n1", host.as_str()).0.contains("rate 100Gbit"));
}
