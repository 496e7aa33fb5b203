//! The real scheduler and API server, the real extender, and nodes that are only objects: who gets the last address, and what
//! happens to it when programs stop, die and come back.
//!
//! One control plane serves all scenarios, one after another, so this test brings its own `main`. It makes a network namespace
//! for itself and everything it starts, so that ports are free and nothing is left. A small agent plays kubelet and daemon of
//! every node and judges each binding against what the node has at that moment.

#![allow(
    clippy::allow_attributes,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a scenario fails by panicking, too: it is caught and reported; JSON is indexed as it was just made"
)]

mod agent;
mod api;
mod bed;
mod clock;
mod figures;
mod objects;
mod stack;
mod scenarios {
    pub(crate) mod edges;
    pub(crate) mod faults;
    pub(crate) mod full;
    pub(crate) mod late;
    pub(crate) mod preempt;
    pub(crate) mod refused;
    pub(crate) mod skew;
    pub(crate) mod starved;
    pub(crate) mod template;
}

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, Result, anyhow};
use nix::sched::{CloneFlags, unshare};
use tideway_e2e::{
    command,
    demo::{place, report::Report},
    interrupt,
    run_dir::RunDir,
    scenarios::{conduct, each, guarded, say},
};

use crate::{
    bed::Bed,
    scenarios::{edges, faults, full, late, preempt, refused, skew, starved, template},
    stack::Mode,
};

/// A scenario in one mode.
#[derive(Debug, Clone, Copy)]
struct Scenario {
    conduct: fn(&Bed, Mode) -> Result<()>,
    mode: Mode,
    /// Minutes long, or a repetition in the other mode: run by `make test-scheduler`, or when named.
    long: bool,
}

/// Each with the modes in which it runs. Those in strict mode are called so.
macro_rules! scenarios {
    (@name Strict $name:ident) => { concat!("strict_", stringify!($name)) };
    (@name $mode:ident $name:ident) => { stringify!($name) };
    (@long) => { false };
    (@long long) => { true };
    ($($module:ident::$name:ident: $($mode:ident $($long:ident)?),+;)*) => {
        [$($((scenarios!(@name $mode $name), Scenario {
            conduct: $module::$name,
            mode: Mode::$mode,
            long: scenarios!(@long $($long)?),
        })),+),*]
    };
}

/// The modes run one after the other, each in this order. Those of one setting stand together, since another one starts both
/// programs anew; the last one ends in strict mode.
fn scenarios() -> Vec<(&'static str, Scenario)> {
    let mut all = Vec::from(scenarios! {
        full::alone_the_scheduler_gives_more_than_there_is: Bare;
        skew::a_deployment_is_spread_as_without_us: Bare;
        faults::a_leader_that_dies_is_followed_by_the_other_pair: Default long, Strict long;
        late::a_volume_that_binds_later_than_a_hold_keeps_its_address: Default, Strict long;
        late::a_permit_that_outlasts_a_hold: Default, Strict long;
        full::five_hundred_pods_take_five_hundred_addresses: Default long, Strict long;
        full::of_six_hundred_pods_one_hundred_wait_and_then_go: Default, Strict;
        full::five_hundred_pods_take_five_hundred_devices: Default long, Strict long;
        full::devices_are_not_given_twice: Default, Strict;
        full::adapters_that_can_be_either_are_not_given_twice: Default, Strict;
        refused::refused_pods_rest_in_a_quiet_cluster: Default, Strict long;
        refused::a_waiting_pod_is_tried_soon_after_an_address_is_free: Default, Strict long;
        preempt::a_device_is_taken_from_the_weaker_in_one_round: Default, Strict long;
        preempt::with_max_pods_one_weaker_pod_goes_and_no_more: Default, Strict long;
        preempt::without_max_pods_nothing_is_evicted_and_nothing_loops: Default, Strict long;
        edges::pods_that_need_nothing_of_ours_go_anywhere: Default, Strict long;
        edges::a_force_deleted_pod_keeps_its_address_until_its_node_says_otherwise: Default, Strict long;
        faults::a_stopped_extender_stops_scheduling_in_strict_mode_only: Default, Strict long;
        faults::a_slow_extender_keeps_to_what_is_promised: Default, Strict;
        faults::a_killed_extender_is_missed_by_nobody: Default;
        faults::an_extender_that_dies_gives_no_address_twice: Strict;
        faults::a_scheduler_that_dies_holds_nothing_for_ever: Default, Strict;
        faults::a_pair_that_dies_together_is_followed_by_one_that_takes_care: Default, Strict long;
        faults::without_the_api_server_no_address_is_given_twice: Default, Strict;
        faults::a_blind_extender_keeps_to_what_is_promised: Default, Strict long;
        faults::a_clock_that_jumps_gives_no_address_twice_and_wakes_as_before: Default, Strict long;
        template::a_pod_that_we_refuse_is_refused_in_tree_too: Default;
        starved::few_nodes_with_addresses_among_many_are_found: Default;
        starved::few_nodes_with_addresses_among_five_thousand_are_found: Default long;
    });
    all.sort_by_key(|(_, scenario)| scenario.mode);
    all
}

