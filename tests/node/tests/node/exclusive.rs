//! Pods that have an ENI of their own: by the kubelet's word, and by nothing else.

use std::{net::IpAddr, path::Path};

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use tideway_node_tests::{
    Bed, Node, Pod, Setup,
    cni::{self, Call},
    netns,
    wait::{Look, s, until},
};

use crate::run::{run, run_on_both};

/// MAC of the ENI that the books show for the exclusive pod of this name.
fn mac_of(node: &Node, pod: &Pod) -> Result<String> {
    let shown = node.show()?;
    let view =
        shown.pods.iter().find(|p| p.container_id == pod.container).context("pod not shown")?;
    ensure!(view.mode == "exclusive", "it is {}", view.mode);
    let eni = shown.enis.iter().find(|eni| eni.id == view.eni).context("ENI not shown")?;
    Ok(eni.mac.clone())
}

pub(crate) fn has(place: &Path, mac: &str) -> Result<bool> {
    Ok(netns::macs(place)?.iter().any(|m| m == mac))
}

pub(crate) fn comes_to(place: &Path, mac: &str) -> Result<()> {
    until(&format!("{mac} in {}", place.display()), s(5), || {
        Ok(Look::of(has(place, mac)?, || "not there".into()))
    })
}

/// Admits and adds; the addresses and the MAC.
pub(crate) fn exclusive(node: &Node, pod: &Pod) -> Result<(Vec<IpAddr>, String)> {
    node.kubelet()?.offers(1, s(20))?;
    node.kubelet()?.admit(pod)?;
    let ips = node.add(pod)?;
    let mac = mac_of(node, pod)?;
    ensure!(has(pod.path(), &mac)?, "{mac} is not in the pod");
    Ok((ips, mac))
}

fn reaches_all(bed: &Bed, pod: &Pod, ips: &[IpAddr]) -> Result<()> {
    for other in ["n1", "cp"] {
        for ip in bed.lab.addresses(other)? {
            if ips.iter().any(|own| own.is_ipv4() == ip.is_ipv4()) {
                pod.reaches(ip).with_context(|| other.to_owned())?;
            }
        }
        for ip in ips {
            netns::reaches(&format!("{other} to the pod"), &bed.lab.namespace(other)?, *ip)?;
        }
    }
    Ok(())
}

fn whole_life(bed: &mut Bed) -> Result<()> {
    let here = bed.node(0)?;
    let pod = Pod::new("own")?;
    let (ips, mac) = exclusive(here, &pod)?;
    reaches_all(bed, &pod, &ips)?;
    let shared = Pod::new("shared")?;
    for ip in here.add(&shared)? {
        pod.reaches(ip)?;
    }
    for ip in &ips {
        shared.reaches(*ip)?;
    }
    // Before DEL answers, the ENI is out of the namespace.
    here.del(&pod)?;
    ensure!(!has(pod.path(), &mac)?, "the ENI is still in the pod after DEL");
    ensure!(has(&here.host, &mac)?, "the ENI is not back in the host");
    here.del(&pod)?;
    here.kubelet()?.forget(&pod);
    here.del(&shared)
}

#[test]
fn an_exclusive_pod_gets_its_eni_and_gives_it_back() {
    run(Setup::default().devices(), whole_life);
}

#[test]
fn an_exclusive_pod_gets_its_eni_and_gives_it_back_with_both_families() {
    run_on_both(&Setup::default().dual().devices(), whole_life);
}

#[test]
fn a_killed_sandbox_comes_back_with_the_same_eni_and_address_without_another_allocate() {
    run(Setup::default().dual().devices(), |bed| {
        let here = bed.node(0)?;
        let first = Pod::new("own")?;
        let (ips, mac) = exclusive(here, &first)?;
        let second = first.again()?;
        here.del(&first)?;
        let again = here.add(&second)?;
        ensure!(again == ips, "{ips:?} became {again:?}");
        ensure!(mac_of(here, &second)? == mac && has(second.path(), &mac)?);
        reaches_all(bed, &second, &ips)?;
        // The old sandbox's second DEL comes late and takes nothing.
        let here = bed.node(0)?;
        here.del(&first)?;
        ensure!(has(second.path(), &mac)?);
        // The same without any DEL in between, as when the runtime is in a hurry: the new ADD waits for the DEL.
        here.del(&second)
    });
}

#[test]
fn a_daemon_restarted_between_allocate_and_add_still_gives_the_eni() {
    run(Setup::default().devices(), |bed| {
        let here = bed.node_mut(0)?;
        here.kubelet()?.offers(1, s(20))?;
        let pod = Pod::new("own")?;
        here.kubelet()?.admit(&pod)?;
        here.kill()?;
        here.start()?;
        let ips = here.add(&pod)?;
        let mac = mac_of(here, &pod)?;
        here.restart()?;
        ensure!(here.add(&pod)? == ips && mac_of(here, &pod)? == mac);
        let here = bed.node(0)?;
        reaches_all(bed, &pod, &ips)?;
        here.del(&pod)
    });
}

