//! The cloud away: a node goes on with what its pool has.

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tideway_lab::FaultKind;
use tideway_node_tests::{Bed, Pod, Setup};

use crate::run::{run, run_on_both};

fn everything_down(bed: &Bed) -> Result<()> {
    bed.lab.fault_of_all(FaultKind::ServerError)?;
    bed.lab.fault_of_all(FaultKind::MetadataDown)?;
    Ok(())
}

#[test]
fn pods_come_and_go_while_api_and_metadata_service_are_down() {
    run(Setup::default(), |bed| {
        everything_down(bed)?;
        let here = bed.node(0)?;
        for round in 0..3 {
            let pods = [Pod::new(&format!("a{round}"))?, Pod::new(&format!("b{round}"))?];
            for pod in &pods {
                here.add(pod)?;
                pod.reaches(bed.target()?)?;
            }
            for pod in &pods {
                here.del(pod)?;
            }
        }
        Ok(())
    });
}

#[test]
fn a_restart_while_api_and_metadata_service_are_down_keeps_pods_and_serves_new_ones() {
    run_on_both(&Setup::default(), |bed| {
        let target = bed.target()?;
        let old = Pod::new("old")?;
        let ips = bed.node(0)?.add(&old)?;
        everything_down(bed)?;
        let here = bed.node_mut(0)?;
        here.restart()?;
        old.reaches(target)?;
        ensure!(here.add(&old)? == ips, "the old pod has another address now");
        let new = Pod::new("new")?;
        let fresh = here.add(&new)?;
        ensure!(fresh != ips);
        new.reaches(target)?;
        here.del(&old)?;
        here.del(&new)
    });
}

#[test]
fn a_restart_without_metadata_service_takes_the_region_of_the_last_run() {
    run(Setup::default().cold(), |bed| {
        // As in a configuration that names none: asked from the metadata service.
        let cloud = bed.node_mut(0)?.config.get_mut("cloud").and_then(Value::as_object_mut);
        cloud.context("no section cloud")?.remove("region");
        bed.node_mut(0)?.start()?;
        bed.node(0)?.warm()?;
        let target = bed.target()?;
        everything_down(bed)?;
        let here = bed.node_mut(0)?;
        here.restart()?;
        let pod = Pod::new("p")?;
        here.add(&pod)?;
        pod.reaches(target)?;
        here.del(&pod)
    });
}
