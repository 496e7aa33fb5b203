//! etcd, API server, scheduler and extender: started, killed, stopped and started again.
//!
//! Scheduler and extender run with our manifests and with the rights that those give them, side by side as on a kubeadm control
//! plane. They all live in the network namespace of the test itself, which it made for them: their ports are the usual ones.

use std::{fs, path::PathBuf, time::Duration};

use anyhow::{Context as _, Result, bail, ensure};
use nix::sys::signal::Signal;
use tideway_e2e::{
    command, kubebed,
    roster::Roster,
    run_dir::RunDir,
    wait::{self, Look},
};

use crate::clock::Clock;

pub(crate) const SERVER: &str = "https://127.0.0.1:6443";
/// The API server wants to tell others an address that is not a loopback one.
const ADDRESS: &str = "10.64.0.1";
/// As our manifests have it, without us.
const BARE: &str = "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\n\
    clientConnection: {kubeconfig: /etc/kubernetes/scheduler.conf}\nleaderElection: {leaderElect: true}\n\
    podMaxBackoffSeconds: 2\n";
/// By this address the extender, and only it, finds the API server: it can be cut off alone.
const EXTENDERS_WAY: &str = "127.0.0.2";
/// How long a program may take to start, on the slowest machine.
const PATIENCE: Duration = Duration::from_mins(2);
const GRACE: Duration = Duration::from_secs(15);

/// Who decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Mode {
    /// The scheduler alone.
    Bare,
    /// The extender may be ignored, the scheduler binds.
    Default,
    /// The extender binds.
    Strict,
}

/// How scheduler and extender are configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Setting {
    pub(crate) mode: Mode,
    /// In default mode the scheduler waits for the extender as long as in strict mode, and not for half a second only: on a
    /// machine that runs all tests at once an answer may come late, and the scheduler then gives what is not there.
    pub(crate) patient: bool,
    pub(crate) hold_seconds: u32,
    /// The schedulers elect who works.
    pub(crate) elects: bool,
    /// The extender's wall clock can be moved by [`Stack::clock`].
    pub(crate) clock_moves: bool,
    /// Percentage of the nodes that the scheduler looks at for each pod; 0: as it thinks fit.
    pub(crate) looks_at: u32,
}

impl Setting {
    pub(crate) fn of(mode: Mode) -> Self {
        Self {
            mode,
            patient: true,
            hold_seconds: 30,
            elects: false,
            clock_moves: false,
            looks_at: 0,
        }
    }
}

/// A scheduler and the extender beside it, as on one node of the control plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pair {
    First,
    /// With other ports, since both live in one network namespace.
    Second,
}

impl Pair {
    pub(crate) fn scheduler(self) -> &'static str {
        match self {
            Self::First => "scheduler",
            Self::Second => "second-scheduler",
        }
    }
    pub(crate) fn extender(self) -> &'static str {
        match self {
            Self::First => "extender",
            Self::Second => "second-extender",
        }
    }
    /// A port of the first pair's as this one has it.
    fn port(self, of_the_first: u16) -> u16 {
        of_the_first + u16::from(self == Self::Second) * 100
    }
    /// Where the extender is asked.
    pub(crate) fn verbs(self) -> String {
        format!("http://127.0.0.1:{}", self.port(9843))
    }
    /// Where the extender shows figures and health.
    pub(crate) fn extenders_pages(self) -> String {
        format!("http://127.0.0.1:{}", self.port(9844))
    }
    pub(crate) fn schedulers_pages(self) -> String {
        format!("https://127.0.0.1:{}", self.port(10259))
    }
}

/// The scheduler of the tests has a plugin that lets pods with an annotation wait before they are bound.
const PLUGINS: &str = "profiles: [{schedulerName: default-scheduler, \
    plugins: {permit: {enabled: [{name: SlowPermit}]}}}]\n";

/// The programs.
#[derive(Debug)]
pub(crate) struct Stack {
    dir: RunDir,
    roster: Roster,
    kubebed: PathBuf,
    extender: PathBuf,
    /// That of extenders whose clock can be moved.
    pub(crate) clock: Clock,
}

