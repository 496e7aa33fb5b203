//! The node's numbers in the API: they follow the pods, rarely, and outlive whatever happens to the object and the server.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tideway_e2e::{
    cluster::{Node, list, text},
    command,
    demo::node_networks::{agree, get, number},
    lab::CloudKind,
    wait::{self, Look},
};

use crate::{
    bed::{Bed, PATIENCE, SOON},
    pods::spec,
};

/// How long nothing must be written on a quiet node: longer than every rhythm of the daemon but the cloud's.
const QUIET: Duration = Duration::from_secs(17);
/// Pods come and go for so long.
const CHURN: Duration = Duration::from_secs(10);
/// Each time for so long.
const TIDE: Duration = Duration::from_secs(2);
/// Longest way of the garbage collector to an object whose owner is gone.
const COLLECTED: Duration = Duration::from_mins(2);

pub(crate) fn the_numbers_follow_the_pods_at_most_once_a_second_and_stand_while_nothing_changes(
    bed: &Bed,
) -> Result<()> {
    let [node, _other] = bed.nodes();
    agree(&bed.cluster, &node, &bed.binaries)?;
    bed.create_live(&[("own", &node, true)])?;
    let (spared, took) = churn(bed, &node)?;
    let most = took.as_secs() + 2;
    ensure!(u64::try_from(spared.len())? <= most, "{} writes in {took:?}", spared.len());
    ensure!(spared.len() > 2, "the numbers did not follow: {spared:?} in {took:?}");

    bed.create_live(&[("one", &node, false), ("two", &node, false)])?;
    agree(&bed.cluster, &node, &bed.binaries)?;
    let object = get(&bed.cluster, node.name())?;
    ensure!(number(&object, "shared/assigned") == 2, "{object}");
    ensure!(number(&object, "exclusive/assigned") == 1, "{object}");
    let version = text(&object, "/status/podsResourceVersion").parse::<u64>();
    ensure!(version.is_ok(), "{object}");
    stands(bed, &node)?;
    accounts_for_addresses(bed, &node)?;
    bed.kubectl()?.run(["delete", "pod", "one", "two", "own", "--wait=false"])?;
    wait::until("the pods' units came back", PATIENCE, || {
        let object = get(&bed.cluster, node.name())?;
        let left = number(&object, "shared/assigned") + number(&object, "exclusive/assigned");
        let rest = number(&object, "shared/cooling") + number(&object, "adapters/exclusive");
        Ok(if left + rest == 0 { Look::Seen(()) } else { Look::NotYet(object.to_string()) })
    })?;
    agree(&bed.cluster, &node, &bed.binaries).map(drop)
}

/// Pods come and go on the node; answers the versions of its object that were seen, and how long it took.
fn churn(bed: &Bed, node: &Node<'_>) -> Result<(BTreeSet<String>, Duration)> {
    let mut spec = spec(false);
    spec["nodeName"] = json!(node.name());
    bed.create(&[json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "busy"},
        "spec": {
            "replicas": 0, "selector": {"matchLabels": {"app": "busy"}},
            "template": {"metadata": {"labels": {"app": "busy"}}, "spec": spec},
        },
    })])?;
    let kubectl = bed.kubectl()?;
    let began = Instant::now();
    let mut seen = BTreeSet::new();
    let mut up = false;
    let before = writes(node)?;
    while began.elapsed() < CHURN {
        up = !up;
        let replicas = if up { "--replicas=5" } else { "--replicas=0" };
        kubectl.run(["scale", "deployment", "busy", replicas])?;
        let scaled = Instant::now();
        while scaled.elapsed() < TIDE {
            let object = get(&bed.cluster, node.name())?;
            seen.insert(text(&object, "/metadata/resourceVersion").to_owned());
        }
    }
    let (took, after) = (began.elapsed(), writes(node)?);
    ensure!(after - before <= took.as_secs() + 2, "{before} to {after} writes in {took:?}");
    kubectl.run(["delete", "deployment", "busy"])?;
    wait::until("the busy pods gone", PATIENCE, || {
        let names = kubectl.names("pods?labelSelector=app=busy")?;
        Ok(if names.is_empty() { Look::Seen(()) } else { Look::NotYet(names.join(" ")) })
    })?;
    Ok((seen, took))
}

/// The object that stands accounts for what the pods have shown after their units were counted: their addresses.
fn accounts_for_addresses(bed: &Bed, node: &Node<'_>) -> Result<()> {
    let object = get(&bed.cluster, node.name())?;
    let told = text(&object, "/status/podsResourceVersion").parse::<u64>()?;
    let shown = bed.kubectl()?.run([
        "get",
        "pods",
        "one",
        "two",
        "own",
        "-o",
        "jsonpath={.items[*].metadata.resourceVersion}",
    ])?;
    for version in shown.split_whitespace() {
        ensure!(version.parse::<u64>()? <= told, "pods at {shown}, told up to {told}");
    }
    Ok(())
}

/// Writes that the daemon counts.
fn writes(node: &Node<'_>) -> Result<u64> {
    let metrics = command::run(node.command("curl")?.args([
        "--silent",
        "--fail",
        "http://127.0.0.1:9841/metrics",
    ]))?;
    let line = metrics
        .lines()
        .find(|l| l.starts_with("tideway_node_network_writes_total{outcome=\"ok\"}"));
    let count = line.and_then(|l| l.split(' ').nth(1)).with_context(|| metrics.clone())?;
    Ok(count.parse()?)
}

