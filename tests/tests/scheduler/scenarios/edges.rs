//! Pods that count otherwise than most: on the host's network, of other schedulers, complete, deleted by force.

use std::time::Duration;

use anyhow::{Result, ensure};
use hyper::Method;
use serde_json::json;

use crate::{
    agent::{Kind, Pace, Shape},
    bed::Bed,
    objects::{self, Allocatable},
    stack::{Mode, Setting},
};

pub(crate) fn pods_that_need_nothing_of_ours_go_anywhere(bed: &Bed, mode: Mode) -> Result<()> {
    bed.run_with(Setting::of(mode))?;
    bed.namespace("kinds")?;
    bed.nodes("kinds", 2, Shape::addresses(2), Allocatable::default())?;
    // Somebody else fills the first node.
    let foreign = |i: i32| {
        let spec = json!({"schedulerName": "other", "nodeName": "kinds-0"});
        objects::with(objects::pod(&format!("foreign{i}"), Kind::Shared), spec)
    };
    bed.pods("kinds", (0..2).map(foreign))?;
    bed.wait("the foreign pods run", |bed| {
        let world = bed.world();
        let run = world.of("kinds").filter(|p| p.running).count();
        ensure!(run == 2 && world.is_at_rest(), "{run} do");
        Ok(())
    })?;
    let ours = (0..3).map(|i| objects::pod(&format!("p{i}"), Kind::Shared));
    let host = (0..6).map(|i| {
        let pod = objects::pod(&format!("host{i}"), Kind::Shared);
        objects::with(pod, json!({"hostNetwork": true}))
    });
    bed.pods("kinds", ours.chain(host))?;
    bed.wait_bound("kinds", 2 + 2 + 6)?;
    bed.wait_refused("kinds", 1)?;
    ensure!(bed.waiting("kinds").iter().all(|n| n.starts_with('p')), "a pod of the host waits");
    bed.never_above()?;
    // A pod that is complete gives its address back, although its object stays.
    let done = json!({"status": {"phase": "Succeeded"}});
    let path = "/api/v1/namespaces/kinds/pods/foreign0/status";
    bed.call(Method::PATCH, path, Some(&done))?;
    bed.wait("the third pod is bound", |bed| {
        let waiting = bed.waiting("kinds");
        ensure!(waiting.is_empty(), "{waiting:?} wait");
        Ok(())
    })?;
    bed.never_above()
}

pub(crate) fn a_force_deleted_pod_keeps_its_address_until_its_node_says_otherwise(
    bed: &Bed,
    mode: Mode,
) -> Result<()> {
    bed.run_with(Setting::of(mode))?;
    bed.namespace("force")?;
    bed.world().pace = Pace { teardown: Duration::from_secs(2), ..Pace::default() };
    bed.nodes("force", 4, Shape::addresses(3), Allocatable::default())?;
    bed.pods("force", (0..18).map(|i| objects::pod(&format!("p{i}"), Kind::Shared)))?;
    bed.wait_bound("force", 12)?;
    bed.wait_refused("force", 6)?;
    bed.wait_at_rest()?;
    let gone: Vec<String> = bed.bound("force").into_iter().take(6).collect();
    bed.delete("force", &gone, Some(0))?;
    bed.wait_bound("force", 12)?;
    bed.never_above()
}
