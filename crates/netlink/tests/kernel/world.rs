//! A VPC that moves packets: the namespace `vpc` routes between ports, each port is the far end of an ENI. It delivers by its
//! own table (host routes and permanent neighbours), drops what a port may not send, and starts its nodes hostile.

use std::{
    io::{Read, Write},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::atomic::{AtomicU32, Ordering},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use ipnet::IpNet;
use tideway_model::{
    Attachment, AttachmentKey, Bandwidth, ContainerId, EniId, ExclusiveEni, IfName, Mac, Mode,
    PodAddresses, PodKey, PodRef, SlotId, SubnetId, SubnetPlan,
};
use tideway_netlink::{Datapath, DatapathError, DatapathSettings, SharedEniNet, netns::Namespace};
use tideway_testkit::{requires_root, skip};

pub const GATEWAY: [&str; 2] = ["10.0.0.253", "fd00:10::fd"];
/// An address in the VPC that everybody can call.
pub const SERVICE: [&str; 2] = ["100.100.100.200", "fd00:100::200"];

static NEXT: AtomicU32 = AtomicU32::new(0);

/// Says why a test cannot run here; `true` when it must return.
pub fn skipped(test: &str) -> bool {
    if !requires_root(test) {
        return true;
    }
    let missing = ["ip", "nft", "ping", "nsenter", "tc"]
        .into_iter()
        .find(|tool| Command::new("which").arg(tool).output().is_ok_and(|o| !o.status.success()));
    if let Some(tool) = missing {
        skip(test, &format!("needs the program {tool}"));
    }
    missing.is_some()
}

pub fn run(program: &str, args: &[&str]) -> Output {
    Command::new(program).args(args).output().unwrap_or_else(|e| panic!("{program}: {e}"))
}

/// Runs a command line and demands success.
pub fn sh(line: &str) -> String {
    let words: Vec<&str> = line.split_whitespace().collect();
    let out = run(words[0], &words[1..]);
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(out.status.success(), "{line}: {text}{}", String::from_utf8_lossy(&out.stderr));
    text
}

/// Waits for a condition; the message says what never came true. The deadline is for a machine that is busy with others.
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_mins(1), "never came true: {what}");
        std::thread::sleep(PAUSE);
    }
}

/// Asks until an address is quiet: the datapath gives up after a while, so that its caller can do other things.
pub async fn quiet(datapath: &Datapath, ip: &str) {
    let start = Instant::now();
    loop {
        match datapath.quiesce(&[ip.parse().unwrap()]).await {
            Ok(()) => return,
            Err(error @ DatapathError::NotQuiet { .. }) => {
                assert!(start.elapsed() < Duration::from_mins(1), "{error}");
            }
            Err(error) => panic!("{error}"),
        }
    }
}

/// Between two looks: without it the waiting of one test starves the others.
const PAUSE: Duration = Duration::from_millis(5);

/// One VPC with all its namespaces; they go when it is dropped.
pub struct World {
    prefix: String,
    names: std::cell::RefCell<Vec<String>>,
}

impl Drop for World {
    fn drop(&mut self) {
        for name in self.names.borrow().iter() {
            run("ip", &["netns", "del", name]);
        }
    }
}

