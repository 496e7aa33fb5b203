//! etcd, API server, controller manager and scheduler, in the network namespace of one instance, and beside them, where the
//! plan has it, the scheduler's extender.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::{API_PORT, Cluster, SERVICE_CIDRS, fill, write};
use crate::{
    command,
    wait::{self, Look},
};

impl Cluster {
    pub(super) fn start_control_plane(&self) -> Result<()> {
        self.start_etcd()?;
        self.start_api_server()?;
        self.start_controllers().context("controllers")
    }

    /// One of kubebed's programs, in the control plane's namespace.
    fn component(&self, name: &str) -> Result<std::process::Command> {
        let mut command = command::in_netns(&self.control()?.namespace, &self.plan.kubebed);
        command.arg(name);
        Ok(command)
    }

    fn start_etcd(&self) -> Result<()> {
        let mut etcd = self.component("etcd")?;
        etcd.arg("--data-dir").arg(self.dir.store().join("etcd")).args([
            "--listen-client-url=http://127.0.0.1:2379",
            "--listen-peer-url=http://127.0.0.1:2380",
        ]);
        self.roster.start("etcd", &etcd)?;
        wait::until("etcd ready", Duration::from_secs(30), || {
            self.roster.must_run("etcd")?;
            let log = std::fs::read_to_string(self.roster.log("etcd"))?;
            let ready = log.contains("etcd: ready");
            Ok(if ready { Look::Seen(()) } else { Look::NotYet(self.roster.tail("etcd")) })
        })
    }

    /// Starts the API server and waits until it is ready; also again after its end.
    pub fn start_api_server(&self) -> Result<()> {
        let pki = self.dir.pki();
        let file = |name: &str| pki.join(name).display().to_string();
        let address = self.control()?.ipv4.to_string();
        let mut api = self.component("apiserver")?;
        api.args([
            format!("--bind-address={address}"),
            format!("--advertise-address={address}"),
            format!("--secure-port={API_PORT}"),
            "--etcd-servers=http://127.0.0.1:2379".into(),
            format!("--service-cluster-ip-range={}", SERVICE_CIDRS.join(",")),
            format!("--client-ca-file={}", file("ca.crt")),
            format!("--tls-cert-file={}", file("apiserver.crt")),
            format!("--tls-private-key-file={}", file("apiserver.key")),
            "--service-account-issuer=https://kubernetes.default.svc".into(),
            format!("--service-account-key-file={}", file("sa.pub")),
            format!("--service-account-signing-key-file={}", file("sa.key")),
            format!("--kubelet-client-certificate={}", file("kubelet-client.crt")),
            format!("--kubelet-client-key={}", file("kubelet-client.key")),
        ]);
        api.args([
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            "--kubelet-preferred-address-types=InternalIP",
            "--allow-privileged=true",
            "--max-requests-inflight=5000",
            "--max-mutating-requests-inflight=5000",
            "--event-ttl=10m",
            "--profiling=false",
        ]);
        self.roster.start("apiserver", &api)?;
        let mut look = command::in_netns(&self.control()?.namespace, "curl");
        look.args(["--silent", "--max-time", "2", "--cacert", &file("ca.crt")]);
        look.args(["--cert", &file("admin.crt"), "--key", &file("admin.key")]);
        look.arg(format!("{}/readyz", self.server()?));
        wait::until("API server ready", Duration::from_mins(1), || {
            self.roster.must_run("apiserver")?;
            let answer = command::output(&mut look, None)?;
            let ready = answer.status.success() && answer.stdout == b"ok";
            Ok(if ready { Look::Seen(()) } else { Look::NotYet(self.roster.tail("apiserver")) })
        })
    }

    fn start_controllers(&self) -> Result<()> {
        let pki = self.dir.pki();
        let file = |name: &str| pki.join(name).display().to_string();
        let mut kcm = self.component("controller-manager")?;
        kcm.args([
            format!("--kubeconfig={}", file("kcm.kubeconfig")),
            format!("--service-account-private-key-file={}", file("sa.key")),
            format!("--root-ca-file={}", file("ca.crt")),
        ]);
        kcm.args([
            "--use-service-account-credentials=true",
            "--leader-elect=false",
            "--bind-address=127.0.0.1",
            "--authentication-skip-lookup=true",
            "--kube-api-qps=500",
            "--kube-api-burst=1000",
        ]);
        self.roster.start("controller-manager", &kcm)?;
        let config = fill(
            include_str!("../../cluster/scheduler.yaml"),
            &[
                ("KUBECONFIG", &file("scheduler.kubeconfig")),
                ("EXTENDERS", if self.plan.extender.is_some() { extenders()? } else { "" }),
            ],
        );
        let config = write(self.dir.state().join("scheduler.yaml"), &config)?;
        let mut scheduler = self.component("scheduler")?;
        scheduler.arg("--config").arg(config);
        scheduler.args(["--bind-address=127.0.0.1", "--authentication-skip-lookup=true"]);
        self.roster.start("scheduler", &scheduler)?;
        Ok(())
    }

    /// Starts the extender with the committed configuration and the scheduler's credentials, as beside kubeadm's scheduler.
    /// Its rights and the type `NodeNetwork` have to be there, or it will not become ready.
    pub fn start_extender(&self) -> Result<()> {
        let program = self.plan.extender.as_ref().context("the plan has no extender")?;
        let kubeconfig = self.dir.pki().join("scheduler.kubeconfig").display().to_string();
        let config = include_str!("../../../manifests/scheduler/extender.yaml");
        ensure!(config.contains(THEIR_KUBECONFIG), "extender.yaml names another kubeconfig");
        let config = config.replace(THEIR_KUBECONFIG, &kubeconfig);
        let config = write(self.dir.state().join("extender.yaml"), &config)?;
        let mut extender = command::in_netns(&self.control()?.namespace, program);
        extender.arg("--config").arg(config);
        self.roster.start("extender", &extender).map(drop)
    }

    /// A page of the extender: `/readyz`, `/metrics`.
    pub fn extenders_page(&self, page: &str) -> Result<String> {
        self.roster.must_run("extender")?;
        let mut look = command::in_netns(&self.control()?.namespace, "curl");
        look.args(["--silent", "--show-error", "--fail-with-body", "--max-time", "2"]);
        command::run(look.arg(format!("http://127.0.0.1:9844{page}")))
    }

    /// Waits until the extender's caches are synced.
    pub fn wait_extender(&self) -> Result<()> {
        wait::until("extender ready", Duration::from_secs(30), || {
            self.roster.must_run("extender")?;
            Ok(match self.extenders_page("/readyz") {
                Ok(_) => Look::Seen(()),
                Err(error) => Look::NotYet(format!("{error:#}\n{}", self.roster.tail("extender"))),
            })
        })
    }
}

/// Where the committed configuration expects the scheduler's credentials.
const THEIR_KUBECONFIG: &str = "/etc/kubernetes/scheduler.conf";

/// What the committed configuration of the default mode adds to a scheduler's: everything from the back-off on.
fn extenders() -> Result<&'static str> {
    let whole = include_str!("../../../manifests/scheduler/default.yaml");
    let start = whole.find("podMaxBackoffSeconds:").context("default.yaml has no back-off")?;
    whole.get(start..).context("default.yaml cannot be cut")
}