/// The object is not written for a while, as soon as nothing moves any more.
fn stands(bed: &Bed, node: &Node<'_>) -> Result<()> {
    let mut last = (String::new(), Instant::now());
    wait::until("nothing is written on a quiet node", PATIENCE, || {
        let object = get(&bed.cluster, node.name())?;
        let version = text(&object, "/metadata/resourceVersion").to_owned();
        if version != last.0 {
            last = (version, Instant::now());
        }
        let stood = last.1.elapsed();
        let quiet = stood > QUIET;
        Ok(if quiet { Look::Seen(()) } else { Look::NotYet(format!("{stood:?}: {object}")) })
    })
}

pub(crate) fn a_deleted_object_comes_back_and_one_whose_node_is_gone_does_not(
    bed: &Bed,
) -> Result<()> {
    let [node, _other] = bed.nodes();
    let kubectl = bed.kubectl()?;
    bed.create_live(&[("stays", &node, false)])?;
    agree(&bed.cluster, &node, &bed.binaries)?;
    let former = get(&bed.cluster, node.name())?;
    kubectl.run(["delete", "nodenetwork", node.name()])?;
    wait::until("the object is made again", SOON, || {
        Ok(match get(&bed.cluster, node.name()) {
            Ok(o) if text(&o, "/metadata/uid") != text(&former, "/metadata/uid") => Look::Seen(()),
            Ok(o) => Look::NotYet(o.to_string()),
            Err(error) => Look::NotYet(format!("{error:#}")),
        })
    })?;
    agree(&bed.cluster, &node, &bed.binaries)?;
    let object = get(&bed.cluster, node.name())?;
    let owner = kubectl.get(&format!("nodes/{}", node.name()))?;
    ensure!(
        text(&object, "/metadata/ownerReferences/0/uid") == text(&owner, "/metadata/uid"),
        "{object}"
    );

    // A node that went without a word: the garbage collector goes by the owner.
    bed.create(&[json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "ghost"}})])?;
    let ghost = kubectl.get("nodes/ghost")?;
    let made = bed.create(&[json!({
        "apiVersion": "tideway.dev/v1alpha1", "kind": "NodeNetwork",
        "metadata": {"name": "ghost", "ownerReferences": [
            {"apiVersion": "v1", "kind": "Node", "name": "ghost", "uid": text(&ghost, "/metadata/uid")},
        ]},
        "spec": {},
    })]);
    kubectl.run(["delete", "node", "ghost"])?;
    made?;
    wait::until("the ghost's object is collected", COLLECTED, || {
        let names = kubectl.names("nodenetworks")?.join(" ");
        Ok(if names.contains("ghost") { Look::NotYet(names) } else { Look::Seen(()) })
    })
}

pub(crate) fn without_the_api_server_nothing_waits_and_the_numbers_come_when_it_is_back(
    bed: &Bed,
) -> Result<()> {
    let [node, other] = bed.nodes();
    let live = bed.create_live(&[("before", &node, false)])?;
    agree(&bed.cluster, &node, &bed.binaries)?;
    bed.cluster.roster().kill("apiserver")?;
    let outcome = wait::until("the daemon says that it cannot write", SOON, || {
        let shown = bed.show(&node)?;
        let errors = list(&shown, "/sourceErrors");
        let said = errors.iter().filter_map(Value::as_str).any(|e| e.contains("NodeNetwork"));
        Ok(if said { Look::Seen(()) } else { Look::NotYet(format!("{errors:?}")) })
    })
    .and_then(|()| bed.reaches(&other, &live[0].ips));
    bed.cluster.start_api_server()?;
    outcome?;
    bed.cluster.wait_ready()?;
    bed.create_live(&[("after", &node, false)])?;
    wait::until("the numbers are told again", PATIENCE, || {
        let object = get(&bed.cluster, node.name())?;
        let two = number(&object, "shared/assigned") == 2;
        Ok(if two { Look::Seen(()) } else { Look::NotYet(object.to_string()) })
    })?;
    agree(&bed.cluster, &node, &bed.binaries)?;
    wait::until("no error is left", PATIENCE, || {
        let shown = bed.show(&node)?;
        let errors = list(&shown, "/sourceErrors");
        Ok(if errors.is_empty() { Look::Seen(()) } else { Look::NotYet(format!("{errors:?}")) })
    })
}

pub(crate) fn check_names_a_kubelet_that_takes_more_pods_than_there_are_addresses(
    bed: &Bed,
) -> Result<()> {
    // The kubelets of this cluster have their default of 110.
    let [node, _other] = bed.nodes();
    let mut check = node.command(&bed.binaries.cli)?;
    let output = command::output(check.args(["check", "-o", "json"]), None)?;
    ensure!(output.status.code() == Some(1), "{output:?}");
    let said: Value = serde_json::from_slice(&output.stdout)?;
    let grade = |check: &str| {
        let found = list(&said, "/findings").iter().find(|f| text(f, "/check") == check);
        found.map(|f| (text(f, "/grade"), text(f, "/remedy"))).unwrap_or_default()
    };
    let wrong = list(&said, "/findings").iter().filter(|f| text(f, "/grade") != "ok").count();
    // Addresses of this cluster rest for less time than its kube-proxy may take.
    ensure!(wrong == 2 && grade("cooldown").0 == "warn", "{said}");
    let (grade, remedy) = grade("maxPods");
    ensure!(grade == "fail", "{said}");
    // On AWS the primary addresses of the two shared ENIs are no pod's.
    let most = if bed.cluster.lab().cloud == CloudKind::Aws { 18 } else { 20 };
    ensure!(remedy.contains(&format!("maxPods: {most}")), "{said}");
    Ok(())
}
