//! What must hold after every test, whatever happened in it.

use std::{collections::BTreeSet, net::IpAddr, time::Duration};

use anyhow::{Context as _, Result, bail, ensure};
use tideway_proto::node::ShowReply;

use crate::{
    Bed, Node,
    cni::Call,
    netns,
    wait::{Look, until},
};

/// Within this after its last DEL a node is calm: nothing cools, nothing waits, no link is left.
const CALM: Duration = Duration::from_secs(25);
/// Longest graceful stop.
pub const STOP: Duration = Duration::from_secs(2);
/// Protocol number of our routes and rules.
const PROTOCOL: &str = "84";
/// Table of local pods.
const TABLE_PODS: &str = "510";

/// All checks, in the order in which a node is left.
pub fn check(bed: &mut Bed) -> Result<()> {
    bed.lab.clear_all()?;
    for at in 0..bed.nodes.len() {
        let node = bed.node_mut(at)?;
        let name = node.name.clone();
        if !node.runs() {
            node.start().with_context(|| format!("{name}: the last start"))?;
        }
        let node = bed.node(at)?;
        remove_pods(node).with_context(|| format!("{name}: the last DELs"))?;
        calm(node)?;
        kernel(node).with_context(|| format!("{name}: kernel"))?;
    }
    bed.lab.verify()?;
    bed.lab.allowed_all()?;
    for at in 0..bed.nodes.len() {
        leave(bed, at)?;
    }
    bed.lab.settle()?;
    let left = bed.lab.secondary_enis()?;
    ensure!(left.is_empty(), "ENIs are left in the cloud: {left:?}");
    bed.lab.allowed_all()?;
    bed.lab.verify()
}

/// What a runtime does in the end for every sandbox that is still known: DEL, also without a namespace.
fn remove_pods(node: &Node) -> Result<()> {
    for left in node.show()?.pods {
        let pod = left.pod.clone().unwrap_or_default();
        let answer = node.with_runtime(|runtime| {
            runtime.run_by_name("DEL", &pod.name, &pod.uid, &left.container_id, &Call::default())
        })?;
        answer.success()?;
    }
    if let Some(kubelet) = &node.kubelet {
        kubelet.forget_all();
    }
    Ok(())
}

/// Waits until nothing is on its way.
fn calm(node: &Node) -> Result<()> {
    let calm = node.until_shown("calm after the last DEL", CALM, |shown| {
        let mut addresses = shown.enis.iter().flat_map(|eni| &eni.addresses);
        shown.pods.is_empty()
            && shown.waiting.is_empty()
            && shown.pending_links == 0
            && shown.devices.iter().all(|device| device.pod.is_empty())
            && addresses.all(|a| matches!(a.state.as_str(), "free" | "leased" | "reserved"))
            && shown.enis.iter().all(|eni| eni.state == "Ready")
    });
    calm.map(drop)
}

/// No trace of any pod in the instance's namespace, and the source map holds exactly the addresses of shared ENIs.
fn kernel(node: &Node) -> Result<()> {
    let host = &node.host;
    let links = netns::links(host)?;
    let ours: Vec<_> = links.iter().filter(|name| name.starts_with("tw")).collect();
    ensure!(ours.is_empty(), "links are left: {ours:?}");
    for family in ["-4", "-6"] {
        for table in [TABLE_PODS, "main"] {
            let arguments = [family, "route", "show", "table", table, "proto", PROTOCOL];
            // An absent table is an error of the tool.
            let text = netns::run(host, "ip", arguments).unwrap_or_default();
            ensure!(text.trim().is_empty(), "routes are left in table {table}: {text}");
        }
    }
    // Both are read anew each time: a large pool may be shrinking just now.
    until("the source map equals the pool", Duration::from_secs(10), || {
        let pool = shared_addresses(&node.show()?)?;
        let mapped = mapped(node)?;
        Ok(Look::of(mapped == pool, || format!("map {mapped:?}, pool {pool:?}")))
    })
}

/// Addresses of shared ENIs.
fn shared_addresses(shown: &ShowReply) -> Result<BTreeSet<IpAddr>> {
    let shared = shown.enis.iter().filter(|eni| eni.r#use == "shared");
    shared.flat_map(|eni| &eni.addresses).map(|address| Ok(address.ip.parse()?)).collect()
}

/// Addresses in the maps of our nftables table: every element `address : mark`.
pub fn mapped(node: &Node) -> Result<BTreeSet<IpAddr>> {
    let ruleset = netns::run(&node.host, "nft", ["list", "ruleset"])?;
    let mut found = BTreeSet::new();
    for map in ruleset.split("map ").skip(1) {
        let Some((_, elements)) = map.split_once("elements = {") else { continue };
        let Some((elements, _)) = elements.split_once('}') else { continue };
        for element in elements.split(',') {
            let Some((address, _mark)) = element.split_once(" : ") else { continue };
            if let Ok(ip) = address.trim().parse() {
                found.insert(ip);
            }
        }
    }
    Ok(found)
}

/// A graceful stop, then `uninstall`: the cloud has everything back and the kernel knows nothing of us.
fn leave(bed: &mut Bed, at: usize) -> Result<()> {
    let first = bed.first(at)?.to_owned();
    let node = bed.node_mut(at)?;
    let name = node.name.clone();
    let ended = node.stop()?;
    ensure!(ended.status.success(), "{name}: tidewayd ended with {}", ended.status);
    ensure!(ended.took < STOP, "{name}: the graceful stop took {:?}", ended.took);
    uninstall(node)?;
    let last = bed.lab.snapshot(&name)?;
    if first != last {
        bail!("{name}: the namespace is not as before: {}", difference(&first, &last));
    }
    Ok(())
}

/// Runs `tidewayd uninstall`.
pub fn uninstall(node: &Node) -> Result<()> {
    let output = node.run_to_end(&["uninstall"])?;
    ensure!(
        output.status.success(),
        "{}: uninstall ended with {}: {}",
        node.name,
        output.status,
        netns::said(&output)
    );
    for left in [node.conflist(), node.journal(), node.socket()] {
        ensure!(!left.exists(), "{}: {} is left after uninstall", node.name, left.display());
    }
    Ok(())
}

/// Lines that only one of two texts has.
pub fn difference(before: &str, after: &str) -> String {
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<BTreeSet<_>>();
    let (before, after) = (lines(before), lines(after));
    let gone = before.difference(&after).map(|line| format!("-{line}"));
    let new = after.difference(&before).map(|line| format!("+{line}"));
    gone.chain(new).collect::<Vec<_>>().join("\n")
}
