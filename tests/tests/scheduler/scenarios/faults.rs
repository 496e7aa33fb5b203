//! Programs stop, die and come back while pods are on their way: no address is given twice, and nothing is held for ever.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use hyper::Method;
use serde_json::Value;

use crate::{
    agent::{Kind, Shape},
    bed::Bed,
    figures::unwelcome,
    objects::{self, Allocatable},
    say,
    stack::{Mode, Pair, Setting, Stack},
};

const UNITS: usize = 200;
const MORE: usize = 20;

fn nodes(bed: &Bed, namespace: &str, setting: Setting, count: usize) -> Result<()> {
    bed.run_with(setting)?;
    bed.namespace(namespace)?;
    bed.nodes(namespace, count, Shape::addresses(5), Allocatable::default())
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
    let setting = Setting::of(mode);
    nodes(bed, namespace, setting, UNITS / 5)?;
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

pub(crate) fn a_stopped_extender_stops_scheduling_in_strict_mode_only(
    bed: &Bed,
    mode: Mode,
) -> Result<()> {
    nodes(bed, "stopped", Setting { patient: false, ..Setting::of(mode) }, 4)?;
    pods(bed, "stopped", 0, 8)?;
    bed.wait_bound("stopped", 8)?;
    bed.stack.freeze("extender", true)?;
    let frozen = pods(bed, "stopped", 8, 2).and_then(|()| match mode {
        Mode::Strict => bed.observe(Duration::from_secs(4)),
        Mode::Default | Mode::Bare => bed.wait_bound("stopped", 10).map(drop),
    });
    let bound = bed.bound("stopped").len();
    bed.stack.freeze("extender", false)?;
    frozen?;
    ensure!((bound == 8) == (mode == Mode::Strict), "{bound} are bound without the extender");
    // It has missed those two, and knows of them now.
    pods(bed, "stopped", 10, 12)?;
    let took = bed.wait_bound("stopped", 20)?;
    bed.wait_refused("stopped", 2)?;
    say(&format!("  full {took:.1?} after it went on"));
    bed.wait_settled("stopped")?;
    bed.never_above()
}

pub(crate) fn a_killed_extender_is_missed_by_nobody(bed: &Bed, mode: Mode) -> Result<()> {
    let setting = Setting::of(mode);
    nodes(bed, "killed", setting, 8)?;
    // As long as it is away nothing is promised, so there is room for all of these on whatever node they go to.
    crowd(bed, "killed", 0, 24)?;
    bed.stack.kill("extender")?;
    bed.wait_bound("killed", 24)?;
    bed.stack.start_extender(Pair::First, setting)?;
    pods(bed, "killed", 24, 20)?;
    let took = bed.wait_bound("killed", 40)?;
    bed.wait_refused("killed", 4)?;
    say(&format!("  full {took:.1?} after it came back"));
    bed.wait_settled("killed")?;
    bed.never_above()
}

fn scheduler_dies(bed: &Bed, setting: Setting) -> Result<()> {
    bed.stack.kill("scheduler")?;
    bed.stack.start_scheduler(Pair::First, setting)
}

pub(crate) fn a_scheduler_that_dies_holds_nothing_for_ever(bed: &Bed, mode: Mode) -> Result<()> {
    under_way(bed, "orphans", mode, scheduler_dies)
}

/// A control plane node dies with both; the next pair knows nothing of what the first had promised.
pub(crate) fn a_pair_that_dies_together_is_followed_by_one_that_takes_care(
    bed: &Bed,
    mode: Mode,
) -> Result<()> {
    under_way(bed, "pair", mode, |bed, setting| {
        bed.stack.kill("scheduler")?;
        bed.stack.kill("extender")?;
        bed.stack.start_extender(Pair::First, setting)?;
        bed.stack.start_scheduler(Pair::First, setting)
    })
}

/// Two pairs run, the leader's node of the control plane dies, and the other scheduler asks the extender beside it.
pub(crate) fn a_leader_that_dies_is_followed_by_the_other_pair(
    bed: &Bed,
    mode: Mode,
) -> Result<()> {
    let lease = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/kube-scheduler";
    match bed.call(Method::DELETE, lease, None) {
        Err(error) if !error.is(404) => return Err(error.into()),
        _ => {}
    }
    let setting = Setting { elects: true, ..Setting::of(mode) };
    nodes(bed, "failover", setting, UNITS / 5)?;
    bed.wait("the first scheduler leads", |bed| {
        bed.get(lease)?.pointer("/spec/holderIdentity").map(drop).context("nobody does")
    })?;
    bed.stack.start_extender(Pair::Second, setting)?;
    bed.stack.start_scheduler(Pair::Second, setting)?;
    crowd(bed, "failover", 0, UNITS + MORE)?;
    bed.stack.kill(Pair::First.scheduler())?;
    bed.stack.kill(Pair::First.extender())?;
    // The next run starts anew whatever comes of this one.
    bed.spoil();
    let before = bed.bound("failover").len();
    let took = bed.wait_bound("failover", UNITS)?;
    say(&format!("  {before} bound before the leader died, all {took:.1?} later"));
    bed.wait_settled("failover")?;
    bed.wait_refused("failover", MORE)?;
    bed.never_above()?;
    bed.delete_all()?;
    bed.wait_forgotten(Pair::Second)?;
    bed.stack.stop(Pair::Second.scheduler())?;
    bed.stack.stop(Pair::Second.extender())
}

pub(crate) fn without_the_api_server_no_address_is_given_twice(
    bed: &Bed,
    mode: Mode,
) -> Result<()> {
    under_way(bed, "outage", mode, |bed, _| {
        bed.stack.kill("apiserver")?;
        bed.stack.start_api_server()
    })
}

/// How long a hold lasts for [`a_blind_extender_keeps_to_what_is_promised`], which waits for more than two.
const HOLD: u32 = 15;

/// Its watches say nothing for more than half a minute, while the scheduler goes on: longer than a hold, and than it takes to
/// notice that the API server is gone. In default mode the scheduler binds: what was promised holds as long as the holds do.
pub(crate) fn a_blind_extender_keeps_to_what_is_promised(bed: &Bed, mode: Mode) -> Result<()> {
    let setting = Setting { hold_seconds: HOLD, ..Setting::of(mode) };
    nodes(bed, "blind", setting, UNITS / 5)?;
    let counted = unwelcome("overshoot")?;
    crowd(bed, "blind", 0, UNITS / 2)?;
    Stack::blind_extender(true)?;
    let dark = in_the_dark(bed, setting);
    Stack::blind_extender(false)?;
    dark?;
    let took = bed.wait_bound("blind", UNITS)?;
    say(&format!("  full {took:.1?} after it could see again"));
    bed.wait_settled("blind")?;
    if mode == Mode::Strict {
        bed.wait_refused("blind", MORE)?;
        return bed.never_above();
    }
    is_counted(bed, counted)
}

/// Two holds and some seconds.
fn in_the_dark(bed: &Bed, setting: Setting) -> Result<()> {
    let hold = Duration::from_secs(setting.hold_seconds.into());
    pods(bed, "blind", UNITS / 2, UNITS / 2)?;
    bed.observe(hold * 2 / 3)?;
    bed.never_above().context("while the holds last")?;
    bed.observe(hold / 2)?;
    pods(bed, "blind", UNITS, MORE)?;
    bed.observe(hold)
}

/// Bindings beyond what a node had are no secret. What only seemed so may be counted, too: a pod holds units on every node
/// that was returned for it.
fn is_counted(bed: &Bed, before: f64) -> Result<()> {
    let seen = bed.world().overshoots.len();
    say(&format!("  {seen} bindings beyond what the node had"));
    bed.wait("they are counted", |_| {
        let counted = unwelcome("overshoot")? - before;
        ensure!(seen == 0 || counted > 0.0, "{seen} are seen, {counted} counted");
        Ok(())
    })
}

/// The extender's wall clock goes forward while pods are on their way, and back behind the time of its start when some wait.
pub(crate) fn a_clock_that_jumps_gives_no_address_twice_and_wakes_as_before(
    bed: &Bed,
    mode: Mode,
) -> Result<()> {
    nodes(bed, "clock", Setting { clock_moves: true, ..Setting::of(mode) }, UNITS / 5)?;
    crowd(bed, "clock", 0, UNITS + MORE)?;
    bed.stack.clock.set(2 * 60 * 60)?;
    bed.wait_bound("clock", UNITS)?;
    bed.wait_refused("clock", MORE)?;
    bed.stack.clock.set(-30 * 60)?;
    let leaving: Vec<String> = bed.bound("clock").into_iter().take(MORE).collect();
    // The scheduler would try some again by itself when pods go, and no wake were needed.
    bed.stack.freeze("scheduler", true)?;
    let back = bed.delete("clock", &leaving, None).and_then(|()| woken_in_the_past(bed, "clock"));
    bed.stack.freeze("scheduler", false)?;
    let back = back?;
    bed.wait_none_waiting("clock")?;
    say(&format!("  {back} pods woken by a clock that went back"));
    bed.wait_settled("clock")?;
    bed.never_above()
}

/// Waits until a pod of the namespace is woken by a clock that is late by more than twenty minutes; answers how many are.
fn woken_in_the_past(bed: &Bed, namespace: &str) -> Result<usize> {
    let mut back = 0;
    bed.wait("a pod is woken by the clock that went back", |bed| {
        let woken = bed.get(&format!("/api/v1/namespaces/{namespace}/pods"))?;
        let stamp = |pod: &Value| {
            pod.pointer("/metadata/annotations/tideway.dev~1wake")?.as_str()?.parse::<u128>().ok()
        };
        let stamps = woken["items"].as_array().into_iter().flatten().filter_map(stamp);
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
        let earlier = now.saturating_sub(Duration::from_mins(20));
        back = stamps.filter(|stamp| *stamp < earlier.as_millis()).count();
        ensure!(back > 0, "none is");
        Ok(())
    })?;
    Ok(back)
}

pub(crate) fn an_extender_that_dies_gives_no_address_twice(bed: &Bed, mode: Mode) -> Result<()> {
    under_way(bed, "died", mode, |bed, setting| {
        bed.stack.kill("extender")?;
        bed.stack.start_extender(Pair::First, setting)
    })
}

/// It stands still again and again, for longer than a scheduler in default mode waits. That one goes on without it.
pub(crate) fn a_slow_extender_keeps_to_what_is_promised(bed: &Bed, mode: Mode) -> Result<()> {
    nodes(bed, "slow", Setting { patient: false, ..Setting::of(mode) }, UNITS / 5)?;
    let counted = unwelcome("overshoot")?;
    crowd(bed, "slow", 0, UNITS + MORE)?;
    let mut frozen = false;
    let bound = bed.wait("all addresses are given", |bed| {
        frozen = !frozen;
        bed.stack.freeze("extender", frozen)?;
        bed.observe(Duration::from_millis(if frozen { 800 } else { 400 }))?;
        let bound = bed.bound("slow").len();
        ensure!(bound >= UNITS, "{bound} pods are bound");
        Ok(())
    });
    bed.stack.freeze("extender", false)?;
    bound?;
    bed.wait_settled("slow")?;
    if mode == Mode::Strict {
        bed.wait_refused("slow", MORE)?;
        return bed.never_above();
    }
    is_counted(bed, counted)
}
