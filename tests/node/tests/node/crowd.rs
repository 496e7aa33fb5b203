//! Many at once.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use tideway_node_tests::{Bed, Pod, Setup, wait::s};

use crate::run::run;

const CROWD: usize = 50;

/// Fifty ADDs at once on a pool that is empty: each gets its own address.
fn crowd(bed: &mut Bed) -> Result<()> {
    let here = bed.node(0)?;
    let pods: Vec<Pod> = (0..CROWD).map(|n| Pod::new(&format!("p{n}"))).collect::<Result<_>>()?;
    let mut seen = BTreeSet::new();
    for (pod, answer) in pods.iter().zip(here.add_all(&pods)?) {
        for ip in answer.ips().map_err(|e| e.context(format!("ADD of {}", pod.name)))? {
            ensure!(seen.insert(ip), "{ip} was given twice");
        }
    }
    ensure!(seen.len() == CROWD);
    let target = bed.target()?;
    for pod in pods.iter().step_by(10) {
        pod.reaches(target)?;
    }
    for pod in &pods {
        here.del(pod)?;
    }
    Ok(())
}

#[test]
fn fifty_adds_at_once_on_a_cold_pool_get_fifty_addresses() {
    run(Setup::default().cold().sized(4, 20).pool("addTimeoutSeconds", 90), |bed| {
        bed.node_mut(0)?.start()?;
        crowd(bed)
    });
}

#[test]
fn fifty_adds_at_once_are_not_held_up_by_an_allocate_that_finds_no_pod() {
    run(Setup::default().cold().devices().sized(5, 20).pool("addTimeoutSeconds", 90), |bed| {
        bed.node_mut(0)?.start()?;
        let here = bed.node(0)?;
        here.kubelet()?.offers(1, s(20))?;
        let device = here.kubelet()?.healthy().first().cloned().unwrap();
        here.kubelet()?.allocate(&device)?;
        crowd(bed)
    });
}

/// By the cloud's own count. ENIs of 20 addresses: 106 are needed (100, and the low mark's reserve of 6 when they are served),
/// so six ENIs, and each takes one Create with all its addresses and one Attach. One that is asked for before the whole burst
/// is known, as the first always is, grows by one Assign.
#[test]
fn a_burst_of_a_hundred_on_a_cold_node_costs_the_fewest_changes_of_the_cloud() {
    const BURST: usize = 100;
    let setup = Setup::default().cold().sized(8, 20).pool("addTimeoutSeconds", 90);
    run(setup, |bed| {
        bed.node_mut(0)?.start()?;
        let here = bed.node(0)?;
        let pods: Vec<Pod> =
            (0..BURST).map(|n| Pod::new(&format!("p{n}"))).collect::<Result<_>>()?;
        for (pod, answer) in pods.iter().zip(here.add_all(&pods)?) {
            answer.ips().map_err(|e| e.context(format!("ADD of {}", pod.name)))?;
        }
        let changes = |action| bed.lab.successes(action);
        let (made, attached) =
            (changes("CreateNetworkInterface")?, changes("AttachNetworkInterface")?);
        let grown = changes("AssignPrivateIpAddresses")?;
        println!(
            "{BURST} pods: {made} Create, {attached} Attach, {grown} Assign, {} calls in all",
            bed.lab.calls()?
        );
        ensure!(made <= 6 && attached <= made, "{made} Create, {attached} Attach");
        ensure!(grown <= made, "{grown} Assign");
        for pod in &pods {
            here.del(pod)?;
        }
        Ok(())
    });
}
