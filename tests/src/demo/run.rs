//! The seven steps, and the teardown that follows whatever came of them.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context as _, Error, Result, anyhow, bail};

use super::{
    binaries::Binaries,
    daemons, extender, holders,
    inspect::Inspection,
    lab_process::{ADDRESSES, LabProcess},
    matrix, measure, node_networks,
    place::{KEPT, claim, clean_up, plan},
    pool,
    report::{self, Report},
    scene::Scene,
    workloads,
};
use crate::{
    at_once::{at_once, task},
    cgroup::Hierarchies,
    cluster::Cluster,
    command, interrupt, preflight,
    run_dir::RunDir,
};

/// The committed list of pairs.
const MATRIX: &str = include_str!("../../demo/matrix.yaml");
/// Exclusive devices that a node with one shared ENI offers.
const DEVICES: &str = "1";
/// Pods of all Deployments together.
const PODS: usize = 10;
/// Where logs of a failed run are kept.
const KEPT_LOGS: &str = "/var/tmp/tideway-demo-logs";

/// How a run ended.
#[derive(Debug)]
pub struct Outcome {
    /// Whether everything was as it must be.
    pub ok: bool,
    /// The last line.
    pub line: String,
}

/// Counts for the last line.
#[derive(Debug, Default)]
struct Counts {
    pods: usize,
    right: usize,
    pairs: usize,
    calls: u64,
}

/// Runs the whole demo. With `keep` everything stays up after step 6, and after a failure.
pub fn run(keep: bool) -> Outcome {
    let report = Report::start();
    let dir = RunDir::from_environment();
    // Until the directory is ours there is nothing to clean up, and what is there may be somebody else's demo.
    let parts = match prepare(&report, &dir) {
        Ok(parts) => parts,
        Err(error) => return failed(&report, &error),
    };
    // What an interrupted command says is not the reason.
    let outcome =
        attempt(&report, &dir, parts, keep).map_err(|e| interrupt::check().err().unwrap_or(e));
    // A marker, so that the next run does not take it for the remains of a killed one.
    let kept = keep && fs::write(dir.state().join(KEPT), "").is_ok();
    let logs = outcome.is_err().then_some(Path::new(KEPT_LOGS));
    let problems = if kept { Vec::new() } else { clean_up(&report, &dir, logs) };
    let seconds = report.seconds();
    match outcome {
        Err(error) => failed(&report, &error),
        Ok(_) if !problems.is_empty() => {
            failed(&report, &anyhow!("teardown: {}", problems.join("; ")))
        }
        Ok(c) if kept => Outcome {
            ok: true,
            line: format!(
                "demo: kept pods={} pairs={}/{} calls={} seconds={seconds} (make demo-down ends it)",
                c.pods, c.right, c.pairs, c.calls
            ),
        },
        Ok(c) => Outcome {
            ok: true,
            line: format!(
                "demo: ok pods={} pairs={}/{} calls={} leaked=0 seconds={seconds}",
                c.pods, c.right, c.pairs, c.calls
            ),
        },
    }
}

/// The whole error for people, its first line as the reason.
fn failed(report: &Report, error: &Error) -> Outcome {
    let text = format!("{error:#}");
    report.print(&text);
    let reason = text.lines().next().unwrap_or_default();
    Outcome { ok: false, line: format!("demo: FAILED: {reason}") }
}

/// Takes down what a kept or killed run has left.
pub fn down() -> Outcome {
    let report = Report::start();
    let dir = RunDir::from_environment();
    if !dir.exists() {
        return Outcome { ok: true, line: "demo: nothing to take down".into() };
    }
    let problems = clean_up(&report, &dir, None);
    match problems.as_slice() {
        [] => Outcome { ok: true, line: "demo: down".into() },
        some => Outcome { ok: false, line: format!("demo: FAILED: {}", some.join("; ")) },
    }
}

/// What must be there before anything is made; at the end the run directory is ours.
fn prepare(report: &Report, dir: &RunDir) -> Result<(Hierarchies, Binaries)> {
    interrupt::listen()?;
    let parts = (preflight::check()?, Binaries::find()?);
    claim(report, dir)?;
    Ok(parts)
}

