//! The cluster with Tideway on both workers, and what all scenarios ask of it.

use std::{cell::Cell, collections::BTreeMap, fs, time::Duration};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;
use tideway_e2e::{
    at_once::{at_once, task},
    cluster::{Cluster, Kubectl, Node, list, text},
    command,
    demo::{
        binaries::Binaries,
        daemons,
        inspect::{ByNode, Inspection},
        lab_process::LabProcess,
        node_networks, place, pool,
        report::Report,
        snapshot::Snapshot,
        workloads,
    },
    preflight,
    run_dir::RunDir,
    wait::{self, Look},
};
use tideway_model::names;

use crate::scenarios::soak;

/// Id of the lab.
const LAB: &str = "flt";
/// Addresses and surplus rest shorter than by default: more is reused, and what is freed by mistake is freed in the test. A
/// call whose answer a kill lost has taken effect by then: the lab knows no later one.
pub(crate) const POOL: &str =
    "pool: {cooldownSeconds: 4, settleSeconds: 3, lateEffectSeconds: 10}\n";
/// Longest way of a pod to Running: an ENI is detached, another one made and attached.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);
/// Longest time until something is seen that needs no cloud call.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// Everything that runs.
#[derive(Debug)]
pub(crate) struct Bed {
    pub(crate) cluster: Cluster,
    pub(crate) binaries: Binaries,
    pub(crate) lab: LabProcess,
    dir: RunDir,
    /// Before the first daemon.
    first: ByNode<Snapshot>,
    /// With warm pools and without pods.
    warm: ByNode<Snapshot>,
    agents: Cell<Agents>,
}

/// How Tideway runs on the nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Agents {
    HostUnits,
    DaemonSet,
    Absent,
}

