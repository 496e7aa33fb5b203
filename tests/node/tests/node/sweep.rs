//! ENIs that other nodes left behind: what the daemon that holds the Lease deletes, and what it leaves alone.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, anyhow, ensure};
use serde_json::json;
use tideway_lab::{
    FaultKind,
    cloud::{ApiCall, params::Params},
};
use tideway_node_tests::{
    Bed, FakeApiServer, Lab, Setup,
    node::overwrite,
    wait::{Look, s, until},
};

use crate::run::run;

/// `names::SWEEP_LEASE`, as the API server sees it.
const LEASE: &str = "tideway-sweep";

fn now() -> Result<u64> {
    Ok(u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?)
}

/// One call of somebody who is none of our daemons.
fn call(lab: &Lab, action: &str, params: &[(&str, &str)]) -> Result<serde_json::Value> {
    let region = ("RegionId", lab.api()?.description().region.as_str());
    let pairs = params.iter().copied().chain([region]);
    let call = ApiCall {
        action: action.to_owned(),
        version: "2014-05-26".to_owned(),
        params: Params::new(pairs.map(|(key, value)| (key.to_owned(), value.to_owned()))),
        caller: "outside".to_owned(),
        access_key: "test".to_owned(),
    };
    let at = now()?;
    let reply = lab.api()?.with_cloud(|cloud| cloud.call(&call, at));
    reply.outcome.map_err(|e| anyhow!("{action}: {e:?}"))
}

/// A detached ENI as a daemon on `instance` makes it, so many minutes ago.
fn made(lab: &Lab, cluster: &str, instance: &str, minutes: u64) -> Result<String> {
    let place = lab.instance("n1")?;
    let group = &lab.api()?.description().security_groups.first().context("no group")?.id;
    let made = call(
        lab,
        "CreateNetworkInterface",
        &[
            ("VSwitchId", place.vswitch_id.as_str()),
            ("SecurityGroupIds.1", group.as_str()),
            ("Tag.1.Key", "tideway.dev/cluster"),
            ("Tag.1.Value", cluster),
            ("Tag.2.Key", "tideway.dev/node"),
            ("Tag.2.Value", instance),
            ("Tag.3.Key", "tideway.dev/intent"),
            ("Tag.3.Value", "t-1"),
        ],
    )?;
    let id = made.pointer("/NetworkInterfaceId").and_then(|id| id.as_str()).context("no id")?;
    lab.settle()?;
    let created = now()? - minutes * 60_000;
    lab.api()?.with_cloud(|cloud| {
        let mut eni = cloud.vpc.eni(id).map_err(|e| anyhow!("{e:?}"))?.clone();
        eni.created = created;
        cloud.vpc.put(eni);
        anyhow::Ok(())
    })?;
    Ok(id.to_owned())
}

/// Lets the daemon of the first node sweep every second.
fn sweeps(bed: &mut Bed) -> Result<FakeApiServer> {
    let api = FakeApiServer::start(&bed.lab.instance("n1")?.namespace, LEASE)?;
    let node = bed.node_mut(0)?;
    let file = node.file("kubeconfig");
    overwrite(&file, api.kubeconfig().as_bytes())?;
    let config = node.config.as_object_mut().context("no configuration")?;
    config.insert("sweep".into(), json!({ "intervalSeconds": 1 }));
    let kubernetes = config.get_mut("kubernetes").and_then(|k| k.as_object_mut());
    kubernetes.context("no section")?.insert("kubeconfig".into(), json!(file));
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
    run(Setup::default().cold(), |bed| {
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
        let asked = before.filter(|r| r.target.contains("i-gone")).count();
        ensure!(asked >= 2, "deleted after {asked} looks");

        until_looked(&bed.lab, 3)?;
        let there = bed.lab.secondary_enis()?;
        ensure!(kept.iter().all(|eni| there.contains(eni)), "{kept:?} were to stay of {there:?}");
        bed.node_mut(0)?.stop()?;
        ensure!(api.holder()?.is_none(), "the Lease was not given back");
        for eni in &kept {
            call(&bed.lab, "DeleteNetworkInterface", &[("NetworkInterfaceId", eni.as_str())])?;
        }
        bed.lab.settle()
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