impl World {
    pub fn new() -> Self {
        let prefix = format!("twt{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let world = Self { prefix, names: std::cell::RefCell::default() };
        world.namespace("vpc");
        let vpc = world.name("vpc");
        for key in [
            "net.ipv4.ip_forward=1",
            "net.ipv6.conf.all.forwarding=1",
            "net.ipv4.conf.all.rp_filter=0",
        ] {
            world.exec("vpc", &["sysctl", "-qw", key]);
        }
        for ip in SERVICE {
            sh(&format!("ip -n {vpc} addr add {ip} dev lo"));
        }
        world.nft(
            "vpc",
            "table inet vpc { chain pre { type filter hook prerouting priority raw; policy accept;
            meta nfproto ipv4 fib saddr . iif oif missing drop
            meta nfproto ipv6 ip6 saddr fd00::/8 fib saddr . iif oif missing drop;
            }
            }",
        );
        world
    }

    pub fn name(&self, short: &str) -> String {
        format!("{}-{short}", self.prefix)
    }

    pub fn path(&self, short: &str) -> PathBuf {
        Path::new("/run/netns").join(self.name(short))
    }

    /// Makes a namespace with loopback up.
    pub fn namespace(&self, short: &str) {
        let name = self.name(short);
        sh(&format!("ip netns add {name}"));
        self.names.borrow_mut().push(name.clone());
        sh(&format!("ip -n {name} link set lo up"));
    }

    pub fn delete(&self, short: &str) {
        sh(&format!("ip netns del {}", self.name(short)));
    }

    /// `ip -n NAMESPACE …`.
    pub fn ip(&self, short: &str, rest: &str) -> String {
        sh(&format!("ip -n {} {rest}", self.name(short)))
    }

    /// The links of a namespace: name, MAC, and whether somebody set it up. Carrier and operational state are left out: the
    /// kernel's workers make them follow some time after the event.
    pub fn links(&self, short: &str) -> Vec<String> {
        let shown = self.ip(short, "-br link show");
        let link = |line: &str| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let up = words[3].trim_matches(['<', '>']).split(',').any(|flag| flag == "UP");
            format!("{} {} {}", words[0], words[2], if up { "up" } else { "down" })
        };
        shown.lines().map(link).collect()
    }

    pub fn try_exec(&self, short: &str, args: &[&str]) -> Output {
        let net = format!("--net={}", self.path(short).display());
        let mut all = vec![net.as_str()];
        all.extend_from_slice(args);
        run("nsenter", &all)
    }

    pub fn exec(&self, short: &str, args: &[&str]) -> String {
        let out = self.try_exec(short, args);
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        assert!(
            out.status.success(),
            "{short}: {args:?}: {text}{}",
            String::from_utf8_lossy(&out.stderr)
        );
        text
    }

    pub fn nft(&self, short: &str, script: &str) {
        self.exec(short, &["nft", script]);
    }

    /// A node with a primary ENI, as a distribution would leave it: strict-ish filters, no forwarding.
    pub fn node(&self, short: &str, number: u8, ips: &[&str]) -> Mac {
        self.namespace(short);
        for key in [
            "net.ipv4.ip_forward=0",
            "net.ipv6.conf.all.forwarding=0",
            "net.ipv4.conf.all.rp_filter=2",
            "net.ipv4.conf.default.rp_filter=2",
        ] {
            self.exec(short, &["sysctl", "-qw", key]);
        }
        let mac = self.eni(short, "eth0", number, ips);
        for (ip, gateway) in ips.iter().zip(GATEWAY) {
            let nodad = if ip.contains(':') { " nodad" } else { "" };
            self.ip(
                short,
                &format!(
                    "addr add {ip}/{} dev eth0{nodad}",
                    if ip.contains(':') { 128 } else { 24 }
                ),
            );
            if ip.contains(':') {
                self.ip(short, &format!("-6 route add {gateway} dev eth0"));
            }
            self.ip(short, &format!("route add default via {gateway} dev eth0"));
        }
        // Carrier comes by a kernel worker, and the link-local address with its route after it: a host that was not awaited
        // still changes under the test.
        eventually("the primary ENI is up", || {
            self.ip(short, "-6 addr show dev eth0 scope link").contains("fe80:")
        });
        mac
    }

    /// Attaches an ENI with addresses; bare, as hardware comes; up only for the primary.
    pub fn eni(&self, node: &str, ifname: &str, number: u8, ips: &[&str]) -> Mac {
        let mac = Mac([0x00, 0x16, 0x3e, 0, 0, number]);
        let (port, vpc) = (format!("p{number}"), self.name("vpc"));
        self.ip(
            "vpc",
            &format!("link add {port} type veth peer name {ifname} netns {}", self.name(node)),
        );
        self.ip(node, &format!("link set {ifname} address {mac}"));
        if ifname == "eth0" {
            self.ip(node, "link set eth0 up");
        }
        self.ip("vpc", &format!("link set {port} up"));
        sh(&format!("ip -n {vpc} addr add {}/32 dev {port}", GATEWAY[0]));
        sh(&format!("ip -n {vpc} addr add {}/128 dev {port} nodad", GATEWAY[1]));
        let keys = [
            format!("net.ipv4.conf.{port}.rp_filter=0"),
            format!("net.ipv4.conf.{port}.proxy_arp=1"),
        ];
        for key in keys {
            self.exec("vpc", &["sysctl", "-qw", &key]);
        }
        for ip in ips {
            self.assign(number, ip);
        }
        mac
    }

    /// The cloud gives an address to an ENI.
    pub fn assign(&self, number: u8, ip: &str) {
        let (port, mac) = (format!("p{number}"), Mac([0x00, 0x16, 0x3e, 0, 0, number]));
        self.ip("vpc", &format!("route replace {ip} dev {port}"));
        self.ip("vpc", &format!("neigh replace {ip} lladdr {mac} dev {port} nud permanent"));
    }

    /// The datapath of a node, its base laid. Nothing works in the background until the test calls `start`: what the test
    /// breaks or counts stays as it is, however slow the machine.
    pub async fn datapath(&self, node: &str, primary: Mac) -> Datapath {
        self.datapath_with(node, primary, true).await
    }

    pub async fn datapath_with(
        &self,
        node: &str,
        primary_mac: Mac,
        external_snat: bool,
    ) -> Datapath {
        let settings = DatapathSettings {
            service_cidrs: vec![
                "172.21.0.0/20".parse().unwrap(),
                "fd00:172::/112".parse().unwrap(),
            ],
            host_stack_cidrs: vec![],
            vpc_blocks: vec!["10.0.0.0/16".parse().unwrap(), "fd00:10::/56".parse().unwrap()],
            external_snat,
            primary_mac,
        };
        let ns = Namespace::open(&self.path(node)).unwrap();
        let datapath = Datapath::in_namespace(settings, ns).unwrap();
        datapath.base().await.unwrap();
        datapath
    }

    /// Whether one echo request is answered, from a namespace to an address.
    pub fn pings(&self, from: &str, to: &str) -> bool {
        self.try_exec(from, &["ping", "-c1", "-W1", to]).status.success()
    }

    pub fn must_ping(&self, from: &str, to: &str) {
        eventually(&format!("ping {from} -> {to}"), || self.pings(from, to));
    }

    /// Serves TCP in a namespace: answers every caller with the caller's own address. Ends with the last handle.
    pub fn serve(&self, short: &str, address: SocketAddr) -> Server {
        let ns = Namespace::open(&self.path(short)).unwrap();
        let listener = ns
            .within(|| TcpListener::bind(address))
            .unwrap()
            .unwrap_or_else(|e| panic!("{address}: {e}"));
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        listener.set_nonblocking(true).unwrap();
        let thread = std::thread::spawn(move || {
            while let Err(std::sync::mpsc::TryRecvError::Empty) = stopped.try_recv() {
                match listener.accept() {
                    Ok((mut stream, peer)) => {
                        drop(stream.write_all(peer.ip().to_canonical().to_string().as_bytes()));
                    }
                    Err(_) => std::thread::sleep(PAUSE),
                }
            }
        });
        Server { stop: Some(stop), thread: Some(thread) }
    }

    /// Calls a server; gives back the address that it saw.
    pub fn call(&self, short: &str, address: SocketAddr) -> Option<IpAddr> {
        let ns = Namespace::open(&self.path(short)).unwrap();
        let called = ns.within(|| TcpStream::connect_timeout(&address, Duration::from_secs(2)));
        let mut stream = called.unwrap().ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        text.parse().ok()
    }

    /// Calls until it is answered.
    pub fn must_call(&self, short: &str, address: SocketAddr) -> IpAddr {
        let mut seen = None;
        eventually(&format!("call {short} -> {address}"), || {
            seen = self.call(short, address);
            seen.is_some()
        });
        seen.unwrap()
    }

    /// A shared pod in its own new namespace.
    pub fn shared_pod(&self, short: &str, ips: &[&str]) -> Attachment {
        self.namespace(short);
        self.attachment(short, Mode::Veth, Mac([0x00, 0x16, 0x3e, 0, 0, 2]), ips)
    }

    /// An exclusive pod in its own new namespace.
    pub fn exclusive_pod(&self, short: &str, mac: Mac, ips: &[&str]) -> Attachment {
        self.namespace(short);
        self.attachment(short, Mode::Exclusive, mac, ips)
    }

    pub fn attachment(&self, short: &str, mode: Mode, eni_mac: Mac, ips: &[&str]) -> Attachment {
        let exclusive = (mode == Mode::Exclusive).then(|| ExclusiveEni {
            slot: SlotId(0),
            blocks: vec!["10.0.0.0/24".parse().unwrap(), "fd00:10::/64".parse().unwrap()],
            gateways: GATEWAY.iter().map(|g| g.parse().unwrap()).collect(),
        });
        Attachment {
            key: AttachmentKey {
                container: ContainerId::try_from(self.name(short)).unwrap(),
                ifname: IfName::try_from("eth0").unwrap(),
            },
            pod: PodRef { key: PodKey::new("default", short).unwrap(), uid: None },
            netns: self.path(short).display().to_string(),
            mode,
            eni: EniId::try_from("eni-1").unwrap(),
            eni_mac,
            addresses: PodAddresses::from_ips(ips.iter().map(|ip| ip.parse().unwrap())),
            mtu: 1500,
            bandwidth: Bandwidth::default(),
            exclusive,
        }
    }
}

/// The shared ENI of tests: number 2, slot 1.
pub fn shared_eni(mac: Mac, ips: &[&str]) -> SharedEniNet {
    SharedEniNet {
        id: EniId::try_from("eni-shared").unwrap(),
        mac,
        table_slot: 1,
        subnet: SubnetPlan {
            id: SubnetId::try_from("vsw-1").unwrap(),
            ipv4: Some("10.0.0.0/24".parse::<IpNet>().unwrap()),
            ipv6: Some("fd00:10::/64".parse().unwrap()),
            gateway_v4: Some(GATEWAY[0].parse().unwrap()),
            gateway_v6: Some(GATEWAY[1].parse().unwrap()),
        },
        addresses: ips.iter().map(|ip| ip.parse().unwrap()).collect(),
    }
}

pub struct Server {
    stop: Option<std::sync::mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}