impl Bed {
    /// Lab, Kubernetes and daemons, the pools warm and the devices offered.
    pub(crate) fn set_up(report: &Report, dir: &RunDir) -> Result<Self> {
        let binaries = Binaries::find()?;
        report.step("lab and Kubernetes");
        let lab = LabProcess::up(&binaries.lab, dir, LAB.to_owned(), soak::addresses_per_eni())?;
        let mut plan = place::plan(dir, &lab, &binaries, preflight::check()?)?;
        // Only some scenarios start it; without it the scheduler goes on alone.
        plan.extender = Some(binaries.extender.clone());
        let cluster = Cluster::new(plan, dir);
        cluster.start()?;
        node_networks::install(&cluster)?;
        let mut bed = Self {
            cluster,
            binaries,
            lab,
            dir: dir.clone(),
            first: BTreeMap::new(),
            warm: BTreeMap::new(),
            agents: Cell::new(Agents::HostUnits),
        };
        bed.first = bed.inspect(|i| i.take("first", &BTreeMap::new()))?;
        let nodes = bed.cluster.nodes();
        let warm = |node: &Node<'_>| {
            daemons::start(&bed.cluster, node, &bed.binaries)?;
            daemons::wait_warm(&bed.cluster, node, &bed.binaries)
        };
        let daemons = nodes.iter().map(|node| task(move || warm(node)));
        at_once(daemons.chain([task(|| bed.cluster.start_kubelets())]).collect())?;
        bed.cluster.wait_ready()?;
        workloads::wait_devices(&bed.cluster, "1")?;
        // From here on with short rests.
        for node in bed.nodes() {
            bed.stop_daemon(&node)?;
            bed.start_daemon(&node, "")?;
        }
        workloads::wait_devices(&bed.cluster, "1")?;
        for node in bed.nodes() {
            daemons::wait_warm(&bed.cluster, &node, &bed.binaries)?;
        }
        bed.warm = bed.inspect(|i| i.take("warm", &i.pool()?))?;
        report.step("the cluster is ready");
        Ok(bed)
    }

    pub(crate) fn nodes(&self) -> [Node<'_>; 2] {
        let nodes = self.cluster.nodes();
        <[Node<'_>; 2]>::try_from(nodes).unwrap_or_else(|n| panic!("{} nodes, not two", n.len()))
    }

    pub(crate) fn kubectl(&self) -> Result<Kubectl> {
        self.cluster.kubectl()
    }

    /// Starts `tidewayd`; `kubernetes` are further lines of that section.
    pub(crate) fn start_daemon(&self, node: &Node<'_>, kubernetes: &str) -> Result<()> {
        daemons::configure(&self.cluster, node, &format!("{kubernetes}{POOL}"))?;
        daemons::run(node, &self.binaries)
    }

    /// Starts `tidewayd` with another text in place of one that the usual configuration has.
    pub(crate) fn start_daemon_with(&self, node: &Node<'_>, usual: &str, text: &str) -> Result<()> {
        daemons::configure(&self.cluster, node, POOL)?;
        let file = node.directory("tideway-conf").join("tidewayd.yaml");
        let config = fs::read_to_string(&file)?;
        ensure!(config.contains(usual), "no {usual:?} in {config}");
        fs::write(file, config.replacen(usual, text, 1))?;
        daemons::run(node, &self.binaries)
    }

    pub(crate) fn stop_daemon(&self, node: &Node<'_>) -> Result<()> {
        self.cluster.roster().stop(&node.process("tidewayd"), Duration::from_secs(5))
    }

    pub(crate) fn kill(&self, node: &Node<'_>, program: &str) -> Result<()> {
        self.cluster.roster().kill(&node.process(program))
    }

    /// What the daemon says, as soon as it answers.
    pub(crate) fn show(&self, node: &Node<'_>) -> Result<Value> {
        wait::until(&format!("tidewayd of {} answers", node.name()), SOON, || {
            if self.agents() == Agents::HostUnits {
                self.cluster.roster().must_run(&node.process("tidewayd"))?;
            }
            Ok(match daemons::show(node, &self.binaries) {
                Ok(shown) => Look::Seen(shown),
                Err(error) => Look::NotYet(format!("{error:#}")),
            })
        })
    }

    /// The ledger of the cloud: no address was given twice, none is lost.
    pub(crate) fn is_accounted(&self) -> Result<()> {
        self.lab.verify().context("the ledger")
    }

    /// Deletes all pods and waits until nothing holds an address and the devices are offered: a scenario begins here.
    pub(crate) fn empty(&self) -> Result<()> {
        let kubectl = self.kubectl()?;
        kubectl.run(["delete", "deployments", "--all", "--wait=false"])?;
        kubectl.run(["delete", "pods", "--all", "--wait=false"])?;
        wait::until("every pod gone", PATIENCE, || {
            let names = kubectl.names("pods")?;
            Ok(if names.is_empty() { Look::Seen(()) } else { Look::NotYet(names.join(" ")) })
        })?;
        for node in self.nodes() {
            wait::until(&format!("leaked: no attachment on {}", node.name()), PATIENCE, || {
                let shown = self.show(&node)?;
                let pods = list(&shown, "/pods");
                let waiting = list(&shown, "/waiting");
                let none = pods.is_empty() && waiting.is_empty();
                Ok(if none {
                    Look::Seen(())
                } else {
                    Look::NotYet(format!("{pods:?} {waiting:?}"))
                })
            })?;
        }
        workloads::wait_devices(&self.cluster, "1")?;
        let words = |node: &Node<'_>| -> Result<_> {
            Ok((node.name().to_owned(), pool::words(&self.show(node)?)))
        };
        let pools = || self.nodes().iter().map(words).collect();
        self.inspect(|i| i.equal(&self.warm, "the warm, empty pool", "emptied", pools))
    }

    /// Uninstalls the host units as the document says and compares with the state before the first daemon.
    pub(crate) fn give_back(&self) -> Result<()> {
        self.agents.set(Agents::Absent);
        let nodes = self.nodes();
        self.uninstall(&nodes)?;
        for node in &nodes {
            fs::remove_file(node.directory("cni-bin").join(names::CNI_TYPE))?;
        }
        self.lab.wait_without_secondary_enis()
    }

    /// The same on these nodes, whose plugin stays.
    pub(crate) fn uninstall(&self, nodes: &[Node<'_>]) -> Result<()> {
        let (cluster, binaries, logs) = (&self.cluster, &self.binaries, &self.dir.logs());
        let uninstall = |node| task(move || daemons::uninstall(cluster, node, binaries, logs));
        at_once(nodes.iter().map(uninstall).collect())?;
        self.are_as_at_first(nodes)
    }

    /// Waits until the nodes are as before the first daemon and the cloud has every ENI back.
    pub(crate) fn nothing_is_left(&self) -> Result<()> {
        self.are_as_at_first(&self.nodes())?;
        self.lab.wait_without_secondary_enis()
    }

    fn are_as_at_first(&self, nodes: &[Node<'_>]) -> Result<()> {
        let none = || Ok(BTreeMap::new());
        self.look(nodes).equal(&self.first, "the first snapshot", "uninstalled", none)
    }

    /// How Tideway runs on the nodes now.
    pub(crate) fn agents(&self) -> Agents {
        self.agents.get()
    }

    /// The same from now on.
    pub(crate) fn agents_are(&self, agents: Agents) {
        self.agents.set(agents);
    }

    /// Reboots a node up to a kubelet that runs. A host unit is ordered before the kubelet, which waits until it answers.
    pub(crate) fn reboot(&self, node: &Node<'_>) -> Result<()> {
        node.power_off()?;
        let arguments = ["reboot", "--id", LAB, node.name()];
        command::run(&mut command::line(&self.binaries.lab, arguments))?;
        node.power_on()?;
        if self.agents() == Agents::HostUnits {
            daemons::run(node, &self.binaries)?;
            self.show(node)?;
        }
        node.start_kubelet()?;
        node.start_proxy()?;
        let mut probe = node.command(&self.binaries.probe)?;
        node.start("node-probe", probe.args(["serve", daemons::NODE_PORT])).map(drop)
    }

    /// The directories of the run.
    pub(crate) fn dir(&self) -> &RunDir {
        &self.dir
    }

    fn inspect<T>(&self, look: impl FnOnce(&Inspection<'_>) -> Result<T>) -> Result<T> {
        look(&self.look(&self.cluster.nodes()))
    }

    fn look<'a>(&'a self, nodes: &'a [Node<'a>]) -> Inspection<'a> {
        Inspection { lab: &self.lab, dir: &self.dir, nodes, binaries: &self.binaries }
    }

    /// The ends of the logs that explain a failure.
    pub(crate) fn told(&self) -> String {
        if self.agents() == Agents::DaemonSet {
            let logs = ["-n", "kube-system", "logs", "--prefix", "--tail=20", "--all-containers"];
            let of = ["-l", "app.kubernetes.io/name in (tidewayd, tideway-uninstall)"];
            let said = self.kubectl().and_then(|k| k.run(logs.into_iter().chain(of)));
            return said.unwrap_or_else(|error| format!("{error:#}"));
        }
        let of =
            |program: &str| self.nodes().map(|n| self.cluster.roster().tail(&n.process(program)));
        of("tidewayd").join("\n")
    }

    /// A node's file as seen from outside.
    pub(crate) fn read(node: &Node<'_>, directory: &str, file: &str) -> Result<String> {
        let path = node.directory(directory).join(file);
        fs::read_to_string(&path).with_context(|| path.display().to_string())
    }

    /// Fails when two of the pods have an address in common; answers the number of addresses.
    pub(crate) fn all_differ(pods: &[Value]) -> Result<usize> {
        let mut seen = BTreeMap::new();
        for pod in pods {
            for ip in list(pod, "/status/podIPs").iter().map(|ip| text(ip, "/ip")) {
                let name = text(pod, "/metadata/name");
                if let Some(other) = seen.insert(ip.to_owned(), name) {
                    bail!("{ip} was given to {other} and to {name}");
                }
            }
        }
        ensure!(!seen.is_empty(), "no pod has an address");
        Ok(seen.len())
    }
}
