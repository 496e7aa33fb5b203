//! One node: the daemon as a process inside its instance's namespace, with every path of its own.

use std::{
    fs::{self, File, OpenOptions},
    io::{Read, Write as _},
    net::{IpAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tideway_proto::node::ShowReply;
use tideway_testkit::TinyDisk;

use crate::{
    Answer, FakeKubelet, FakeRuntime, Pod,
    cni::{self, Call, Runtime},
    netns, programs, rpc,
    wait::{Look, s, until},
};

/// Longest wait for the daemon to be ready; a first start attaches no ENI before it serves.
const READY: Duration = Duration::from_secs(30);
/// Longest wait for a full pool: an ENI is created, attached and prepared, by polls of the daemon.
pub const WARM: Duration = Duration::from_secs(30);

/// A node. Dropping it kills its daemon.
#[derive(Debug)]
pub struct Node {
    /// Name of the instance in the lab.
    pub name: String,
    /// Namespace of the instance.
    pub host: PathBuf,
    /// The kubelet, when pods may hold devices.
    pub kubelet: Option<FakeKubelet>,
    /// The container runtime, when the daemon can ask one.
    pub runtime: Option<FakeRuntime>,
    /// The daemon's configuration; written before each start.
    pub config: Value,
    /// The daemon's environment, beside that of the test.
    pub env: Vec<(&'static str, String)>,
    dir: TempDir,
    /// Mounted as long as the node has its state on it.
    disk: Option<Arc<TinyDisk>>,
    daemon: Option<Child>,
}

/// How a daemon that was told to end did so.
#[derive(Debug, Clone, Copy)]
pub struct Ended {
    /// From the signal to the exit.
    pub took: Duration,
    /// Exit status.
    pub status: ExitStatus,
}

impl Node {
    /// A node whose daemon does not run yet.
    pub fn new(name: &str, host: PathBuf, devices: bool, runtime: bool) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("tw-node-").tempdir()?;
        let at = |file: &str| dir.path().join(file);
        let kubelet_dir = at("kubelet");
        let kubelet = devices.then(|| FakeKubelet::start(&kubelet_dir)).transpose()?;
        let (plugins, resources) = if devices {
            (kubelet_dir.clone(), FakeKubelet::pod_resources_in(&kubelet_dir))
        } else {
            Default::default()
        };
        let cri = if runtime { at("cri.sock") } else { PathBuf::new() };
        let runtime = runtime.then(|| FakeRuntime::start(&cri)).transpose()?;
        let config = json!({
            "cluster": "node-tests",
            "nodeName": name,
            "paths": {
                "socket": at("run/tideway.sock"),
                "journal": at("state/journal.redb"),
                "tickets": at("state/tickets"),
                "cniConfDir": at("net.d"),
                "runtimeSocket": cri,
            },
            "kubernetes": { "devicePluginDir": plugins, "podResourcesSocket": resources },
            "pool": {
                "low": 2,
                "high": 6,
                "cooldownSeconds": 1,
                "settleSeconds": 1,
                "addTimeoutSeconds": 20,
                "lateEffectSeconds": 1,
            },
        });
        Ok(Self {
            name: name.to_owned(),
            host,
            kubelet,
            runtime,
            config,
            env: Vec::new(),
            dir,
            disk: None,
            daemon: None,
        })
    }

    /// Puts these of the section `paths` on a disk, for the next start.
    pub fn put_on(&mut self, disk: &Arc<TinyDisk>, keys: &[&str]) {
        if let Some(paths) = self.config.get_mut("paths").and_then(Value::as_object_mut) {
            for key in keys {
                paths.insert((*key).to_owned(), json!(disk.path().join(key)));
            }
        }
        self.disk = Some(Arc::clone(disk));
    }

    fn path(&self, key: &str) -> PathBuf {
        let found = self.config.get("paths").and_then(|paths| paths.get(key));
        PathBuf::from(found.and_then(Value::as_str).unwrap_or_default())
    }

    /// The daemon's socket.
    pub fn socket(&self) -> PathBuf {
        self.path("socket")
    }

    /// The journal's file.
    pub fn journal(&self) -> PathBuf {
        self.path("journal")
    }

    /// The ticket directory.
    pub fn tickets(&self) -> PathBuf {
        self.path("tickets")
    }

    /// The published CNI configuration.
    pub fn conflist(&self) -> PathBuf {
        self.path("cniConfDir").join("10-tideway.conflist")
    }

    /// Tickets that wait.
    pub fn waiting_tickets(&self) -> Result<Vec<String>> {
        let Ok(entries) = fs::read_dir(self.tickets()) else { return Ok(Vec::new()) };
        entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
    }

    /// The kubelet; an error on a node without devices.
    pub fn kubelet(&self) -> Result<&FakeKubelet> {
        self.kubelet.as_ref().context("this node has no kubelet")
    }

    /// The runtime; an error on a node without one.
    pub fn runtime(&self) -> Result<&FakeRuntime> {
        self.runtime.as_ref().context("this node has no runtime")
    }

    /// A key of the section `pool` of the configuration, for the next start.
    pub fn set_pool(&mut self, key: &str, value: u32) {
        if let Some(pool) = self.config.get_mut("pool").and_then(Value::as_object_mut) {
            pool.insert(key.to_owned(), json!(value));
        }
    }

    fn log_file(&self) -> PathBuf {
        self.dir.path().join("daemon.log")
    }

    /// The daemon's log.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    fn command(&self) -> Result<Command> {
        let config = self.dir.path().join("tidewayd.yaml");
        fs::write(&config, self.config.to_string())?;
        let mut command = netns::command(&self.host, programs::daemon()?);
        command.arg("--config").arg(config);
        for gone in ["ALIBABA_CLOUD_ACCESS_KEY_ID", "ALIBABA_CLOUD_ACCESS_KEY_SECRET"] {
            command.env_remove(gone);
        }
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        Ok(command)
    }

    /// Starts the daemon and does not wait for it.
    pub fn spawn(&mut self) -> Result<()> {
        self.spawn_with(&[])
    }

    /// As [`Node::spawn`], with more arguments.
    pub fn spawn_with(&mut self, arguments: &[&str]) -> Result<()> {
        ensure!(self.daemon.is_none(), "the daemon of {} runs already", self.name);
        let log = OpenOptions::new().create(true).append(true).open(self.log_file())?;
        let mut command = self.command()?;
        command.args(arguments).stdout(log.try_clone()?).stderr(log);
        self.daemon = Some(command.spawn().context("tidewayd does not start")?);
        Ok(())
    }

    /// Starts the daemon and waits until it is ready.
    pub fn start(&mut self) -> Result<()> {
        self.spawn()?;
        self.wait_ready()
    }

    /// Waits until the daemon answers.
    pub fn wait_ready(&mut self) -> Result<()> {
        let socket = self.socket();
        let name = self.name.clone();
        let daemon = self.daemon.as_mut().context("the daemon was not started")?;
        until(&format!("tidewayd of {name} ready"), READY, || {
            if let Some(status) = daemon.try_wait()? {
                bail!("tidewayd of {name} ended: {status}");
            }
            Ok(match rpc::status(&socket) {
                Ok(status) if status.ready => Look::Seen(()),
                Ok(status) => Look::NotYet(status.reason),
                Err(e) => Look::NotYet(format!("{e:#}")),
            })
        })
    }

    /// Runs the daemon in the foreground until it ends by itself, as for `uninstall` or a start that must fail.
    pub fn run_to_end(&self, arguments: &[&str]) -> Result<Output> {
        let mut command = self.command()?;
        command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().context("tidewayd does not start")?;
        // Read in threads: a pipe that is full would stop the daemon.
        let (out, err) = (drain(child.stdout.take()), drain(child.stderr.take()));
        let begun = Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait()? {
                break Some(status);
            }
            if begun.elapsed() > s(60) {
                child.kill()?;
                child.wait()?;
                break None;
            }
            std::thread::sleep(Duration::from_millis(10));
        };
        let text = |thread: std::thread::JoinHandle<Vec<u8>>| thread.join().unwrap_or_default();
        let (stdout, stderr) = (text(out), text(err));
        let Some(status) = status else {
            bail!("tidewayd {arguments:?} does not end: {}", String::from_utf8_lossy(&stderr));
        };
        Ok(Output { status, stdout, stderr })
    }

    /// Asks the daemon to end, and waits.
    pub fn stop(&mut self) -> Result<Ended> {
        self.end(Signal::SIGTERM)
    }

    /// `kill -9`.
    pub fn kill(&mut self) -> Result<()> {
        self.end(Signal::SIGKILL).map(drop)
    }

    fn end(&mut self, signal: Signal) -> Result<Ended> {
        let mut daemon = self.daemon.take().context("the daemon does not run")?;
        let begun = Instant::now();
        kill(Pid::from_raw(i32::try_from(daemon.id())?), signal)?;
        let ended = until(&format!("tidewayd ended by {signal}"), s(20), || {
            Ok(daemon.try_wait()?.map_or_else(|| Look::NotYet("it runs".into()), Look::Seen))
        });
        if ended.is_err() {
            daemon.kill()?;
            daemon.wait()?;
        }
        Ok(Ended { took: begun.elapsed(), status: ended? })
    }

    /// Whether the daemon was started and has not ended.
    pub fn runs(&mut self) -> bool {
        self.daemon.as_mut().is_some_and(|daemon| matches!(daemon.try_wait(), Ok(None)))
    }

    /// Ends it in order and starts it again.
    pub fn restart(&mut self) -> Result<()> {
        let ended = self.stop()?;
        ensure!(ended.status.success(), "tidewayd ended with {}", ended.status);
        self.start()
    }

    /// The node as the daemon shows it.
    pub fn show(&self) -> Result<ShowReply> {
        rpc::show(&self.socket())
    }

    /// The daemon's figures.
    pub fn metrics(&self) -> Result<String> {
        let namespace = self.host.file_name().and_then(|name| name.to_str());
        let namespace = namespace.context("the namespace has no name")?;
        tideway_lab::fabric::netns::run_in(namespace, || -> Result<String> {
            let mut stream = TcpStream::connect(("127.0.0.1", 9841))?;
            stream
                .write_all(b"GET /metrics HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n")?;
            let mut text = String::new();
            stream.read_to_string(&mut text)?;
            Ok(text)
        })?
    }

    /// What `tideway` says of the node, on both of its outputs.
    pub fn tideway(&self, words: &[&str]) -> Result<String> {
        let mut command = netns::command(&self.host, programs::cli()?);
        command.args(words).arg("--socket").arg(self.socket());
        Ok(netns::said(&command.output()?))
    }

    /// Waits for something in [`Node::show`].
    pub fn until_shown(
        &self,
        what: &str,
        limit: Duration,
        mut holds: impl FnMut(&ShowReply) -> bool,
    ) -> Result<ShowReply> {
        until(&format!("{}: {what}", self.name), limit, || {
            let shown = self.show()?;
            Ok(if holds(&shown) { Look::Seen(shown) } else { Look::NotYet(brief(&shown)) })
        })
    }

    /// Waits until these addresses can be handed out again.
    pub fn until_free(&self, ips: &[IpAddr]) -> Result<()> {
        let is_free = |shown: &ShowReply, ip| state_of(shown, ip).as_deref() == Some("free");
        self.until_shown("the addresses are free", s(20), |shown| {
            ips.iter().all(|ip| is_free(shown, *ip))
        })
        .map(drop)
    }

    /// Lets another pod come and go: the daemon looks at runtime and kernel until its address has rested.
    pub fn pod_passes(&self, name: &str) -> Result<()> {
        let pod = Pod::new(name)?;
        let ips = self.add(&pod)?;
        self.del(&pod)?;
        self.until_free(&ips)
    }

    /// Waits until no pod is known and every ticket is gone, before the daemon's own safety net of 30 s.
    pub fn until_drained(&self) -> Result<()> {
        until(&format!("{}: tickets are drained", self.name), s(7), || {
            let (pods, tickets) = (self.show()?.pods.len(), self.waiting_tickets()?);
            let done = pods == 0 && tickets.is_empty();
            Ok(Look::of(done, || format!("{pods} pods, tickets {tickets:?}")))
        })
    }

    /// Waits until the pool holds as many free addresses as its high watermark asks for.
    pub fn warm(&self) -> Result<ShowReply> {
        self.until_shown("a warm pool", WARM, |shown| free(shown) >= shown.high)
    }

    /// What the plugin needs to know of this node.
    pub fn with_runtime<T>(&self, work: impl FnOnce(&Runtime<'_>) -> Result<T>) -> Result<T> {
        let (socket, tickets) = (self.socket(), self.tickets());
        let patience = self.config.pointer("/pool/addTimeoutSeconds").and_then(Value::as_u64);
        let patience = u32::try_from(patience.unwrap_or(60))?;
        work(&Runtime { host: &self.host, socket: &socket, tickets: &tickets, patience })
    }

    /// Runs the plugin.
    pub fn cni(&self, verb: &str, pod: &Pod, call: &Call) -> Result<Answer> {
        self.created(verb, pod);
        self.with_runtime(|runtime| runtime.run(verb, pod, call))
    }

    /// Starts the plugin without waiting for it; see [`cni::ended`].
    pub fn cni_spawn(&self, verb: &str, pod: &Pod) -> Result<Child> {
        self.created(verb, pod);
        self.with_runtime(|runtime| runtime.spawn(verb, pod, &Call::default()))
    }

    /// A sandbox exists from before its ADD.
    fn created(&self, verb: &str, pod: &Pod) {
        if let Some(runtime) = self.runtime.as_ref().filter(|_| verb == "ADD") {
            runtime.created(pod);
        }
    }

    /// ADD that must succeed; its addresses.
    pub fn add(&self, pod: &Pod) -> Result<Vec<IpAddr>> {
        let answer = self.cni("ADD", pod, &Call::default())?;
        answer.ips().with_context(|| format!("ADD of {}", pod.name))
    }

    /// ADD as a runtime repeats it: until it works; every failure must say "try again" (code 11).
    pub fn add_patiently(&self, pod: &Pod, limit: Duration) -> Result<Vec<IpAddr>> {
        until(&format!("ADD of {} works", pod.name), limit, || {
            let answer = self.cni("ADD", pod, &Call::default())?;
            Ok(if answer.fine {
                Look::Seen(answer.ips()?)
            } else {
                Look::NotYet(answer.fails_with(11)?)
            })
        })
    }

    /// ADD as a runtime repeats it, until its refusal ("try again") holds all of `words`; answers the refusal. What a node that
    /// has just started knows when the first ADD's time is over depends on the machine.
    pub fn add_is_told(&self, pod: &Pod, words: &[&str]) -> Result<String> {
        until(&format!("ADD of {} is told {words:?}", pod.name), s(20), || {
            let text = self.cni("ADD", pod, &Call::default())?.fails_with(11)?;
            let told = words.iter().all(|word| text.contains(word));
            Ok(if told { Look::Seen(text) } else { Look::NotYet(text) })
        })
    }

    /// ADDs at once; the answers in the order of the pods.
    pub fn add_all(&self, pods: &[Pod]) -> Result<Vec<Answer>> {
        let running: Vec<_> =
            pods.iter().map(|pod| self.cni_spawn("ADD", pod)).collect::<Result<_>>()?;
        running.into_iter().map(cni::ended).collect()
    }

    /// DEL that must succeed.
    pub fn del(&self, pod: &Pod) -> Result<()> {
        let answer = self.cni("DEL", pod, &Call::default())?;
        answer.success().with_context(|| format!("DEL of {}", pod.name)).map(drop)
    }

    /// CHECK that must succeed, with what ADD answered.
    pub fn check(&self, pod: &Pod, added: &Value) -> Result<()> {
        let conf = Some(json!({ "prevResult": added }));
        let answer = self.cni("CHECK", pod, &Call { conf, ..Call::default() })?;
        answer.success().with_context(|| format!("CHECK of {}", pod.name)).map(drop)
    }

    /// A file for the node's directory.
    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if self.daemon.is_some() {
            drop(self.kill());
        }
    }
}

