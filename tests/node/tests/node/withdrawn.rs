//! `kill -9` between the commit that ends an exclusive pod and the move of its ENI out of the namespace.

use std::process::Child;

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

/// A DEL that is committed and cannot go on: the name that the ENI would have on the host is taken.
fn stuck_del(here: &Node, pod: &Pod, mac: &str) -> Result<(Child, String)> {
    let parked = format!("twe{}", mac.replace(':', ""));
    netns::run(
        &here.host,
        "ip",
        ["link", "add", &parked, "type", "veth", "peer", "name", "other-end"],
    )?;
    let del = here.cni_spawn("DEL", pod)?;
    until("the ENI cannot leave", s(5), || {
        let refused = here.log().contains("could not be withdrawn");
        Ok(Look::of(refused, || "the log does not say so".into()))
    })?;
    ensure!(has(pod.path(), mac)?, "it left all the same");
    Ok((del, parked))
}

fn killed(here: &mut Node, parked: &str) -> Result<()> {
    here.kill()?;
    netns::run(&here.host, "ip", ["link", "del", parked]).map(drop)
}

#[test]
fn killed_before_the_eni_leaves_the_namespace_the_next_run_takes_it_out() {
    run(Setup::default().devices(), |bed| {
        let target = *bed.lab.addresses("cp")?.first().unwrap();
        let here = bed.node_mut(0)?;
        let pod = Pod::new("own")?;
        let (ips, mac) = exclusive(here, &pod)?;
        let (del, parked) = stuck_del(here, &pod, &mac)?;
        killed(here, &parked)?;
        cni::ended(del)?.success()?;
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
        let target = *bed.lab.addresses("cp")?.first().unwrap();
        let here = bed.node_mut(0)?;
        let pod = Pod::new("own")?;
        let (ips, mac) = exclusive(here, &pod)?;
        let (del, parked) = stuck_del(here, &pod, &mac)?;
        let next = pod.again()?;
        let add = here.cni_spawn("ADD", &next)?;
        here.until_shown("the next sandbox is promised", s(5), |shown| {
            shown.pods.iter().any(|p| p.container_id == next.container)
        })?;
        killed(here, &parked)?;
        cni::ended(del)?.success()?;
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
        let mut pod = Pod::new("own")?;
        let (_ips, mac) = exclusive(here, &pod)?;
        let (del, parked) = stuck_del(here, &pod, &mac)?;
        killed(here, &parked)?;
        cni::ended(del)?.success()?;
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
