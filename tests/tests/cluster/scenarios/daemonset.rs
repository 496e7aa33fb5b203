//! Tideway by its manifests, step by step as `docs/install.md` says: installed, rolled, uninstalled.

use std::{collections::BTreeSet, fs, thread};

use anyhow::{Context as _, Result, anyhow, ensure};
use serde_json::Value;
use tideway_e2e::{
    at_once::{at_once, task},
    cluster::{Node, SERVICE_CIDRS, list, text},
    command,
    demo::workloads,
    image, source,
    wait::{self, Look},
};
use tideway_model::names;

use crate::{
    bed::{Agents, Bed, PATIENCE, POOL, SOON},
    calls::{Call, From},
    pods::{pod, restarts},
};

/// Longest time until all pods of a `DaemonSet` are ready.
const ROLLED: &str = "--timeout=90s";

/// A file that users apply.
fn manifest(file: &str) -> String {
    source(&format!("../manifests/{file}")).display().to_string()
}

pub(crate) fn a_rollout_of_the_daemonset_leaves_running_pods_alone(bed: &Bed) -> Result<()> {
    installed(bed)?;
    let [first, second] = bed.nodes();
    let pods = [("shared", &first, false), ("own", &first, true), ("remote", &second, false)];
    let before = bed.create_live(&pods)?;
    let modes: Vec<&str> = before.iter().map(|p| p.mode.as_str()).collect();
    ensure!(modes == ["veth", "exclusive", "veth"], "{before:?}");
    let all: Vec<Call> =
        before.iter().flat_map(|p| &p.ips).map(|ip| Call::tcp(*ip, 8080)).collect();
    for (name, _, _) in pods {
        bed.answers(From::Pod(name), &all)?;
    }

    let kubectl = bed.kubectl()?;
    let agents = agents(bed)?;
    kubectl.run(["-n", "kube-system", "rollout", "restart", "ds/tidewayd"])?;
    // A pod that comes while its node has no daemon waits for it, and fails for nothing.
    bed.create(&[pod("between", &first, false)])?;
    wait::until("the rollout ends", PATIENCE, || {
        let outcomes = bed.call(From::Node(&second), &all)?;
        ensure!(outcomes.iter().all(Result::is_ok), "a call failed in the rollout: {outcomes:?}");
        let status = ["-n", "kube-system", "rollout", "status", "ds/tidewayd", "--watch=false"];
        let said = kubectl.run(status)?;
        let done = said.contains("successfully rolled out");
        Ok(if done { Look::Seen(()) } else { Look::NotYet(said) })
    })?;
    ensure!(agents.is_disjoint(&self::agents(bed)?), "a pod of the DaemonSet was not replaced");
    // The plugin has registered again with both kubelets: the other slot can still be had.
    bed.create(&[pod("late", &second, true)])?;
    bed.live("between", &first)?;
    for ((name, node, _), before) in pods.iter().zip(&before) {
        let after = bed.live(name, node)?;
        ensure!(*before == after, "before {before:?}\nafter {after:?}");
        bed.pod_until(name, "was left alone", SOON, |p| restarts(p) == 0)?;
    }
    bed.answers(From::Pod("remote"), &all)?;
    workloads::wait_devices(&bed.cluster, "1")?;
    let late = bed.live("late", &second)?;
    ensure!(late.mode == "exclusive", "{late:?}");
    bed.reaches(&first, &late.ips)?;
    is_watching(bed, &first)?;
    is_watching(bed, &second)
}

pub(crate) fn the_daemonset_is_uninstalled_as_documented(bed: &Bed) -> Result<()> {
    installed(bed)?;
    let kubectl = bed.kubectl()?;
    let system = |arguments: &[&str]| {
        kubectl.run(["-n", "kube-system"].into_iter().chain(arguments.iter().copied()))
    };
    let [uninstall, rbac, crd] =
        ["uninstall.yaml", "rbac.yaml", "crds/nodenetworks.yaml"].map(manifest);
    system(&["delete", "ds", "tidewayd", "--cascade=foreground"])?;
    kubectl.run(["apply", "-f", &uninstall])?;
    system(&["rollout", "status", "ds/tideway-uninstall", ROLLED])?;
    for node in bed.nodes() {
        for (directory, file) in installed_files() {
            let path = node.directory(directory).join(file);
            ensure!(!path.exists(), "{}: {} is still there", node.name(), path.display());
        }
        let state = fs::read_dir(node.directory("tideway-lib"))?;
        let left: Vec<_> = state.filter_map(Result::ok).map(|e| e.file_name()).collect();
        ensure!(left.is_empty(), "{}: state is left: {left:?}", node.name());
    }
    kubectl.run(["delete", "-f", &uninstall, "-f", &rbac, "-f", &crd])?;
    system(&["delete", "configmap", "tidewayd"])?;
    bed.agents_are(Agents::Absent);
    bed.nothing_is_left()
}

