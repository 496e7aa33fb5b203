//! Kubernetes with its control plane in one instance of the VPC and a node in each of the others.
//!
//! A node is the instance's network namespace with a mount and a UTS namespace of its own, so that every node uses the
//! canonical paths and all its mounts vanish with its last process. Owner of all processes: the [`Roster`].

mod control_plane;
mod kubectl;
mod node;
mod power;
mod teardown;

use std::{fs, path::PathBuf, time::Duration};

use anyhow::{Context as _, Result};
use serde_json::Value;

pub use self::{kubectl::Kubectl, node::Node, teardown::tear_down};
use crate::{
    at_once::{at_once, task},
    cgroup::Hierarchies,
    command,
    lab::{Instance, Lab},
    machine,
    roster::Roster,
    run_dir::RunDir,
    wait::{self, Look},
};

/// Service blocks, IPv4 first: the apiserver's default address is the first of it.
pub const SERVICE_CIDRS: [&str; 2] = ["10.96.0.0/16", "fd00:96::/112"];
/// First address of each: the Service `kubernetes`.
const SERVICE_FIRST: [&str; 2] = ["10.96.0.1", "fd00:96::1"];
/// Secure port of the API server.
const API_PORT: u16 = 6443;

/// What a cluster is made of.
#[derive(Debug)]
pub struct Plan {
    /// The lab.
    pub lab: Lab,
    /// Instance of the control plane.
    pub control: String,
    /// Instances that become nodes.
    pub workers: Vec<String>,
    /// OCI archive with the probe and the pause image.
    pub image: PathBuf,
    /// Further files for every node's CNI directory.
    pub cni_plugins: Vec<PathBuf>,
    /// The Kubernetes binary.
    pub kubebed: PathBuf,
    /// The scheduler's extender; the scheduler is then configured to ask it, and goes on without it until it is started.
    pub extender: Option<PathBuf>,
    /// The machine's cgroups.
    pub hierarchies: Hierarchies,
}

/// A cluster that is being started or runs.
#[derive(Debug)]
pub struct Cluster {
    plan: Plan,
    dir: RunDir,
    roster: Roster,
}

impl Cluster {
    /// A cluster in `dir`; nothing runs yet.
    pub fn new(plan: Plan, dir: &RunDir) -> Self {
        Self { plan, dir: dir.clone(), roster: Roster::new(dir) }
    }

    /// Processes.
    pub fn roster(&self) -> &Roster {
        &self.roster
    }

    /// The lab.
    pub fn lab(&self) -> &Lab {
        &self.plan.lab
    }

    /// The nodes, in the order of the plan.
    pub fn nodes(&self) -> Vec<Node<'_>> {
        self.plan.workers.iter().map(|name| Node::new(self, name)).collect()
    }

    /// `kubectl` as administrator, in the control plane's namespace.
    pub fn kubectl(&self) -> Result<Kubectl> {
        Ok(Kubectl {
            binary: self.plan.kubebed.clone(),
            namespace: self.control()?.namespace.clone(),
            server: self.server()?,
            pki: self.dir.pki(),
            cache: self.dir.store().join("kubectl-cache"),
        })
    }

    /// Certificates, API server and its friends; beside them the nodes up to a runtime with the image.
    pub fn start(&self) -> Result<()> {
        self.dir.create()?;
        machine::borrow(&self.dir)?;
        self.certificates()?;
        self.write_init_script()?;
        let nodes = self.nodes();
        let nodes = nodes.iter().map(|node| task(|| node.prepare()));
        at_once(std::iter::once(task(|| self.start_control_plane())).chain(nodes).collect())
            .map(drop)
    }

    /// kubelet and kube-proxy on every node.
    pub fn start_kubelets(&self) -> Result<()> {
        let nodes = self.nodes();
        let start = |node: &Node<'_>| node.start_kubelet().and_then(|()| node.start_proxy());
        at_once(nodes.iter().map(|node| task(|| start(node))).collect()).map(drop)
    }

    /// Waits until every node is Ready.
    pub fn wait_ready(&self) -> Result<()> {
        let kubectl = self.kubectl()?;
        // Clients of an API server that was away ask for it again in pauses that have grown meanwhile.
        wait::until("all nodes Ready", Duration::from_mins(3), || {
            for node in self.nodes() {
                self.roster.must_run(&node.process("kubelet"))?;
                self.roster.must_run(&node.process("kube-proxy"))?;
            }
            let nodes = kubectl.get("nodes")?;
            let states: Vec<String> = list(&nodes, "/items").iter().map(readiness).collect();
            let ready = states.iter().filter(|s| s.ends_with("Ready=True")).count();
            let all = ready == self.plan.workers.len();
            Ok(if all { Look::Seen(()) } else { Look::NotYet(format!("{states:?}")) })
        })
    }

    fn control(&self) -> Result<&Instance> {
        self.plan.lab.instance(&self.plan.control)
    }

    fn server(&self) -> Result<String> {
        Ok(format!("https://{}:{API_PORT}", self.control()?.ipv4))
    }

    fn certificates(&self) -> Result<()> {
        let control = self.control()?;
        let ips = [control.ipv4.to_string(), control.ipv6.to_string(), "127.0.0.1".into()];
        let ips = ips.into_iter().chain(SERVICE_FIRST.map(str::to_owned)).collect::<Vec<_>>();
        let mut pki = command::line(&self.plan.kubebed, ["pki", "--server", &self.server()?]);
        pki.arg("--ip").arg(ips.join(",")).arg("--dir").arg(self.dir.pki()).args([
            "admin=kubernetes-admin,system:masters",
            "kcm=system:kube-controller-manager",
            "scheduler=system:kube-scheduler",
            "proxy=system:kube-proxy",
            "kubelet-client=kube-apiserver-kubelet-client,system:masters",
            // The name of its service account, so that the daemon has the rights of manifests/rbac.yaml and no others.
            "tidewayd=system:serviceaccount:kube-system:tidewayd,system:serviceaccounts",
        ]);
        pki.args(self.plan.workers.iter().map(|n| format!("{n}=system:node:{n},system:nodes")));
        command::run(&mut pki).map(drop).context("certificates")
    }
}

/// `NAME: Ready=True`, or with the reason why not.
fn readiness(node: &Value) -> String {
    let name = text(node, "/metadata/name");
    let ready = list(node, "/status/conditions").iter().find(|c| text(c, "/type") == "Ready");
    match ready.map(|c| (text(c, "/status"), text(c, "/message"))) {
        Some(("True", _)) => format!("{name}: Ready=True"),
        Some((status, message)) => format!("{name}: Ready={status} ({message})"),
        None => format!("{name}: no status yet"),
    }
}

/// A list inside a JSON value; empty when it is not there.
pub fn list<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    value.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// A text inside a JSON value; empty when it is not there.
pub fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// Fills the `@KEY@`s of a template.
pub(crate) fn fill(template: &str, values: &[(&str, &str)]) -> String {
    values
        .iter()
        .fold(template.to_owned(), |text, (key, value)| text.replace(&format!("@{key}@"), value))
}

fn write(path: PathBuf, text: &str) -> Result<PathBuf> {
    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}