/// What the scenarios stand on, for messages.
const BED: &str = "the control plane";
/// Where it stands; fixed, so that the next run finds what a killed one has left.
const DIR: &str = "/var/tmp/tideway-scheduler";
/// Where the logs of a failed run are kept.
const KEPT_LOGS: &str = "/var/tmp/tideway-scheduler-logs";

fn main() -> ExitCode {
    let all = scenarios();
    conduct(BED, &all, |chosen| run(&all, chosen))
}

/// Counts of those that passed and failed.
fn run(
    all: &[(&'static str, Scenario)],
    chosen: &[(&'static str, Scenario)],
) -> Result<(usize, usize)> {
    let short = chosen.len() == all.len() && std::env::var_os("TIDEWAY_LONG").is_none();
    let (long, chosen): (Vec<_>, Vec<_>) =
        chosen.iter().copied().partition(|(_, scenario)| short && scenario.long);
    for (name, _) in long {
        tideway_testkit::skip::skip(name, "takes long: make test-scheduler runs it");
    }
    if chosen.is_empty() {
        return Ok((0, 0));
    }
    let extender = match missing() {
        Ok(extender) => extender,
        Err(reason) => {
            for (name, _) in chosen {
                tideway_testkit::skip::skip(name, &format!("{reason:#}"));
            }
            return Ok((0, 0));
        }
    };
    // Before the first thread: all of them, and all programs, live in there.
    unshare(CloneFlags::CLONE_NEWNET).context("a network namespace of our own")?;
    interrupt::listen()?;
    let report = Report::start();
    let dir = RunDir::at(Path::new(DIR));
    place::claim(&report, &dir)?;
    let counts = guarded(|| {
        let bed = Bed::set_up(&dir, extender)?;
        report.step("the control plane is up");
        let act = |scenario: Scenario| {
            (scenario.conduct)(&bed, scenario.mode)?;
            bed.clear()
        };
        let recover = || {
            bed.spoil();
            bed.recover()
        };
        each(BED, &chosen, act, || bed.stack.told(), recover)
    });
    let failed = !matches!(counts, Ok((_, 0)));
    let problems = place::clean_up(&report, &dir, failed.then_some(Path::new(KEPT_LOGS)));
    if !problems.is_empty() {
        return Err(anyhow!("not clean at the end: {}", problems.join("; ")));
    }
    // Only the directory above those of the run; somebody else's file in it is a reason to leave it.
    drop(std::fs::remove_dir(DIR));
    counts
}

/// The extender's program, or why nothing of this can run here.
fn missing() -> Result<PathBuf> {
    if !nix::unistd::geteuid().is_root() {
        return Err(anyhow!("needs root (a network namespace)"));
    }
    for program in ["ip", "curl", "nft", "setsid"] {
        command::find_program(program).with_context(|| format!("{program} is not installed"))?;
    }
    let own = std::env::current_exe()?;
    let built = own.parent().and_then(Path::parent).context("the directory of programs")?;
    let extender = built.join("tideway-extender");
    if extender.is_file() {
        return Ok(extender);
    }
    Err(anyhow!("{} is not built: cargo build -p tideway-extender", extender.display()))
}
