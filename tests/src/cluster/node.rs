//! One node: its namespaces, containerd, kubelet and kube-proxy.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result};

use super::{Cluster, fill, write};
use crate::{
    cgroup::Group,
    command, image,
    lab::Instance,
    preflight,
    process::ProcessId,
    wait::{self, Look},
};

/// Directories of a node below its own directory; `node-init.sh` mounts them over the canonical paths.
const DIRECTORIES: [&str; 9] = [
    "run",
    "kubelet",
    "containerd",
    "cni-lib",
    "cni-conf/net.d",
    "cni-bin",
    "tideway-conf",
    "tideway-lib",
    "log",
];
/// The kubelet's own default of `maxPods`.
const MAX_PODS: u64 = 110;
/// Where the distribution keeps the standard plugins (Debian: containernetworking-plugins).
const STANDARD_PLUGINS: &str = "/usr/lib/cni";

/// A node of a cluster.
#[derive(Debug, Clone, Copy)]
pub struct Node<'a> {
    pub(super) cluster: &'a Cluster,
    name: &'a str,
}

impl<'a> Node<'a> {
    pub(super) fn new(cluster: &'a Cluster, name: &'a str) -> Self {
        Self { cluster, name }
    }

    /// Name of node and instance.
    pub fn name(&self) -> &'a str {
        self.name
    }

    /// The instance that it is.
    pub fn instance(&self) -> Result<&'a Instance> {
        self.cluster.plan.lab.instance(self.name)
    }

    /// The node's copy of a directory as seen from outside, such as `run` or `tideway-conf`.
    pub fn directory(&self, name: &str) -> PathBuf {
        self.cluster.dir.node(self.name).join(name)
    }

    /// Kubeconfig with the kubelet's rights.
    pub fn kubeconfig(&self) -> PathBuf {
        self.cluster.dir.pki().join(format!("{}.kubeconfig", self.name))
    }

    /// Name of one of the node's processes in the roster.
    pub fn process(&self, program: &str) -> String {
        format!("{program}-{}", self.name)
    }

    /// A program inside the node (network, mounts, host name).
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Result<Command> {
        let init = self.init()?.pid.to_string();
        let mut command = command::line("nsenter", ["-t", &init, "-n", "-m", "-u", "--"]);
        command.arg(program);
        Ok(command)
    }

    /// Starts a long-lived program inside the node.
    pub fn start(&self, program: &str, command: &Command) -> Result<ProcessId> {
        self.cluster.roster.start(&self.process(program), command)
    }

    fn init(&self) -> Result<ProcessId> {
        let id = self.cluster.roster.get(&self.process("init"));
        id.with_context(|| format!("node {} does not run", self.name))
    }

    pub(super) fn group(&self) -> Group {
        let name = format!("tideway-{}/{}", self.cluster.plan.lab.id, self.name);
        Group::new(self.cluster.plan.hierarchies.clone(), &name)
    }

    /// Namespaces, containerd, and the image in it.
    pub(super) fn prepare(&self) -> Result<()> {
        self.enter().with_context(|| format!("node {}", self.name))?;
        self.install_plugins()?;
        self.start_containerd()?;
        self.load_image(&self.cluster.plan.image)
    }

    /// Gives an image archive to the runtime.
    pub fn load_image(&self, archive: &Path) -> Result<()> {
        let mut import = self.command("ctr")?;
        import.args(["--namespace", "k8s.io", "images", "import"]).arg(archive);
        command::run(&mut import).map(drop)
    }

    pub(super) fn enter(&self) -> Result<()> {
        let dir = self.cluster.dir.node(self.name);
        for name in DIRECTORIES {
            fs::create_dir_all(dir.join(name))?;
        }
        let group = self.group();
        self.cluster.record_node(self.name, &group.root())?;
        group.create()?;
        let script = self.cluster.dir.state().join("node-init.sh");
        let mut init = command::in_netns(&self.instance()?.namespace, "unshare");
        init.args(["--mount", "--uts", "--propagation", "private", "bash"]);
        init.arg(script).arg(self.name).arg(&dir);
        let id = self.start("init", &init)?;
        let name = self.process("init");
        wait::until("namespaces and mounts of the node", Duration::from_secs(20), || {
            self.cluster.roster.must_run(&name)?;
            let ready = dir.join("ready").exists();
            Ok(if ready { Look::Seen(()) } else { Look::NotYet(self.cluster.roster.tail(&name)) })
        })?;
        self.cluster.record_mount_namespace(self.name, id)
    }

    fn install_plugins(&self) -> Result<()> {
        let standard = fs::read_dir(STANDARD_PLUGINS)?.filter_map(Result::ok).map(|e| e.path());
        for plugin in standard.chain(self.cluster.plan.cni_plugins.iter().cloned()) {
            let name = plugin.file_name().context("a plugin without a name")?;
            fs::copy(&plugin, self.directory("cni-bin").join(name))
                .with_context(|| format!("cannot install CNI plugin {}", plugin.display()))?;
        }
        Ok(())
    }

    /// Starts the runtime and waits until it answers; also again after its end.
    pub fn start_containerd(&self) -> Result<()> {
        let runc = command::find_program("runc").context("runc is not installed")?;
        let config = fill(
            include_str!("../../cluster/containerd.toml"),
            &[
                ("PAUSE_IMAGE", image::PAUSE_IMAGE),
                ("SNAPSHOTTER", preflight::kernel::snapshotter(self.cluster.dir.store())),
                ("RUNC", &runc.display().to_string()),
            ],
        );
        let config = write(self.directory("containerd.toml"), &config)?;
        let mut containerd = self.command("containerd")?;
        containerd.arg("--config").arg(config);
        self.start("containerd", &containerd)?;
        let name = self.process("containerd");
        wait::until("containerd answers", Duration::from_secs(20), || {
            self.cluster.roster.must_run(&name)?;
            let answer = command::output(self.command("ctr")?.arg("version"), None)?;
            let ready = answer.status.success();
            Ok(if ready { Look::Seen(()) } else { Look::NotYet(self.cluster.roster.tail(&name)) })
        })
    }

    /// What the kubelet gets as `maxPods` from its next start on.
    pub fn set_max_pods(&self, most: u64) -> Result<()> {
        write(self.directory("max-pods"), &most.to_string()).map(drop)
    }

    fn max_pods(&self) -> String {
        fs::read_to_string(self.directory("max-pods")).unwrap_or_else(|_| MAX_PODS.to_string())
    }

    /// Kubeconfig with the daemon's rights.
    pub fn daemon_kubeconfig(&self) -> PathBuf {
        self.cluster.dir.pki().join("tidewayd.kubeconfig")
    }

    /// Where the kubelet looks for pods that it runs without an API server, as seen from outside.
    pub fn static_pods(&self) -> PathBuf {
        self.directory("kubelet").join("static-pods")
    }

    /// Starts the kubelet; also again after its end.
    pub fn start_kubelet(&self) -> Result<()> {
        let instance = self.instance()?;
        let pki = self.cluster.dir.pki();
        fs::create_dir_all(self.static_pods())?;
        let config = fill(
            include_str!("../../cluster/kubelet.yaml"),
            &[
                ("CGROUP", &self.group().root()),
                ("CA", &pki.join("ca.crt").display().to_string()),
                ("MAX_PODS", &self.max_pods()),
            ],
        );
        let config = write(self.directory("kubelet.yaml"), &config)?;
        let mut kubelet = self.command(&self.cluster.plan.kubebed)?;
        kubelet.args([
            "kubelet".to_owned(),
            format!("--config={}", config.display()),
            format!("--kubeconfig={}", self.kubeconfig().display()),
            format!("--hostname-override={}", self.name),
            format!("--node-ip={},{}", instance.ipv4, instance.ipv6),
            "-v=2".into(),
        ]);
        self.start("kubelet", &kubelet)?;
        Ok(())
    }

    /// Starts kube-proxy; also again after its end.
    pub fn start_proxy(&self) -> Result<()> {
        let pki = self.cluster.dir.pki();
        let vpc = &self.cluster.plan.lab.vpc;
        let config = fill(
            include_str!("../../cluster/proxy.yaml"),
            &[
                ("KUBECONFIG", &pki.join("proxy.kubeconfig").display().to_string()),
                ("NODE", self.name),
                ("CLUSTER_CIDR", &format!("{},{}", vpc.ipv4, vpc.ipv6)),
            ],
        );
        let config = write(self.directory("proxy.yaml"), &config)?;
        let mut proxy = self.command(&self.cluster.plan.kubebed)?;
        proxy.arg("proxy").arg("--config").arg(config);
        self.start("kube-proxy", &proxy)?;
        Ok(())
    }
}
