//! What must work before any hazard is looked at.

use anyhow::{Result, ensure};
use tideway_node_tests::{Bed, Node, Pod, Setup, cni::Call, netns, node};

use crate::run::{run, run_on_both};

/// ADD, packets in every direction, DEL twice, cooling.
fn life_of_a_pod(bed: &mut Bed) -> Result<()> {
    let here = bed.node(0)?;
    let pod = Pod::new("p1")?;
    let added = here.cni("ADD", &pod, &Call::default())?;
    let ips = added.ips()?;
    here.check(&pod, &added.success()?)?;
    ensure!(netns::links(pod.path())?.contains(&"eth0".to_owned()), "no eth0 in the pod");
    for ip in &ips {
        netns::reaches("node to its pod", &here.host, *ip)?;
        netns::reaches("another instance to the pod", &bed.lab.namespace("cp")?, *ip)?;
    }
    for other in ["n1", "cp"] {
        for ip in bed
            .lab
            .addresses(other)?
            .into_iter()
            .filter(|ip| ips.iter().any(|p| p.is_ipv4() == ip.is_ipv4()))
        {
            pod.reaches(ip)?;
        }
    }
    here.del(&pod)?;
    here.del(&pod)?;
    let shown = here.show()?;
    for ip in &ips {
        let state = node::state_of(&shown, *ip).unwrap_or_default();
        ensure!(state.starts_with("cooling") || state == "free", "{ip} is {state}");
    }
    here.until_free(&ips)
}

#[test]
fn a_pod_lives_and_goes_with_ipv4() {
    run(Setup::default(), life_of_a_pod);
}

#[test]
fn a_pod_lives_and_goes_with_both_families() {
    run_on_both(&Setup::default().dual(), life_of_a_pod);
}

/// What some distributions boot with: the strict reverse path filter everywhere, which drops what enters by a pod's ENI.
fn strictly_filtered() -> Setup {
    let all = ["net.ipv4.conf.all.rp_filter", "net.ipv4.conf.default.rp_filter"];
    all.into_iter().fold(Setup::default().dual().cold(), |setup, key| setup.sysctl(key, "1"))
}

fn life_after_a_strict_boot(bed: &mut Bed) -> Result<()> {
    for link in ["all", "default", "eth0"] {
        let file = format!("/proc/sys/net/ipv4/conf/{link}/rp_filter");
        let found = netns::run(&bed.node(0)?.host, "cat", [&file])?;
        ensure!(found.trim() == "1", "{file} is {found}");
    }
    bed.node_mut(0)?.start()?;
    bed.node(0)?.warm()?;
    life_of_a_pod(bed)
}

#[test]
fn a_strict_reverse_path_filter_drops_no_packet_of_a_pod() {
    run(strictly_filtered(), life_after_a_strict_boot);
}

#[test]
fn a_host_that_forwards_already_and_filters_strictly_carries_pods() {
    run(strictly_filtered().sysctl("net.ipv4.ip_forward", "1"), life_after_a_strict_boot);
}

#[test]
fn pods_of_one_node_and_of_two_nodes_reach_each_other() {
    let setup = Setup { nodes: vec!["n1", "n2"], ..Setup::default().dual() };
    run(setup, |bed| {
        let (a, b, c) = (Pod::new("a")?, Pod::new("b")?, Pod::new("c")?);
        let places: [(&Pod, &Node); 3] =
            [(&a, bed.node(0)?), (&b, bed.node(0)?), (&c, bed.node(1)?)];
        let mut all = Vec::new();
        for (pod, node) in places {
            all.push((pod, node.add(pod)?));
        }
        for (from, own) in &all {
            for ip in all.iter().flat_map(|(_, ips)| ips).filter(|ip| !own.contains(ip)) {
                from.reaches(*ip)?;
            }
        }
        for (pod, node) in places {
            node.del(pod)?;
        }
        Ok(())
    });
}