fn attempt(
    report: &Report,
    dir: &RunDir,
    (hierarchies, binaries): (Hierarchies, Binaries),
    keep: bool,
) -> Result<Counts> {
    let rows = matrix::rows(MATRIX)?;

    report.step("1/7 lab: a VPC with two vSwitches, a control plane and two workers");
    let lab = LabProcess::up(&binaries.lab, dir, LabProcess::demo_id(), ADDRESSES)?;
    report
        .step("2/7 Kubernetes 1.34 in the lab's instances, tideway-extender beside its scheduler");
    let mut plan = plan(dir, &lab, &binaries, hierarchies)?;
    plan.extender = Some(binaries.extender.clone());
    let cluster = Cluster::new(plan, dir);
    cluster.start()?;
    let nodes = cluster.nodes();
    node_networks::install(&cluster)?;
    extender::start(&cluster)?;
    let inspection = Inspection { lab: &lab, dir, nodes: &nodes, binaries: &binaries };
    let first = inspection.take("first", &BTreeMap::new())?;

    report.step("3/7 tidewayd and tideway-cni on both workers; the pools warm up");
    let start = |node| {
        daemons::start(&cluster, node, &binaries)?;
        node_networks::set_max_pods(&cluster, node, &binaries)
    };
    let most = at_once(nodes.iter().map(|node| task(move || start(node))).collect())?;
    report.print(&format!("          kubelet maxPods from the nodes' addresses: {most:?}"));
    let warm_up = |node| daemons::wait_warm(&cluster, node, &binaries);
    let daemons = nodes.iter().map(|node| task(move || warm_up(node)));
    at_once(daemons.chain([task(|| cluster.start_kubelets())]).collect())?;
    let warm = inspection.take("warm", &inspection.pool()?)?;
    cluster.wait_ready()?;
    cluster.wait_extender()?;

    report.step("4/7 pods: six that ask for nothing, two with a whole ENI, two with a host port");
    let offered = workloads::wait_devices(&cluster, DEVICES)?;
    report.print(&format!("          allocatable aliyun/eni: {offered}"));
    workloads::create(&cluster)?;
    let pods = workloads::wait_running(&cluster, PODS)?;
    let mut scene = Scene::of(cluster.lab(), &pods)?;
    report.step(&format!("all {} pods run; a third exclusive pod has to wait", scene.pods()));
    let reason = workloads::third_stays_pending(&cluster)?;
    report.print(&format!("          third: Pending: {reason}"));
    let asked = extender::was_asked(&cluster, u64::try_from(scene.pods())?)?;
    report.print(&format!("          {asked}"));
    workloads::serve(&cluster, &mut scene, &rows)?;

    let pairs = matrix::pairs(&rows, &scene)?;
    report
        .step(&format!("5/7 connectivity: {} pairs, from inside the pods and nodes", pairs.len()));
    let verdicts = measure::measure(&cluster, &binaries, &scene, &pairs)?;
    report.print(&report::matrix(&pairs, &verdicts));
    let right = verdicts.iter().filter(|v| v.is_right()).count();
    let failures = report::failures(&pairs, &verdicts);
    if !failures.is_empty() {
        report.print(&failures.join("\n"));
        inspection.take("failed", &BTreeMap::new())?;
        bail!(
            "{} of {} pairs are not as they must be, the first: {}",
            failures.len(),
            pairs.len(),
            failures.first().cloned().unwrap_or_default()
        );
    }

    report.step("6/7 who is on which ENI, and what it cost");
    let mut enis = vec![["node", "pod", "mode", "ENI", "addresses"].map(str::to_owned).to_vec()];
    let mut said = Vec::new();
    for node in &nodes {
        let shown = daemons::show(node, &binaries)?;
        enis.extend(pool::pod_rows(node.name(), &shown));
        said.push(shown);
    }
    report.print(&report::table(&enis));
    let addresses = holders::agree(&pods, &said, &lab.ledger()?)
        .map_err(|wrong| anyhow!("addresses of pods: {}", wrong.join("\n")))?;
    report.print(&format!(
        "  {addresses} addresses, no two pods with one, each with the ENI that the cloud names"
    ));
    let mut calls = lab.calls()?;
    report.print(&format!("  {}", report::calls(&calls)));
    for node in &nodes {
        let told = node_networks::agree(&cluster, node, &binaries)?;
        let kubelet = node_networks::check(node, &binaries)?;
        report.print(&format!("  NodeNetwork {told}; kubelet {kubelet}"));
    }
    let mut counts = Counts { pods: scene.pods(), right, pairs: pairs.len(), calls: calls.total };
    if keep {
        report.print(&usage(&cluster, dir, &binaries)?);
        return Ok(counts);
    }

    report.step("7/7 the pods go; the nodes must be as before");
    workloads::delete(&cluster)?;
    report.step("all pods gone; comparing with the warm, empty pool");
    inspection.equal(&warm, "the warm, empty pool", "emptied", || inspection.pool())?;
    report.step("equal; tidewayd uninstall gives back every ENI");
    at_once(
        nodes
            .iter()
            .map(|n| task(|| daemons::uninstall(&cluster, n, &binaries, &dir.logs())))
            .collect(),
    )?;
    extender::is_at_rest(&cluster)?;
    inspection.equal(&first, "the first snapshot", "uninstalled", || Ok(BTreeMap::new()))?;
    node_networks::none_left(&cluster)?;
    lab.wait_without_secondary_enis()?;
    lab.verify().context("the ledger")?;
    calls = lab.calls()?;
    counts.calls = calls.total;
    report.step(&format!(
        "equal to the first snapshot, no ENI left, ledger clean; {}",
        report::calls(&calls)
    ));
    Ok(counts)
}

fn usage(cluster: &Cluster, dir: &RunDir, binaries: &Binaries) -> Result<String> {
    let mut lines = vec![
        "It stays up. How to use it:".to_owned(),
        format!("  kubectl: {}", cluster.kubectl()?.shown()),
    ];
    for node in cluster.nodes() {
        let status = command::shown(node.command(&binaries.cli)?.arg("status"));
        lines.push(format!("  status of {}: {status}", node.name()));
    }
    lines.push(format!("  lab: {} status --id {}", binaries.lab.display(), cluster.lab().id));
    lines.push(format!("  logs: {}", dir.logs().display()));
    lines.push("  end: make demo-down".to_owned());
    Ok(lines.join("\n"))
}