#[test]
fn an_eni_whose_namespace_died_while_the_daemon_was_away_is_found_and_used_again() {
    run(Setup::default().devices(), |bed| {
        let here = bed.node_mut(0)?;
        let mut pod = Pod::new("own")?;
        let (ips, mac) = exclusive(here, &pod)?;
        here.kill()?;
        pod.destroy_namespace();
        comes_to(&here.host, &mac)?;
        here.start()?;
        let again = pod.again()?;
        // The runtime's DEL of the dead sandbox comes before the ADD of the new one.
        here.cni("DEL", &pod, &Call { netns: Some(String::new()), ..Call::default() })?
            .success()?;
        ensure!(here.add(&again)? == ips, "another address");
        ensure!(has(again.path(), &mac)?);
        let here = bed.node(0)?;
        reaches_all(bed, &again, &ips)?;
        here.del(&again)
    });
}

/// The link with this MAC goes from one namespace to another.
pub(crate) fn move_link(mac: &str, from: &Path, to: &Path) -> Result<()> {
    let text = netns::run(from, "ip", ["-br", "link"])?;
    let line = text.lines().find(|line| line.contains(mac)).context("no such link")?;
    let name = line.split([' ', '@']).next().unwrap_or_default();
    let to = to.display().to_string();
    netns::run(from, "ip", ["link", "set", "dev", name, "netns", &to]).map(drop)
}

#[test]
fn an_add_repeated_while_the_first_one_fails_is_not_answered_and_then_cut_off() {
    run(Setup::default().devices(), |bed| {
        let here = bed.node(0)?;
        let pod = Pod::new("own")?;
        let (ips, mac) = exclusive(here, &pod)?;
        here.del(&pod)?;
        let (pod, aside) = (pod.again()?, Pod::new("aside")?);
        // The first ADD waits for the ENI's link in vain, the second one waits behind it, and then the link is there.
        move_link(&mac, &here.host, aside.path())?;
        let first = here.cni_spawn("ADD", &pod)?;
        here.until_shown("the first is granted", s(5), |shown| !shown.pods.is_empty())?;
        let second = here.cni_spawn("ADD", &pod)?;
        ensure!(!cni::ended(first)?.fine, "made without an ENI");
        move_link(&mac, aside.path(), &here.host)?;
        let second = cni::ended(second)?;
        ensure!(!second.fine, "answered, and its promise had ended: {}", second.stdout);
        second.fails_with(11)?;
        ensure!(here.add_patiently(&pod, s(20))? == ips, "another address");
        reaches_all(bed, &pod, &ips)?;
        bed.node(0)?.del(&pod)
    });
}

#[test]
fn an_eni_that_others_took_from_a_pod_while_the_daemon_was_away_keeps_no_other_pod_waiting() {
    run(Setup::default().devices(), |bed| {
        let target = bed.target()?;
        let here = bed.node_mut(0)?;
        let own = Pod::new("own")?;
        exclusive(here, &own)?;
        let shown = here.show()?;
        let eni = shown.pods.first().context("pod not shown")?.eni.clone();
        here.stop()?;
        bed.lab.api()?.force_detach(&eni).map_err(|e| anyhow::anyhow!("{e}"))?;
        let here = bed.node_mut(0)?;
        here.start()?;
        let shared = Pod::new("shared")?;
        here.add_patiently(&shared, s(20))?;
        shared.reaches(target)?;
        here.del(&shared)?;
        here.del(&own)
    });
}

#[test]
fn annotations_written_by_hand_give_no_eni() {
    run(Setup::default().devices(), |bed| {
        let here = bed.node(0)?;
        here.kubelet()?.offers(1, s(20))?;
        let pod = Pod::new("cheat")?;
        let annotations = json!({
            "k8s.aliyun.com/eni": "true",
            "k8s.aliyun.com/pod-eni": "true",
            "tideway.dev/mode": "exclusive",
            "tideway.dev/device": "slot-0",
            "tideway.dev/lease": "slot-0",
        });
        let conf = json!({ "runtimeConfig": { "io.kubernetes.cri.pod-annotations": annotations } });
        here.cni("ADD", &pod, &Call { conf: Some(conf), ..Call::default() })?.success()?;
        let shown = here.show()?;
        ensure!(shown.pods.iter().all(|p| p.mode == "veth"), "{:?}", shown.pods);
        ensure!(shown.enis.iter().all(|eni| eni.r#use == "shared"), "an ENI was taken");
        here.del(&pod)
    });
}

#[test]
fn an_allocate_that_no_pod_ever_claims_is_cancelled_and_its_eni_goes_back() {
    run(Setup::default().devices(), |bed| {
        let here = bed.node(0)?;
        let kubelet = here.kubelet()?;
        kubelet.offers(1, s(20))?;
        let id = kubelet.healthy().first().cloned().context("no device")?;
        kubelet.allocate(&id)?;
        let exclusive = |shown: &tideway_proto::node::ShowReply| {
            shown.enis.iter().any(|eni| eni.r#use.starts_with("exclusive"))
        };
        here.until_shown("an ENI for the device", s(20), exclusive)?;
        here.until_shown("the ENI has gone back", s(45), |shown| !exclusive(shown))?;
        Ok(())
    });
}

#[test]
fn two_devices_in_one_pod_are_refused_with_the_cause() {
    run(Setup::default().devices().sized(4, 10), |bed| {
        let here = bed.node(0)?;
        here.kubelet()?.offers(2, s(20))?;
        let pod = Pod::new("greedy")?;
        here.kubelet()?.admit(&pod)?;
        here.kubelet()?.admit(&pod)?;
        let (code, text) = here.cni("ADD", &pod, &Call::default())?.failure()?;
        ensure!(code != 11 && text.contains("2 devices"), "{code}: {text}");
        here.kubelet()?.forget(&pod);
        Ok(())
    });
}
