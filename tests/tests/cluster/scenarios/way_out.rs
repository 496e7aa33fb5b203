//! The way out of the VPC: who translates what leaves it, and what is never translated.

use std::net::IpAddr;

use anyhow::{Result, ensure};
use tideway_e2e::{cluster::Node, command, demo::daemons::NODE_PORT};

use crate::{
    bed::Bed,
    calls::{Call, From},
    pods::Live,
};

/// Hosts beyond the VPC: documentation addresses that the lab's router serves.
const OUTSIDE: [&str; 2] = ["203.0.113.1", "2001:db8::1"];
/// Port of the probe there.
const PORT: u16 = 8090;
/// Its name in the roster.
const PROBE: &str = "outside-probe";

pub(crate) fn external_snat_decides_whose_address_the_world_sees(bed: &Bed) -> Result<()> {
    let [cloud, node] = bed.nodes();
    let mut probe = command::in_netns(&bed.cluster.lab().vpc_namespace, &bed.binaries.probe);
    bed.cluster.roster().start(PROBE, probe.args(["serve", &PORT.to_string()]))?;
    bed.stop_daemon(&node)?;
    bed.start_daemon_with(&node, "\npod:\n", "\npod:\n  externalSnat: false\n")?;
    bed.show(&node)?;
    let outcome = is_seen(bed, &cloud, &node);
    // Whatever came of it, the next scenario has the usual configuration.
    bed.stop_daemon(&node)?;
    bed.start_daemon(&node, "")?;
    bed.cluster.roster().kill(PROBE)?;
    outcome
}

/// `cloud` leaves translation to the VPC, `node` does it.
fn is_seen(bed: &Bed, cloud: &Node<'_>, node: &Node<'_>) -> Result<()> {
    let pods = [
        ("cloud-shared", cloud, false),
        ("cloud-own", cloud, true),
        ("node-shared", node, false),
        ("node-own", node, true),
    ];
    let live = bed.create_live(&pods)?;
    let port: u16 = NODE_PORT.parse()?;
    for ((name, here, _), pod) in pods.iter().zip(&live) {
        let translated = here.name() == node.name();
        let there = if translated { cloud } else { node };
        let (here, there) = (here.instance()?, there.instance()?);
        let calls = [
            Call::tcp(OUTSIDE[0].parse()?, PORT),
            Call::tcp(OUTSIDE[1].parse()?, PORT),
            Call::tcp(there.ipv4.into(), port),
            Call::tcp(there.ipv6.into(), port),
        ];
        let seen: Vec<IpAddr> =
            bed.answers(From::Pod(name), &calls)?.into_iter().map(|r| r.client).collect();
        let [v4, v6] = own(pod);
        let world = if translated { [here.ipv4.into(), here.ipv6.into()] } else { [v4, v6] };
        let wanted = [world[0], world[1], v4, v6];
        ensure!(seen == wanted, "{name} is seen as {seen:?}, not as {wanted:?}");
    }
    Ok(())
}

/// A pod's addresses, IPv4 first.
fn own(pod: &Live) -> [IpAddr; 2] {
    let mut ips = pod.ips.clone();
    ips.sort();
    [ips[0], ips[1]]
}