/// Installs by the manifests what is not installed yet.
pub(crate) fn installed(bed: &Bed) -> Result<()> {
    if bed.agents() == Agents::DaemonSet {
        return Ok(());
    }
    let archive = bed.dir().store().join("agent.tar");
    let busybox = command::find_program("busybox").context("busybox is not installed")?;
    thread::scope(|scope| {
        let (archive, binaries) = (&archive, &bed.binaries);
        let building = scope.spawn(move || image::agent::build(archive, &busybox, binaries));
        if bed.agents() == Agents::HostUnits {
            bed.give_back()?;
        }
        building.join().unwrap_or_else(|_| Err(anyhow!("the image could not be built")))
    })?;
    for node in bed.nodes() {
        for (directory, file) in installed_files() {
            let path = node.directory(directory).join(file);
            ensure!(!path.exists(), "{} is there before the DaemonSet", path.display());
        }
    }
    let nodes = bed.nodes();
    at_once(nodes.iter().map(|node| task(|| node.load_image(&archive))).collect())?;
    fs::remove_file(archive)?;
    bed.agents_are(Agents::DaemonSet);
    let kubectl = bed.kubectl()?;
    let config = bed.dir().state().join("tidewayd.yaml");
    fs::write(&config, configuration(bed))?;
    let config = format!("--from-file={}", config.display());
    let ca = format!("--from-file=ca.pem={}", bed.cluster.lab().ca_file.display());
    kubectl.run(["-n", "kube-system", "create", "configmap", "tidewayd", &config, &ca])?;
    let [crd, rbac, daemonset] =
        ["crds/nodenetworks.yaml", "rbac.yaml", "daemonset.yaml"].map(manifest);
    kubectl.run(["apply", "-f", &crd, "-f", &rbac, "-f", &daemonset])?;
    kubectl.run(["-n", "kube-system", "rollout", "status", "ds/tidewayd", ROLLED])?;
    bed.cluster.wait_ready()?;
    workloads::wait_devices(&bed.cluster, "1")?;
    let plugin = fs::read(&bed.binaries.cni)?;
    for node in bed.nodes() {
        let of_image = fs::read(node.directory("cni-bin").join(names::CNI_TYPE))?;
        ensure!(of_image == plugin, "{}: another plugin than that of the image", node.name());
        let conflist = Bed::read(&node, "cni-conf", &format!("net.d/{}", names::CONFLIST))?;
        ensure!(conflist.contains(names::CNI_TYPE), "{conflist}");
    }
    let pods = kubectl.get(PODS)?;
    for pod in list(&pods, "/items") {
        ensure!(text(pod, "/spec/priorityClassName") == "system-node-critical", "{pod}");
        ensure!(text(pod, "/status/podIP") == text(pod, "/status/hostIP"), "{pod}");
    }
    Ok(())
}

/// Label of the `DaemonSet`'s pods.
const PODS: &str =
    "/api/v1/namespaces/kube-system/pods?labelSelector=app.kubernetes.io/name=tidewayd";

/// What the `DaemonSet` puts on a node, by the harness' names of directories.
fn installed_files() -> [(&'static str, String); 2] {
    [("cni-bin", names::CNI_TYPE.to_owned()), ("cni-conf", format!("net.d/{}", names::CONFLIST))]
}

/// What the lab needs beyond the example: its endpoint with its own authority. Region and credentials come from the
/// metadata service, as on a real instance.
fn configuration(bed: &Bed) -> String {
    let lab = bed.cluster.lab();
    let trusted = ("caFile", "/etc/tideway/ca.pem");
    let cloud = lab.cloud_section(&lab.endpoints.inside.api_tls, trusted);
    let services = SERVICE_CIDRS.map(|c| format!("{c:?}")).join(", ");
    format!(
        "cluster: {}\nfamilies: DualStack\ncloud: {cloud}\npod:\n  serviceCidrs: [{services}]\n{POOL}",
        lab.id
    )
}

/// Ids of the `DaemonSet`'s pods.
fn agents(bed: &Bed) -> Result<BTreeSet<String>> {
    let pods = bed.kubectl()?.get(PODS)?;
    let uid = |pod: &Value| text(pod, "/metadata/uid").to_owned();
    Ok(list(&pods, "/items").iter().map(uid).collect())
}

/// Waits until nothing is wrong with the daemon's sources: it may read pods by its own account.
fn is_watching(bed: &Bed, node: &Node<'_>) -> Result<()> {
    wait::until(&format!("no source of {} fails", node.name()), SOON, || {
        let shown = bed.show(node)?;
        let errors = list(&shown, "/sourceErrors");
        Ok(if errors.is_empty() { Look::Seen(()) } else { Look::NotYet(format!("{errors:?}")) })
    })
}