impl Stack {
    /// Certificates, etcd and the API server.
    pub(crate) fn up(dir: &RunDir, extender: PathBuf) -> Result<Self> {
        let stack = Self {
            dir: dir.clone(),
            roster: Roster::new(dir),
            kubebed: kubebed::binary()?,
            extender,
            clock: Clock::in_dir(dir.state())?,
        };
        command::run(&mut command::line("ip", ["link", "set", "lo", "up"]))?;
        let address = format!("{ADDRESS}/32");
        command::run(&mut command::line("ip", ["address", "add", &address, "dev", "lo"]))?;
        let mut pki = command::line(&stack.kubebed, ["pki", "--server", SERVER]);
        pki.args(["--ip", &format!("127.0.0.1,{EXTENDERS_WAY},{ADDRESS}"), "--dir"])
            .arg(dir.pki())
            .args([
                "admin=kubernetes-admin,system:masters",
                "kcm=kube-controller-manager,system:masters",
                "scheduler=system:kube-scheduler",
            ]);
        command::run(&mut pki).context("certificates")?;
        stack.start_etcd()?;
        stack.start_api_server()?;
        Ok(stack)
    }

    fn file(&self, name: &str) -> String {
        self.dir.pki().join(name).display().to_string()
    }

    pub(crate) fn pki(&self) -> PathBuf {
        self.dir.pki()
    }

    fn start_etcd(&self) -> Result<()> {
        let mut etcd = command::line(&self.kubebed, ["etcd", "--data-dir"]);
        etcd.arg(self.dir.store().join("etcd")).args([
            "--listen-client-url=http://127.0.0.1:2379",
            "--listen-peer-url=http://127.0.0.1:2380",
        ]);
        self.roster.start("etcd", &etcd)?;
        wait::until("etcd ready", PATIENCE, || {
            self.roster.must_run("etcd")?;
            let log = fs::read_to_string(self.roster.log("etcd"))?;
            let ready = log.contains("etcd: ready");
            Ok(if ready { Look::Seen(()) } else { Look::NotYet(self.roster.tail("etcd")) })
        })
    }

    /// Also again after its end.
    pub(crate) fn start_api_server(&self) -> Result<()> {
        let mut api = command::line(&self.kubebed, ["apiserver", "--bind-address=0.0.0.0"]);
        api.args([
            format!("--advertise-address={ADDRESS}"),
            format!("--client-ca-file={}", self.file("ca.crt")),
            format!("--tls-cert-file={}", self.file("apiserver.crt")),
            format!("--tls-private-key-file={}", self.file("apiserver.key")),
            format!("--service-account-key-file={}", self.file("sa.pub")),
            format!("--service-account-signing-key-file={}", self.file("sa.key")),
        ]);
        api.args([
            "--etcd-servers=http://127.0.0.1:2379",
            "--service-cluster-ip-range=10.96.0.0/16",
            "--service-account-issuer=https://kubernetes.default.svc",
            "--authorization-mode=RBAC",
            // There is no controller that would take away the taints of new nodes or make service accounts.
            "--disable-admission-plugins=TaintNodesByCondition,ServiceAccount",
            "--max-requests-inflight=5000",
            "--max-mutating-requests-inflight=5000",
            "--event-ttl=10m",
            "--delete-collection-workers=8",
            "--profiling=false",
        ]);
        self.roster.start("apiserver", &api)?;
        let (ca, crt, key) = (self.file("ca.crt"), self.file("admin.crt"), self.file("admin.key"));
        let url = format!("{SERVER}/readyz");
        let look = ["--cacert", &ca, "--cert", &crt, "--key", &key, &url];
        self.answers("apiserver", &look)
    }

    /// Starts the API server again, if it does not run.
    pub(crate) fn revive_api_server(&self) -> Result<()> {
        if self.roster.must_run("apiserver").is_ok() {
            return Ok(());
        }
        self.stop("apiserver")?;
        self.start_api_server()
    }

    /// Waits until a page of a program answers with success.
    fn answers(&self, program: &str, curl: &[&str]) -> Result<()> {
        let mut look = command::line("curl", ["--silent", "--fail", "--max-time", "2"]);
        look.args(curl);
        wait::until(&format!("{program} ready"), PATIENCE, || {
            self.roster.must_run(program)?;
            let ready = command::output(&mut look, None)?.status.success();
            Ok(if ready { Look::Seen(()) } else { Look::NotYet(self.roster.tail(program)) })
        })
    }

