//! Programs stop, die and come back while pods are on their way: no address is given twice, and nothing is held for ever.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::{
    agent::{Kind, Shape},
    bed::Bed,
    objects::{self, Allocatable},
    say,
    stack::{Mode, Setting, Stack},
};

const UNITS: usize = 200;
const MORE: usize = 20;

fn nodes(bed: &Bed, namespace: &str, mode: Mode, count: usize) -> Result<Setting> {
    let setting = Setting::of(mode);
    bed.run_with(setting)?;
    bed.namespace(namespace)?;
    bed.nodes(namespace, count, Shape::addresses(5), Allocatable::default())?;
    Ok(setting)
}

fn pods(bed: &Bed, namespace: &str, from: usize, count: usize) -> Result<()> {
    let pods = (from..from + count).map(|i| objects::pod(&format!("p{i}"), Kind::Shared));
    bed.pods(namespace, pods)
}

/// The pods are created while the scheduler stands still, so that all of them are on their way at once. Returns when the first
/// are bound.
fn crowd(bed: &Bed, namespace: &str, from: usize, count: usize) -> Result<()> {
    bed.stack.freeze("scheduler", true)?;
    let before = bed.bound(namespace).len();
    let created = pods(bed, namespace, from, count);
    bed.stack.freeze("scheduler", false)?;
    created?;
    bed.wait_bound(namespace, before + 10).map(drop)
}

/// More pods than addresses are created, `fault` happens while they are being bound; at the end the nodes are full.
fn under_way(
    bed: &Bed,
    namespace: &str,
    mode: Mode,
    fault: impl Fn(&Bed, Setting) -> Result<()>,
) -> Result<()> {
    let setting = nodes(bed, namespace, mode, UNITS / 5)?;
    crowd(bed, namespace, 0, UNITS + MORE)?;
    let before = bed.bound(namespace).len();
    fault(bed, setting)?;
    let after = bed.bound(namespace).len();
    let took = bed.wait_bound(namespace, UNITS)?;
    say(&format!(
        "  {before} bound before the fault, {after} when it was over, all {took:.1?} later"
    ));
    bed.wait_settled(namespace)?;
    let waiting = bed.waiting(namespace).len();
    // Without a word about the text: what the scheduler cannot write while the API server is away it never writes.
    ensure!(waiting == MORE, "{waiting} pods wait, not {MORE}");
    bed.never_above()
}

pub(crate) fn a_stopped_extender_does_not_stop_scheduling(bed: &Bed) -> Result<()> {
    nodes(bed, "stopped", Mode::Default, 4)?;
    pods(bed, "stopped", 0, 8)?;
    bed.wait_bound("stopped", 8)?;
    bed.stack.freeze("extender", true)?;
    let frozen = pods(bed, "stopped", 8, 2).and_then(|()| bed.wait_bound("stopped", 10));
    bed.stack.freeze("extender", false)?;
    say(&format!("  two pods bound without the extender in {:.1?}", frozen?));
    // It has missed those two, and knows of them now.
    pods(bed, "stopped", 10, 12)?;
    let took = bed.wait_bound("stopped", 20)?;
    bed.wait_refused("stopped", 2)?;
    say(&format!("  full {took:.1?} after it went on"));
    bed.wait_settled("stopped")?;
    bed.never_above()
}

pub(crate) fn a_killed_extender_is_missed_by_nobody(bed: &Bed) -> Result<()> {
    let setting = nodes(bed, "killed", Mode::Default, 8)?;
    // As long as it is away nothing is promised, so there is room for all of these on whatever node they go to.
    crowd(bed, "killed", 0, 24)?;
    bed.stack.kill("extender")?;
    bed.wait_bound("killed", 24)?;
    bed.stack.start_extender(setting)?;
    pods(bed, "killed", 24, 20)?;
    let took = bed.wait_bound("killed", 40)?;
    bed.wait_refused("killed", 4)?;
    say(&format!("  full {took:.1?} after it came back"));
    bed.wait_settled("killed")?;
    bed.never_above()
}

fn scheduler_dies(bed: &Bed, setting: Setting) -> Result<()> {
    bed.stack.kill("scheduler")?;
    bed.stack.start_scheduler(setting)
}

pub(crate) fn a_scheduler_that_dies_holds_nothing_for_ever(bed: &Bed) -> Result<()> {
    under_way(bed, "orphans", Mode::Default, scheduler_dies)
}

pub(crate) fn strict_a_scheduler_that_dies_holds_nothing_for_ever(bed: &Bed) -> Result<()> {
    under_way(bed, "orphans", Mode::Strict, scheduler_dies)
}

/// A control plane node dies with both; the next pair knows nothing of what the first had promised.
pub(crate) fn a_pair_that_dies_together_is_followed_by_one_that_takes_care(
    bed: &Bed,
) -> Result<()> {
    under_way(bed, "pair", Mode::Default, |bed, setting| {
        bed.stack.kill("scheduler")?;
        bed.stack.kill("extender")?;
        bed.stack.start_extender(setting)?;
        bed.stack.start_scheduler(setting)
    })
}

pub(crate) fn without_the_api_server_no_address_is_given_twice(bed: &Bed) -> Result<()> {
    under_way(bed, "outage", Mode::Default, outage)
}

pub(crate) fn strict_without_the_api_server_no_address_is_given_twice(bed: &Bed) -> Result<()> {
    under_way(bed, "outage", Mode::Strict, outage)
}

/// Its watches say nothing for some seconds, while the scheduler goes on and binds.
pub(crate) fn a_blind_extender_gives_no_address_twice(bed: &Bed) -> Result<()> {
    nodes(bed, "blind", Mode::Default, UNITS / 5)?;
    crowd(bed, "blind", 0, UNITS / 2)?;
    Stack::blind_extender(true)?;
    let dark = pods(bed, "blind", UNITS / 2, UNITS / 2 + MORE)
        .and_then(|()| bed.observe(Duration::from_secs(6)));
    Stack::blind_extender(false)?;
    dark?;
    let took = bed.wait_bound("blind", UNITS)?;
    say(&format!("  full {took:.1?} after it could see again"));
    bed.wait_refused("blind", MORE)?;
    bed.wait_settled("blind")?;
    bed.never_above()
}

fn outage(bed: &Bed, _: Setting) -> Result<()> {
    bed.stack.kill("apiserver")?;
    bed.stack.start_api_server()
}

pub(crate) fn strict_an_extender_that_dies_gives_no_address_twice(bed: &Bed) -> Result<()> {
    under_way(bed, "died", Mode::Strict, |bed, setting| {
        bed.stack.kill("extender")?;
        bed.stack.start_extender(setting)
    })
}

pub(crate) fn strict_a_slow_extender_gives_no_address_twice(bed: &Bed) -> Result<()> {
    nodes(bed, "slow", Mode::Strict, UNITS / 5)?;
    crowd(bed, "slow", 0, UNITS + MORE)?;
    // It stands still for half of the time, between two looks.
    let mut frozen = false;
    let bound = bed.wait("all addresses are given", |bed| {
        frozen = !frozen;
        bed.stack.freeze("extender", frozen)?;
        let bound = bed.bound("slow").len();
        ensure!(bound >= UNITS, "{bound} pods are bound");
        Ok(())
    });
    bed.stack.freeze("extender", false)?;
    bound?;
    bed.wait_refused("slow", MORE)?;
    bed.wait_settled("slow")?;
    bed.never_above()
}
