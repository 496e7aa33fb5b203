//! `kill -9` between the commit that ends an exclusive pod and the move of its ENI out of the namespace.

use std::{net::IpAddr, process::Child};

use anyhow::{Context as _, Result, ensure};
use tideway_node_tests::{
    Node, Pod, Setup, cni, netns,
    wait::{Look, s, until},
};
use tideway_testkit::Netns;

use crate::{
    exclusive::{comes_to, exclusive, has, move_link},
    run::run,
};

/// The DEL of an exclusive pod that is committed and cannot go on: the name that the ENI would have on the host is taken.
struct Stuck {
    pod: Pod,
    ips: Vec<IpAddr>,
    mac: String,
    del: Child,
}

impl Stuck {
    fn of(here: &Node) -> Result<Self> {
        let pod = Pod::new("own")?;
        let (ips, mac) = exclusive(here, &pod)?;
        let parked = parked(&mac);
        netns::run(
            &here.host,
            "ip",
            ["link", "add", &parked, "type", "veth", "peer", "name", "other-end"],
        )?;
        let del = here.cni_spawn("DEL", &pod)?;
        until("the ENI cannot leave", s(5), || {
            let refused = here.log().contains("could not be withdrawn");
            Ok(Look::of(refused, || "the log does not say so".into()))
        })?;
        ensure!(has(pod.path(), &mac)?, "it left all the same");
        Ok(Self { pod, ips, mac, del })
    }

    /// The daemon dies, and the name is free again. The DEL leaves a ticket.
    fn killed(self, here: &mut Node) -> Result<(Pod, Vec<IpAddr>, String)> {
        here.kill()?;
        netns::run(&here.host, "ip", ["link", "del", &parked(&self.mac)])?;
        cni::ended(self.del)?.success()?;
        Ok((self.pod, self.ips, self.mac))
    }
}

/// The name that an ENI has on the host while no pod has it.
fn parked(mac: &str) -> String {
    format!("twe{}", mac.replace(':', ""))
}

#[test]
fn killed_before_the_eni_leaves_the_namespace_the_next_run_takes_it_out() {
    run(Setup::default().devices(), |bed| {
        let target = bed.target()?;
        let here = bed.node_mut(0)?;
        let (pod, ips, mac) = Stuck::of(here)?.killed(here)?;
        here.start()?;
        // The namespace lives, and no DEL tells its path to the new run.
        comes_to(&here.host, &mac)?;
        ensure!(!has(pod.path(), &mac)?);
        here.del(&pod)?;
        here.until_drained()?;
        let next = pod.again()?;
        ensure!(here.add(&next)? == ips, "another address");
        next.reaches(target)?;
        // What has ended is not ended again.
        here.restart()?;
        ensure!(has(next.path(), &mac)?, "the next sandbox lost its ENI");
        here.del(&next)
    });
}

#[test]
fn killed_after_the_next_sandbox_was_promised_the_eni_still_reaches_it() {
    run(Setup::default().devices(), |bed| {
        let target = bed.target()?;
        let here = bed.node_mut(0)?;
        let stuck = Stuck::of(here)?;
        let next = stuck.pod.again()?;
        let add = here.cni_spawn("ADD", &next)?;
        here.until_shown("the next sandbox is promised", s(5), |shown| {
            shown.pods.iter().any(|p| p.container_id == next.container)
        })?;
        let (pod, ips, mac) = stuck.killed(here)?;
        cni::ended(add)?.fails_with(11)?;
        here.start()?;
        ensure!(!has(pod.path(), &mac)?, "the ENI is still in the old sandbox");
        ensure!(here.add_patiently(&next, s(10))? == ips, "another address");
        next.reaches(target)?;
        here.del(&next)
    });
}

#[test]
fn a_path_that_names_another_namespace_by_now_loses_nothing_to_an_old_withdrawal() {
    run(Setup::default().devices(), |bed| {
        let here = bed.node_mut(0)?;
        let (mut pod, _ips, mac) = Stuck::of(here)?.killed(here)?;
        let aside = Pod::new("aside")?;
        move_link(&mac, pod.path(), aside.path())?;
        netns::run(aside.path(), "ip", ["link", "set", "dev", "eth0", "name", "own0"])?;
        pod.destroy_namespace();
        let name = pod.netns.file_name().and_then(|n| n.to_str()).context("no name")?;
        let stranger = Netns::named(name)?;
        netns::run(
            stranger.path(),
            "ip",
            ["link", "add", "eth0", "type", "veth", "peer", "name", "other-end"],
        )?;
        here.start()?;
        here.until_drained()?;
        let links = netns::links(stranger.path())?;
        ensure!(links.iter().any(|name| name == "eth0"), "taken from a stranger: {links:?}");
        move_link(&mac, aside.path(), &here.host)
    });
}
