//! A lab per test, removed also when the test fails, and probes that ask the network.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tideway_lab::fabric::{
    EniNet, Fabric as _, FabricEvent, InstanceNet, KernelFabric, cleanup, netns,
};

/// How long the network may take for what must happen.
const PATIENCE: Duration = Duration::from_mins(1);
/// How long a probe waits for an answer that must not come (or may come at the next try).
const PROBE: Duration = Duration::from_millis(300);

/// A running fabric; everything of it is removed at the end of the test.
pub(crate) struct Lab {
    pub(crate) id: String,
    pub(crate) fabric: Option<KernelFabric>,
    pods: Vec<String>,
}

impl Lab {
    /// A fresh lab, or `None` (and a line in the list of skips) where namespaces are not to be had.
    pub(crate) fn start(test: &str) -> Option<Self> {
        if !nix::unistd::geteuid().is_root() {
            skip(test, "needs root for network namespaces");
            return None;
        }
        if Command::new("ping").arg("-V").output().is_err() {
            skip(test, "needs ping (apt-get install iputils-ping)");
            return None;
        }
        let id = fresh_id();
        let mut lab = Self { id: id.clone(), fabric: None, pods: Vec::new() };
        lab.fabric = Some(KernelFabric::start(&id, complain).expect("the fabric starts"));
        Some(lab)
    }

    pub(crate) fn fabric(&self) -> &KernelFabric {
        self.fabric.as_ref().expect("the fabric runs")
    }

    pub(crate) fn namespace(&self, instance: &str) -> String {
        format!("{}-{instance}", self.id)
    }

    /// An instance with its primary ENI.
    pub(crate) fn instance(&self, name: &str, primary: &EniNet) {
        let instance = InstanceNet { name: name.to_owned(), sysctls: BTreeMap::new() };
        self.fabric().create_instance(&instance).expect("the instance is made");
        self.fabric().attach(primary, name).expect("the primary ENI is plugged");
    }

    /// A namespace of a pod, outside of the lab's own.
    pub(crate) fn pod(&mut self, name: &str) -> String {
        let namespace = format!("{}pod-{name}", self.id);
        netns::create(&namespace).expect("the pod's namespace is made");
        self.pods.push(namespace.clone());
        namespace
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        drop(self.fabric.take());
        let pods = self.pods.iter().map(|pod| netns::delete(pod));
        let removed: Vec<_> = pods.filter_map(Result::err).collect();
        let cleaned = cleanup(&self.id);
        if !std::thread::panicking() {
            cleaned.expect("the lab is removed");
            assert!(removed.is_empty(), "{removed:?}");
        }
    }
}

/// Ids that no other test uses, in this process or in one beside it.
pub(crate) fn fresh_id() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let digit = |number: u32| char::from_digit(number % 36, 36).expect("below 36");
    let (pid, count) = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    assert!(count < 36, "more labs than ids");
    [digit(pid / 1296), digit(pid / 36), digit(pid), digit(count)].iter().collect()
}

/// Number `index` in subnet `subnet`: addresses `10.0.subnet.index` and `fd00:10:0:subnet::index`.
pub(crate) fn eni(index: u8, subnet: u8, primary: bool) -> EniNet {
    EniNet {
        id: format!("eni-{index}"),
        mac: [0x00, 0x16, 0x3e, 0, 0, index],
        index: index.into(),
        primary,
        addresses: vec![v4(subnet, index), v6(subnet, index)],
        blocks: Vec::new(),
        subnet_v4: Some(format!("10.0.{subnet}.0/24").parse().expect("a block")),
        subnet_v6: Some(format!("fd00:10:0:{subnet}::/64").parse().expect("a block")),
        gateway_v4: Some(Ipv4Addr::new(10, 0, subnet, 253)),
        gateway_v6: Some(Ipv6Addr::new(0xfd00, 0x10, 0, subnet.into(), 0, 0, 0, 0xfffd)),
    }
}

pub(crate) fn v4(subnet: u8, host: u8) -> IpAddr {
    Ipv4Addr::new(10, 0, subnet, host).into()
}

pub(crate) fn v6(subnet: u8, host: u8) -> IpAddr {
    Ipv6Addr::new(0xfd00, 0x10, 0, subnet.into(), 0, 0, 0, host.into()).into()
}

/// Configures a secondary ENI in `namespace` as a node agent does: addresses, and a table of its own by source.
pub(crate) fn policy_routing(namespace: &str, link: &str, eni: &EniNet) {
    let table = 1000 + eni.index;
    ip(namespace, &format!("link set {link} up"));
    for address in &eni.addresses {
        let (length, gateway): (u8, IpAddr) = match address {
            IpAddr::V4(_) => (32, eni.gateway_v4.expect("a gateway").into()),
            IpAddr::V6(_) => (128, eni.gateway_v6.expect("a gateway").into()),
        };
        let family = if address.is_ipv4() { "-4" } else { "-6" };
        let nodad = if address.is_ipv4() { "" } else { "nodad" };
        ip(namespace, &format!("address add {address}/{length} dev {link} {nodad}"));
        ip(namespace, &format!("{family} rule add from {address} lookup {table}"));
        ip(
            namespace,
            &format!(
                "{family} route replace default via {gateway} dev {link} onlink table {table}"
            ),
        );
    }
}

/// Runs `ip` in a namespace; it must succeed.
pub(crate) fn ip(namespace: &str, arguments: &str) -> String {
    let mut command = Command::new("ip");
    command.args(["-n", namespace]).args(arguments.split_whitespace());
    let output = command.output().expect("ip runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip -n {namespace} {arguments}: {said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// One ping, by default from the address that the namespace chooses.
pub(crate) fn ping(namespace: &str, from: Option<IpAddr>, to: IpAddr) -> bool {
    let mut command = Command::new("ping");
    command.args(["-n", "-q", "-c", "1", "-W", "0.3"]);
    if let Some(from) = from {
        command.args(["-I", &from.to_string()]);
    }
    command.arg(to.to_string());
    netns::exec_in(namespace, &mut command).expect("ping runs").status.success()
}

/// The ping must come back, at the latest after [`PATIENCE`].
pub(crate) fn reaches(namespace: &str, from: Option<IpAddr>, to: IpAddr) {
    eventually(&format!("{namespace} ({from:?}) reaches {to}"), || ping(namespace, from, to));
}

/// A TCP connection out of a namespace.
pub(crate) fn connect(namespace: &str, to: SocketAddr) -> Option<TcpStream> {
    netns::run_in(namespace, || TcpStream::connect_timeout(&to, PROBE).ok()).expect("enters")
}

/// Waits for a condition; fails with `what` when it does not come true.
pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < end, "did not come true: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Names of the links in a namespace with this ENI's MAC.
pub(crate) fn links_of(namespace: &str, eni: &EniNet) -> Vec<String> {
    let mac = eni.mac_text();
    ip(namespace, "-o link show")
        .lines()
        .filter(|line| line.contains(&mac))
        .filter_map(|line| Some(line.split(": ").nth(1)?.split('@').next()?.to_owned()))
        .collect()
}

fn complain(event: FabricEvent) {
    if let FabricEvent::RestoreFailed(error) = event {
        eprintln!("watch: {error}");
    }
}

fn skip(test: &str, reason: &str) {
    let line = format!("SKIPPED: {test}: {reason}");
    eprintln!("{line}");
    if let Some(file) = std::env::var_os("TIDEWAY_SKIPS") {
        let mut list =
            std::fs::OpenOptions::new().append(true).create(true).open(file).expect("opens");
        writeln!(list, "{line}").expect("the skip is recorded");
    }
}
