//! ENIs that other nodes left behind: what the daemon that holds the Lease deletes, and what it leaves alone.

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use tideway_lab::{
    FaultKind,
    cloud::operations::{eni, wanted::Wanted},
    wire::recording::Recorded,
};
use tideway_node_tests::{
    Bed, FakeApiServer, Lab, Setup,
    wait::{Look, s, until},
};

use crate::{
    clouds::by_hand,
    run::{run, run_on_both},
};

/// `names::SWEEP_LEASE`, as the API server sees it.
const LEASE: &str = "tideway-sweep";

/// A detached ENI as a daemon on `instance` makes it, so many minutes ago.
fn made(lab: &Lab, cluster: &str, instance: &str, minutes: u64) -> Result<String> {
    let subnet = lab.instance("n1")?.vswitch_id.clone();
    let group = &lab.api()?.description().security_groups.first().context("no group")?.id;
    by_hand(lab, |cloud, now| {
        let subnet = cloud.vpc.vswitch(&subnet)?.clone();
        let wanted = Wanted::default();
        let mut made = eni::create(&mut cloud.vpc, &subnet, vec![group.clone()], &wanted, now)?;
        made.created = now - minutes * 60_000;
        let tags = [
            ("cluster", cluster),
            ("node", instance),
            ("intent", "t-1"),
            ("created", &made.created.to_string()),
        ];
        made.tags = tags.map(|(key, value)| (format!("tideway.dev/{key}"), value.into())).into();
        let id = made.id.clone();
        cloud.vpc.put(made);
        Ok(id)
    })
}

/// Lets the daemon of the first node sweep every second.
fn sweeps(bed: &mut Bed) -> Result<FakeApiServer> {
    let api = FakeApiServer::start(&bed.lab.instance("n1")?.namespace, LEASE)?;
    let node = bed.node_mut(0)?;
    api.serves(node)?;
    let config = node.config.as_object_mut().context("no configuration")?;
    config.insert("sweep".into(), json!({ "intervalSeconds": 1 }));
    Ok(api)
}

fn looks(lab: &Lab) -> Result<u64> {
    Ok(lab.api()?.calls_of("DescribeInstances"))
}

/// Waits until so many more looks were made.
fn until_looked(lab: &Lab, more: u64) -> Result<()> {
    let before = looks(lab)?;
    until(&format!("{more} more looks"), s(20), || {
        let made = looks(lab)? - before;
        Ok(Look::of(made >= more, || format!("{made}")))
    })
}

#[test]
fn an_eni_whose_instance_is_gone_is_deleted_after_two_looks_and_no_other_one() {
    run_on_both(&Setup::default().cold(), |bed| {
        let living = bed.lab.instance("n2")?.id.clone();
        let leaked = made(&bed.lab, "node-tests", "i-gone", 60)?;
        let kept = [
            // Of a living instance. The API server has no Node of it.
            made(&bed.lab, "node-tests", &living, 60)?,
            // A call may still be open for it.
            made(&bed.lab, "node-tests", "i-gone", 0)?,
            // Of another cluster.
            made(&bed.lab, "other", "i-gone", 60)?,
        ];
        let api = sweeps(bed)?;
        bed.node_mut(0)?.start()?;
        until("the ENI that was left behind is gone", s(20), || {
            let there = bed.lab.secondary_enis()?;
            Ok(Look::of(!there.contains(&leaked), || format!("{there:?}")))
        })?;
        ensure!(api.holder()?.as_deref() == Some("n1"), "swept without the Lease");
        let requests = bed.lab.api()?.requests();
        let before = requests.iter().take_while(|r| r.name != "DeleteNetworkInterface");
        let names = |r: &&Recorded| [&r.target, &r.body].iter().any(|text| text.contains("i-gone"));
        let asked = before.filter(names).count();
        ensure!(asked >= 2, "deleted after {asked} looks");

        until_looked(&bed.lab, 3)?;
        let there = bed.lab.secondary_enis()?;
        ensure!(kept.iter().all(|eni| there.contains(eni)), "{kept:?} were to stay of {there:?}");
        bed.node_mut(0)?.stop()?;
        ensure!(api.holder()?.is_none(), "the Lease was not given back");
        for eni in &kept {
            by_hand(&bed.lab, |cloud, now| eni::delete(&mut cloud.vpc, eni, now))?;
        }
        Ok(())
    });
}

#[test]
fn a_cloud_that_hides_instances_costs_nobody_an_eni() {
    run(Setup::default().cold(), |bed| {
        let api = sweeps(bed)?;
        bed.node_mut(0)?.start()?;
        let hidden = bed.lab.fault_of_all(FaultKind::HiddenInstances)?;
        let leaked = made(&bed.lab, "node-tests", "i-gone", 60)?;
        let here = bed.node(0)?;
        here.until_shown("the blindness is told", s(20), |shown| {
            shown.source_errors.iter().any(|e| e.contains("does not show instance"))
        })?;
        until_looked(&bed.lab, 3)?;
        ensure!(bed.lab.secondary_enis()?.contains(&leaked), "deleted by a blind daemon");
        bed.lab.clear(hidden)?;
        until("the ENI that was left behind is gone", s(20), || {
            let there = bed.lab.secondary_enis()?;
            Ok(Look::of(!there.contains(&leaked), || format!("{there:?}")))
        })?;
        drop(api);
        Ok(())
    });
}
