//! The set-up of docs/scheduler.md for a cluster autoscaler, which asks no extender: what we refuse for good the in-tree
//! filters refuse too, by `maxPods` and by the devices, so that it adds a node.

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tideway_e2e::command;

use crate::{
    agent::{Kind, Shape},
    bed::Bed,
    objects::{self, Allocatable},
    stack::{Mode, Pair, Setting},
};

const NODES: usize = 10;
/// Addresses, or devices, of a node.
const EACH: u32 = 4;

pub(crate) fn a_pod_that_we_refuse_is_refused_in_tree_too(bed: &Bed, mode: Mode) -> Result<()> {
    // As `tideway maxpods` counts: addresses, and the node's own pod on the host's network.
    let tree = Allocatable { pods: EACH + 1, enis: 0 };
    full(bed, mode, "addresses", Kind::Shared, Shape::addresses(EACH), tree, "Too many pods")?;
    bed.clear()?;
    let tree = Allocatable { enis: EACH, ..Allocatable::default() };
    let text = "Insufficient aliyun/eni";
    full(bed, mode, "enis", Kind::Exclusive, Shape::devices(EACH), tree, text)
}

fn full(
    bed: &Bed,
    mode: Mode,
    namespace: &str,
    kind: Kind,
    shape: Shape,
    tree: Allocatable,
    text: &str,
) -> Result<()> {
    bed.run_with(Setting::of(mode))?;
    bed.namespace(namespace)?;
    bed.nodes(namespace, NODES, shape, tree)?;
    let hosts = (0..NODES).map(|i| {
        let spec = json!({"hostNetwork": true, "nodeName": format!("{namespace}-{i}")});
        objects::with(objects::pod(&format!("host{i}"), Kind::Shared), spec)
    });
    bed.pods(namespace, hosts)?;
    let units = NODES * usize::try_from(EACH)?;
    let pods = |name: &'static str, count: usize| {
        (0..count).map(move |i| objects::pod(&format!("{name}{i}"), kind))
    };
    bed.pods(namespace, pods("p", units))?;
    bed.wait_bound(namespace, NODES + units)?;
    bed.wait_at_rest()?;
    bed.pods(namespace, pods("more", 5))?;
    refused_in_tree(bed, namespace, 5, text)?;
    we_refuse_too(bed, namespace)?;
    // The scheduler alone, as the autoscaler's simulation has it.
    bed.run_with(Setting::of(Mode::Bare))?;
    bed.pods(namespace, pods("alone", 5))?;
    refused_in_tree(bed, namespace, 10, text)?;
    bed.never_above()
}

fn refused_in_tree(bed: &Bed, namespace: &str, count: usize, text: &str) -> Result<()> {
    bed.wait(&format!("{count} pods of {namespace} refused in-tree"), |bed| {
        let told = bed.names(namespace, |p| {
            p.node.is_none() && p.refused.as_ref().is_some_and(|t| t.contains(text))
        });
        ensure!(told.len() == count, "{} are: {}", told.len(), bed.why_waiting(namespace));
        Ok(())
    })
}

/// The scheduler does not ask us about nodes that it refuses itself, so the extender is asked here.
fn we_refuse_too(bed: &Bed, namespace: &str) -> Result<()> {
    let pod = bed.get(&format!("/api/v1/namespaces/{namespace}/pods/more0"))?;
    let names: Vec<String> = (0..NODES).map(|i| format!("{namespace}-{i}")).collect();
    let args = json!({"Pod": pod, "Nodes": null, "NodeNames": names}).to_string();
    let url = format!("{}/filter", Pair::First.verbs());
    let words = ["--silent", "--show-error", "--fail", "--max-time", "5", "--data", "@-", &url];
    let answer = command::run_with(&mut command::line("curl", words), Some(args.as_bytes()))?;
    let answer: Value = serde_json::from_str(&answer)?;
    ensure!(answer["NodeNames"] == json!([]), "{answer}");
    Ok(())
}
