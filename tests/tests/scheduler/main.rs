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
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Instant,
};

use anyhow::{Context as _, Result, anyhow};
use nix::sched::{CloneFlags, unshare};
use tideway_e2e::{
    command,
    demo::{place, report::Report},
    interrupt,
    run_dir::RunDir,
    scenarios::{conduct, say},
};

use crate::{
    bed::Bed,
    scenarios::{edges, faults, full, late, preempt, refused, skew, starved, template},
    stack::Mode,
};

/// A scenario, and who decides in it.
type Scenario = (fn(&Bed, Mode) -> Result<()>, Mode);

/// Those in strict mode are called so.
macro_rules! scenarios {
    (@name Strict $name:ident) => { concat!("strict_", stringify!($name)) };
    (@name $mode:ident $name:ident) => { stringify!($name) };
    ($($mode:ident { $($module:ident::$name:ident),* $(,)? })*) => {
        &[$($((scenarios!(@name $mode $name), ($module::$name, Mode::$mode))),*),*]
    };
}

/// In the order in which they run: those of one setting stand together, since another one starts both programs anew.
const SCENARIOS: &[(&str, Scenario)] = scenarios! {
    Default {
        full::five_hundred_pods_take_five_hundred_addresses,
        full::of_six_hundred_pods_one_hundred_wait_and_then_go,
        full::five_hundred_pods_take_five_hundred_devices,
        full::devices_are_not_given_twice,
        full::adapters_that_can_be_either_are_not_given_twice,
        refused::refused_pods_rest_in_a_quiet_cluster,
        refused::a_waiting_pod_is_tried_soon_after_an_address_is_free,
        preempt::a_device_is_taken_from_the_weaker_in_one_round,
        preempt::with_max_pods_one_weaker_pod_goes_and_no_more,
        preempt::without_max_pods_nothing_is_evicted_and_nothing_loops,
        edges::pods_that_need_nothing_of_ours_go_anywhere,
        edges::a_force_deleted_pod_keeps_its_address_until_its_node_says_otherwise,
        faults::a_stopped_extender_stops_scheduling_in_strict_mode_only,
        faults::a_slow_extender_keeps_to_what_is_promised,
        faults::a_killed_extender_is_missed_by_nobody,
        faults::a_scheduler_that_dies_holds_nothing_for_ever,
        faults::a_pair_that_dies_together_is_followed_by_one_that_takes_care,
        faults::without_the_api_server_no_address_is_given_twice,
        faults::a_blind_extender_keeps_to_what_is_promised,
        starved::few_nodes_with_addresses_among_many_are_found,
        template::a_pod_that_we_refuse_is_refused_in_tree_too,
        faults::a_leader_that_dies_is_followed_by_the_other_pair,
        late::a_volume_that_binds_later_than_a_hold_keeps_its_address,
        late::a_permit_that_outlasts_a_hold,
    }
    Strict {
        late::a_permit_that_outlasts_a_hold,
        late::a_volume_that_binds_later_than_a_hold_keeps_its_address,
        full::five_hundred_pods_take_five_hundred_addresses,
        full::of_six_hundred_pods_one_hundred_wait_and_then_go,
        full::five_hundred_pods_take_five_hundred_devices,
        full::devices_are_not_given_twice,
        full::adapters_that_can_be_either_are_not_given_twice,
        refused::refused_pods_rest_in_a_quiet_cluster,
        refused::a_waiting_pod_is_tried_soon_after_an_address_is_free,
        preempt::a_device_is_taken_from_the_weaker_in_one_round,
        preempt::with_max_pods_one_weaker_pod_goes_and_no_more,
        preempt::without_max_pods_nothing_is_evicted_and_nothing_loops,
        edges::pods_that_need_nothing_of_ours_go_anywhere,
        edges::a_force_deleted_pod_keeps_its_address_until_its_node_says_otherwise,
        faults::a_stopped_extender_stops_scheduling_in_strict_mode_only,
        faults::a_slow_extender_keeps_to_what_is_promised,
        faults::an_extender_that_dies_gives_no_address_twice,
        faults::a_scheduler_that_dies_holds_nothing_for_ever,
        faults::a_pair_that_dies_together_is_followed_by_one_that_takes_care,
        faults::without_the_api_server_no_address_is_given_twice,
        faults::a_blind_extender_keeps_to_what_is_promised,
        starved::few_nodes_with_addresses_among_many_are_found,
        faults::a_leader_that_dies_is_followed_by_the_other_pair,
    }
    Bare {
        full::alone_the_scheduler_gives_more_than_there_is,
    }
    Default {
        skew::a_deployment_is_spread_as_without_us,
    }
};