fn drain(pipe: Option<impl Read + Send + 'static>) -> std::thread::JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            // What was read until an error is still worth showing.
            drop(pipe.read_to_end(&mut bytes));
        }
        bytes
    })
}

/// Pods that could get an address now: free IPv4 addresses (IPv6 where there are none) of shared ENIs that are ready.
pub fn free(shown: &ShowReply) -> u32 {
    let ready = shown.enis.iter().filter(|e| e.r#use == "shared" && e.state == "Ready");
    let units = ready.map(|eni| {
        let free = |v6: bool| {
            let of = eni.addresses.iter().filter(|a| a.ip.contains(':') == v6);
            (of.clone().count(), of.filter(|a| a.state == "free").count())
        };
        let ((some4, free4), (some6, free6)) = (free(false), free(true));
        match (some4, some6) {
            (_, 0) => free4,
            (0, _) => free6,
            _ => free4.min(free6),
        }
    });
    u32::try_from(units.sum::<usize>()).unwrap_or(u32::MAX)
}

/// State of an address, by the daemon's word.
pub fn state_of(shown: &ShowReply, ip: IpAddr) -> Option<String> {
    let mut all = shown.enis.iter().flat_map(|eni| &eni.addresses);
    all.find(|a| a.ip == ip.to_string()).map(|a| a.state.clone())
}

/// The node in one line, for messages.
pub fn brief(shown: &ShowReply) -> String {
    let enis = shown.enis.iter().map(|eni| {
        let addresses = eni.addresses.iter().map(|a| format!("{} {} {}", a.ip, a.state, a.pod));
        let addresses: Vec<_> = addresses.collect();
        format!("{} {} {} [{}]", eni.id, eni.r#use, eni.state, addresses.join(", "))
    });
    let waiting = shown.waiting.iter().map(|w| w.cause.clone());
    let errors = shown.cloud_errors.iter().map(|e| format!("{} {}", e.action, e.code));
    format!(
        "enis: {:?}; pods: {}; waiting: {:?}; errors: {:?}; sources: {:?}; pending links: {}",
        enis.collect::<Vec<_>>(),
        shown.pods.len(),
        waiting.collect::<Vec<_>>(),
        errors.collect::<Vec<_>>(),
        shown.source_errors,
        shown.pending_links,
    )
}

/// Writes a file of the test, truncating what was there.
pub fn overwrite(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut file = File::create(path).with_context(|| path.display().to_string())?;
    Ok(file.write_all(bytes)?)
}