    pub(crate) fn start_scheduler(&self, pair: Pair, setting: Setting) -> Result<()> {
        let config = match setting.mode {
            Mode::Bare => BARE,
            Mode::Default => include_str!("../../../manifests/scheduler/default.yaml"),
            Mode::Strict => include_str!("../../../manifests/scheduler/strict.yaml"),
        };
        let mut text = config.to_owned();
        let here = format!("{}, qps: 5000, burst: 5000", self.file("scheduler.kubeconfig"));
        let elects = format!("leaderElect: {}", setting.elects);
        let mut changes =
            vec![("/etc/kubernetes/scheduler.conf", here.as_str()), ("leaderElect: true", &elects)];
        if setting.patient && setting.mode == Mode::Default {
            changes.push(("httpTimeout: 500ms", "httpTimeout: 10s"));
        }
        for (there, here) in changes {
            ensure!(text.contains(there), "the manifest has no {there:?}:\n{text}");
            text = text.replace(there, here);
        }
        let text = text.replace(&Pair::First.verbs(), &pair.verbs()) + PLUGINS;
        let text = format!("{text}percentageOfNodesToScore: {}\n", setting.looks_at);
        let config = self.dir.state().join(format!("{}.yaml", pair.scheduler()));
        fs::write(&config, text)?;
        let mut scheduler = command::line(&self.kubebed, ["scheduler", "--config"]);
        scheduler.arg(config).args([
            "--bind-address=127.0.0.1",
            "--authentication-skip-lookup=true",
            "--authorization-always-allow-paths=/metrics,/healthz,/readyz",
        ]);
        scheduler.arg(format!("--secure-port={}", pair.port(10259)));
        self.roster.start(pair.scheduler(), &scheduler)?;
        let page = format!("{}/readyz", pair.schedulers_pages());
        self.answers(pair.scheduler(), &["--insecure", &page])
    }

    pub(crate) fn start_extender(&self, pair: Pair, setting: Setting) -> Result<()> {
        let mode = if setting.mode == Mode::Strict { "strict" } else { "default" };
        let text = fs::read_to_string(self.file("scheduler.kubeconfig"))?;
        let kubeconfig = self.dir.state().join("extender.kubeconfig");
        fs::write(&kubeconfig, text.replace("//127.0.0.1:", &format!("//{EXTENDERS_WAY}:")))?;
        let text = format!(
            "listen: 127.0.0.1:{}\nhttp: 127.0.0.1:{}\nkubeconfig: {}\nmode: {mode}\nholdSeconds: {}\ncautionSeconds: 1\n",
            pair.port(9843),
            pair.port(9844),
            kubeconfig.display(),
            setting.hold_seconds,
        );
        let config = self.dir.state().join(format!("{}.yaml", pair.extender()));
        fs::write(&config, text)?;
        let mut extender = command::line(&self.extender, ["--config"]);
        extender.arg(config);
        if setting.clock_moves {
            extender.envs(self.clock.environment());
        }
        self.roster.start(pair.extender(), &extender)?;
        self.answers(pair.extender(), &[&format!("{}/readyz", pair.extenders_pages())])
    }

    /// Only the controllers that are named.
    pub(crate) fn start_controllers(&self, controllers: &str) -> Result<()> {
        let mut kcm = command::line(&self.kubebed, ["controller-manager"]);
        kcm.args([
            format!("--kubeconfig={}", self.file("kcm.kubeconfig")),
            format!("--controllers={controllers}"),
        ]);
        kcm.args([
            "--leader-elect=false",
            "--bind-address=127.0.0.1",
            "--authentication-skip-lookup=true",
            "--kube-api-qps=500",
            "--kube-api-burst=1000",
        ]);
        self.roster.start("controller-manager", &kcm).map(drop)
    }

    /// Ends a program in order, if it runs.
    pub(crate) fn stop(&self, program: &str) -> Result<()> {
        self.roster.stop(program, GRACE)
    }

    /// Ends a program as a crash would.
    pub(crate) fn kill(&self, program: &str) -> Result<()> {
        self.roster.kill(program)
    }

    /// Stops a program's clock, or lets it go on.
    pub(crate) fn freeze(&self, program: &str, frozen: bool) -> Result<()> {
        let Some(id) = self.roster.get(program) else { bail!("{program} was not started") };
        id.signal(if frozen { Signal::SIGSTOP } else { Signal::SIGCONT })
    }

    /// Cuts the extender off from the API server, as a broken network does, or mends that.
    pub(crate) fn blind_extender(blind: bool) -> Result<()> {
        let rules = if blind {
            format!(
                "table ip blind {{ chain input {{ type filter hook input priority 0; \
                 ip daddr {EXTENDERS_WAY} drop; ip saddr {EXTENDERS_WAY} drop; }}; }}"
            )
        } else {
            "delete table ip blind".to_owned()
        };
        command::run_with(&mut command::line("nft", ["-f", "-"]), Some(rules.as_bytes())).map(drop)
    }

    /// What scheduler and extender have said last.
    pub(crate) fn told(&self) -> String {
        ["extender", "scheduler"].map(|name| self.roster.tail(name)).join("\n")
    }
}
