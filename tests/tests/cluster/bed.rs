//! The cluster with Tideway on both workers, and what all scenarios ask of it.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    fs,
    net::IpAddr,
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};
use tideway_e2e::{
    at_once::{at_once, task},
    cluster::{Cluster, Kubectl, Node, list, text},
    command,
    demo::{
        binaries::Binaries,
        daemons,
        inspect::{ByNode, Inspection},
        lab_process::LabProcess,
        place, pool,
        report::Report,
        snapshot::PoolWords,
        workloads,
    },
    preflight,
    run_dir::RunDir,
    wait::{self, Look},
};

/// Id of the lab.
const LAB: &str = "flt";
/// Addresses and surplus rest shorter than by default: more is reused, and what is freed by mistake is freed in the test.
pub(crate) const POOL: &str = "pool: {cooldownSeconds: 4, settleSeconds: 3}\n";
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
    first: ByNode<String>,
    /// With warm pools and without pods.
    warm: ByNode<String>,
    /// What belonged to the pools at any time: ENIs and addresses change, and are no leak.
    pools: RefCell<ByNode<PoolWords>>,
    given_back: Cell<bool>,
}

impl Bed {
    /// Lab, Kubernetes and daemons, the pools warm and the devices offered.
    pub(crate) fn set_up(report: &Report, dir: &RunDir) -> Result<Self> {
        let binaries = Binaries::find()?;
        report.step("lab and Kubernetes");
        let lab = LabProcess::up(&binaries.lab, dir, LAB.to_owned())?;
        let plan = place::plan(dir, &lab, &binaries, preflight::check()?)?;
        let cluster = Cluster::new(plan, dir);
        cluster.start()?;
        let mut bed = Self {
            cluster,
            binaries,
            lab,
            dir: dir.clone(),
            first: BTreeMap::new(),
            warm: BTreeMap::new(),
            pools: RefCell::default(),
            given_back: Cell::new(false),
        };
        bed.first = bed.inspect(|inspection| inspection.take("first"))?;
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
            bed.show(&node)?;
        }
        bed.warm = bed.inspect(|inspection| inspection.take("warm"))?;
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

    pub(crate) fn stop_daemon(&self, node: &Node<'_>) -> Result<()> {
        self.cluster.roster().stop(&node.process("tidewayd"), Duration::from_secs(5))
    }

    pub(crate) fn kill(&self, node: &Node<'_>, program: &str) -> Result<()> {
        self.cluster.roster().kill(&node.process(program))
    }

    /// What the daemon says, as soon as it answers.
    pub(crate) fn show(&self, node: &Node<'_>) -> Result<Value> {
        wait::until(&format!("tidewayd of {} answers", node.name()), SOON, || {
            self.cluster.roster().must_run(&node.process("tidewayd"))?;
            Ok(match daemons::show(node, &self.binaries) {
                Ok(shown) => {
                    let mut pools = self.pools.borrow_mut();
                    pools.entry(node.name().to_owned()).or_default().extend(pool::words(&shown));
                    Look::Seen(shown)
                }
                Err(error) => Look::NotYet(format!("{error:#}")),
            })
        })
    }

    /// Calls port 8080 of these addresses from a node until all answer.
    pub(crate) fn reaches(&self, from: &Node<'_>, addresses: &[IpAddr]) -> Result<()> {
        let targets: Vec<Value> = addresses
            .iter()
            .map(|ip| json!({"name": ip, "proto": "tcp", "address": ip, "port": 8080, "timeoutMs": 800, "expect": "ok"}))
            .collect();
        let targets = serde_json::to_vec(&targets)?;
        wait::until(&format!("{addresses:?} answer {}", from.name()), SOON, || {
            let mut probe = from.command(&self.binaries.probe)?;
            let said = command::run_with(probe.arg("call"), Some(&targets))?;
            let outcomes: Value = serde_json::from_str(&said)?;
            let outcomes = list(&outcomes, "");
            let answered = |o: &Value| o.get("answered").and_then(Value::as_bool) == Some(true);
            let all = outcomes.len() == addresses.len() && outcomes.iter().all(answered);
            Ok(if all { Look::Seen(()) } else { Look::NotYet(said) })
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
            let names = kubectl.run(["get", "pods", "-o", "name"])?;
            Ok(if names.trim().is_empty() { Look::Seen(()) } else { Look::NotYet(names) })
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
        let pools = || {
            for node in self.nodes() {
                self.show(&node)?;
            }
            Ok(self.pools.borrow().clone())
        };
        self.inspect(|i| i.equal(&self.warm, "the warm, empty pool", "emptied", pools))
    }

    /// Uninstalls and compares with the state before the first daemon.
    pub(crate) fn give_back(&self) -> Result<()> {
        self.given_back.set(true);
        let logs = self.dir.logs();
        for node in self.nodes() {
            daemons::uninstall(&self.cluster, &node, &self.binaries, &logs)?;
        }
        self.inspect(|i| {
            i.equal(&self.first, "the first snapshot", "uninstalled", || Ok(BTreeMap::new()))
        })?;
        self.lab.wait_without_secondary_enis()
    }

    /// Whether the nodes were given back, so that no scenario can follow.
    pub(crate) fn given_back(&self) -> bool {
        self.given_back.get()
    }

    fn inspect<T>(&self, look: impl FnOnce(&Inspection<'_>) -> Result<T>) -> Result<T> {
        let nodes = self.cluster.nodes();
        look(&Inspection {
            lab: &self.lab,
            dir: &self.dir,
            nodes: &nodes,
            binaries: &self.binaries,
        })
    }

    /// The ends of the logs that explain a failure.
    pub(crate) fn told(&self) -> String {
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