/// Minutes long, or a repetition in the other mode: run by `make test-scheduler`, or when named.
const LONG: &[&str] = &[
    "a_leader_that_dies_is_followed_by_the_other_pair",
    "strict_a_blind_extender_keeps_to_what_is_promised",
    "strict_a_force_deleted_pod_keeps_its_address_until_its_node_says_otherwise",
    "strict_a_leader_that_dies_is_followed_by_the_other_pair",
    "strict_a_pair_that_dies_together_is_followed_by_one_that_takes_care",
    "strict_a_permit_that_outlasts_a_hold",
    "strict_a_volume_that_binds_later_than_a_hold_keeps_its_address",
    "strict_a_device_is_taken_from_the_weaker_in_one_round",
    "strict_a_stopped_extender_stops_scheduling_in_strict_mode_only",
    "strict_a_waiting_pod_is_tried_soon_after_an_address_is_free",
    "strict_few_nodes_with_addresses_among_many_are_found",
    "strict_pods_that_need_nothing_of_ours_go_anywhere",
    "strict_refused_pods_rest_in_a_quiet_cluster",
    "strict_with_max_pods_one_weaker_pod_goes_and_no_more",
    "strict_without_max_pods_nothing_is_evicted_and_nothing_loops",
];

/// Where the control plane stands; fixed, so that the next run finds what a killed one has left.
const DIR: &str = "/var/tmp/tideway-scheduler";
/// Where the logs of a failed run are kept.
const KEPT_LOGS: &str = "/var/tmp/tideway-scheduler-logs";

fn main() -> ExitCode {
    conduct("the control plane", SCENARIOS, run)
}

/// Counts of those that passed and failed.
fn run(chosen: &[(&'static str, Scenario)]) -> Result<(usize, usize)> {
    let all = chosen.len() == SCENARIOS.len() && std::env::var_os("TIDEWAY_LONG").is_none();
    let (long, chosen): (Vec<_>, Vec<_>) =
        chosen.iter().copied().partition(|(name, _)| all && LONG.contains(name));
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
        on_bed(&bed, &chosen)
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

fn on_bed(bed: &Bed, chosen: &[(&str, Scenario)]) -> Result<(usize, usize)> {
    let (mut passed, mut failed) = (0, 0);
    for (name, (scenario, mode)) in chosen {
        interrupt::check()?;
        let began = Instant::now();
        let outcome = guarded(|| {
            scenario(bed, *mode)?;
            bed.clear()
        });
        let seconds = began.elapsed().as_secs_f64();
        let Err(error) = outcome else {
            passed += 1;
            say(&format!("test {name} ... ok ({seconds:.1} s)"));
            continue;
        };
        failed += 1;
        let told = bed.stack.told();
        say(&format!("test {name} ... FAILED ({seconds:.1} s)\n{error:#}\n{told}"));
        bed.spoil();
        if let Err(error) = guarded(|| bed.recover()) {
            say(&format!("the control plane cannot be used any more: {error:#}"));
            failed = chosen.len() - passed;
            break;
        }
    }
    Ok((passed, failed))
}

/// A panic is a failure like any other: everything is ended after it.
fn guarded<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|t| (*t).to_owned()));
        Err(anyhow!("panicked: {}", text.unwrap_or_default()))
    })
}
