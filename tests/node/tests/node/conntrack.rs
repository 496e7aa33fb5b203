//! Flows that outlive the pod to which they went.

use std::{
    io::ErrorKind,
    net::{IpAddr, UdpSocket},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use tideway_lab::CloudKind;
use tideway_node_tests::{
    Node, Pod, Setup, cni, netns, node,
    wait::{Look, s, until},
};

use crate::run::run;

/// An address of no pod, as a Service has one.
const SERVICE: &str = "10.96.0.10";
const PORT: u16 = 7000;

/// Listens in a pod, which may get its address later.
fn listen(pod: &Pod) -> Result<UdpSocket> {
    let socket = pod.inside(|| UdpSocket::bind(("0.0.0.0", PORT)))??;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Packets that have come since the last time.
fn heard(socket: &UdpSocket) -> Result<usize> {
    let mut count = 0;
    loop {
        match socket.recv(&mut [0; 16]) {
            Ok(_) => count += 1,
            Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(count),
            Err(e) => return Err(e.into()),
        }
    }
}

/// A client that has one port and does not stop.
struct Client {
    socket: UdpSocket,
    sent: AtomicU64,
    enough: AtomicBool,
}

impl Client {
    fn of(pod: &Pod) -> Result<Self> {
        let socket = pod.inside(|| UdpSocket::bind(("0.0.0.0", 0)))??;
        socket.set_read_timeout(Some(Duration::from_millis(5)))?;
        Ok(Self { socket, sent: AtomicU64::new(0), enough: AtomicBool::new(false) })
    }

    fn send(&self) {
        while !self.enough.load(Ordering::Relaxed) {
            // Errors that come back are those of earlier packets.
            drop(self.socket.send_to(b"?", (SERVICE, PORT)));
            self.sent.fetch_add(1, Ordering::Relaxed);
            // Nobody answers: the timeout is the client's pace.
            drop(self.socket.recv(&mut [0; 16]));
        }
    }

    /// Waits until it has sent so many more.
    fn sends(&self, more: u64) -> Result<()> {
        let enough = self.sent.load(Ordering::Relaxed).saturating_add(more);
        until("the client sends", s(5), || {
            let sent = self.sent.load(Ordering::Relaxed);
            Ok(Look::of(sent >= enough, || format!("{sent} of {enough}")))
        })
    }
}

/// The conntrack entry that leads the client's packets to this address.
fn flow(here: &Node, ip: IpAddr) -> Result<Option<String>> {
    let list = netns::run(&here.host, "conntrack", ["-L", "-p", "udp", "-d", SERVICE, "-o", "id"])?;
    let answers = format!(" src={ip} ");
    let entry = list.lines().find(|line| line.contains(&answers));
    Ok(entry.and_then(|line| line.split("id=").nth(1)).map(str::to_owned))
}

/// Client and both backends are on one node; the rule of the Service outlives the first backend, and its flow outlives the
/// rule.
#[test]
fn a_flow_to_a_pod_that_has_ended_does_not_reach_the_next_owner_of_its_address() {
    // Two addresses: one is the client's, the other must go on to the next pod.
    let setup = Setup::default().pool("low", 1).pool("high", 2);
    // Two for pods; on AWS the primary address of an ENI is none of them.
    let addresses = if setup.cloud == CloudKind::Aws { 3 } else { 2 };
    let setup = setup.sized(2, addresses);
    run(setup.pool("cooldownSeconds", 6), |bed| {
        let here = bed.node(0)?;
        let (caller, backend) = (Pod::new("client")?, Pod::new("backend")?);
        here.add(&caller)?;
        let ip = *here.add(&backend)?.first().context("no address")?;
        let service = format!(
            "add table ip judge; add chain ip judge services {{ type nat hook prerouting priority dstnat; }}; \
             add rule ip judge services ip daddr {SERVICE} udp dport {PORT} dnat to {ip}"
        );
        netns::run(&here.host, "nft", [&service])?;
        let client = Client::of(&caller)?;
        thread::scope(|scope| {
            scope.spawn(|| client.send());
            let outcome = the_address_moves(here, &client, backend, ip);
            client.enough.store(true, Ordering::Relaxed);
            outcome
        })?;
        here.del(&caller)
    });
}

fn the_address_moves(here: &Node, client: &Client, mut backend: Pod, ip: IpAddr) -> Result<()> {
    let old = listen(&backend)?;
    until("the backend hears the client", s(5), || {
        Ok(Look::of(heard(&old)? > 0, || "nothing".to_owned()))
    })?;
    let first = flow(here, ip)?.context("no flow to the backend")?;
    // An open socket keeps the namespace alive.
    drop(old);
    here.del(&backend)?;
    backend.destroy_namespace();
    let next = Pod::new("next")?;
    let new = listen(&next)?;
    let add = here.cni_spawn("ADD", &next)?;
    until("the client makes a flow anew after the first flush", s(3), || {
        Ok(match flow(here, ip)? {
            Some(id) if id != first => Look::Seen(()),
            other => Look::NotYet(format!("{other:?}, before {first}")),
        })
    })?;
    // The proxy hears of the end. It takes its rule away and leaves the flow, as one that is killed meanwhile.
    netns::run(&here.host, "nft", ["delete", "table", "ip", "judge"])?;
    client.sends(10)?;
    let (state, left) = (node::state_of(&here.show()?, ip), flow(here, ip)?);
    ensure!(state.as_deref() == Some("cooling") && left.is_some(), "too late: {state:?}, {left:?}");
    let ips = cni::ended(add)?.ips()?;
    ensure!(ips == [ip], "the next pod has {ips:?} and not {ip}");
    client.sends(200)?;
    let strange = heard(&new)?;
    ensure!(strange == 0, "{strange} packets for the pod that has ended reached the next one");
    let left = flow(here, ip)?;
    ensure!(left.is_none(), "the flow {left:?} is still there");
    here.del(&next)
}
