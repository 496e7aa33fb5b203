//! As many pods as there are units, and more: all units are used, none twice, and the rest says why it waits.

use anyhow::{Result, ensure};

use crate::{
    agent::{Kind, Shape},
    bed::Bed,
    figures::unwelcome,
    objects::{self, Allocatable},
    say,
    stack::{Mode, Pair, Setting},
};

/// On a hundred nodes with five each.
const UNITS: usize = 500;
const MORE: usize = 100;

pub(crate) fn five_hundred_pods_take_five_hundred_addresses(bed: &Bed, mode: Mode) -> Result<()> {
    let shape = Shape::addresses(5);
    full(bed, mode, "exact", shape, Kind::Shared, UNITS)?;
    later(bed, "exact", Kind::Shared)
}

pub(crate) fn of_six_hundred_pods_one_hundred_wait_and_then_go(
    bed: &Bed,
    mode: Mode,
) -> Result<()> {
    full(bed, mode, "shared", Shape::addresses(5), Kind::Shared, UNITS + MORE)?;
    room_for_the_rest(bed, "shared")
}

pub(crate) fn five_hundred_pods_take_five_hundred_devices(bed: &Bed, mode: Mode) -> Result<()> {
    full(bed, mode, "devices", Shape::devices(5), Kind::Exclusive, UNITS)?;
    later(bed, "devices", Kind::Exclusive)
}

pub(crate) fn devices_are_not_given_twice(bed: &Bed, mode: Mode) -> Result<()> {
    full(bed, mode, "exclusive", Shape::devices(5), Kind::Exclusive, UNITS + MORE)?;
    room_for_the_rest(bed, "exclusive")
}

/// The judge of all other scenarios judged: without us the hazard is there, and is seen, also by an extender that nobody asks.
pub(crate) fn alone_the_scheduler_gives_more_than_there_is(bed: &Bed, mode: Mode) -> Result<()> {
    bed.run_with(Setting::of(mode))?;
    bed.namespace("alone")?;
    let shape = Shape::addresses(2);
    bed.stack.start_extender(Pair::First, Setting::of(Mode::Default))?;
    bed.nodes("alone", 10, shape, Allocatable::default())?;
    bed.wait_known(10, shape)?;
    bed.pods("alone", (0..30).map(|i| objects::pod(&format!("p{i}"), Kind::Shared)))?;
    bed.wait_bound("alone", 30)?;
    let seen = bed.world().overshoots.len();
    ensure!(seen >= 10, "{seen} bindings too many were seen, not 10 at least");
    bed.wait("the extender has counted them", |_| {
        let counted = unwelcome("overshoot")?;
        ensure!(counted >= 10.0, "{counted} are counted of {seen}");
        Ok(())
    })?;
    bed.stack.stop(Pair::First.extender())
}

/// So many pods at once: the units are used, each once, and who came too late knows why.
fn full(
    bed: &Bed,
    mode: Mode,
    namespace: &str,
    shape: Shape,
    kind: Kind,
    pods: usize,
) -> Result<()> {
    bed.run_with(Setting::of(mode))?;
    bed.namespace(namespace)?;
    // In-tree sees more of everything than there is: as after others have taken it.
    bed.nodes(namespace, 100, shape, Allocatable::default())?;
    bed.pods(namespace, (0..pods).map(|i| objects::pod(&format!("p{i}"), kind)))?;
    let took = bed.wait_bound(namespace, UNITS)?;
    say(&format!("  {UNITS} of {pods} bound {took:.1?} after the last was created"));
    bed.wait_refused(namespace, pods - UNITS)?;
    bed.never_above()?;
    ensure!(bed.bound(namespace).len() == UNITS, "more pods than units");
    Ok(())
}

/// Pods that come when all is full.
fn later(bed: &Bed, namespace: &str, kind: Kind) -> Result<()> {
    bed.pods(namespace, (0..5).map(|i| objects::pod(&format!("late{i}"), kind)))?;
    bed.wait_refused(namespace, 5)?;
    ensure!(bed.bound(namespace).len() == UNITS, "more pods than units");
    bed.never_above()
}

/// Those that wait go as others are deleted.
fn room_for_the_rest(bed: &Bed, namespace: &str) -> Result<()> {
    let leaving: Vec<String> = bed.bound(namespace).into_iter().take(MORE).collect();
    bed.delete(namespace, &leaving, None)?;
    let took = bed.wait_none_waiting(namespace)?;
    say(&format!("  {MORE} more {took:.1?} after others were deleted"));
    bed.wait_settled(namespace)?;
    bed.never_above()
}

/// Each of two adapters of a node becomes an exclusive ENI or three shared addresses.
pub(crate) fn adapters_that_can_be_either_are_not_given_twice(bed: &Bed, mode: Mode) -> Result<()> {
    bed.run_with(Setting::of(mode))?;
    bed.namespace("mixed")?;
    let shape = Shape { base: 2, adapters: 2, per_adapter: 3 };
    bed.nodes("mixed", 100, shape, Allocatable::default())?;
    let pods = |round: u32| {
        // Two of nine are exclusive: more of both kinds than there is.
        (0..650).map(move |i| {
            let kind = if i % 9 < 2 { Kind::Exclusive } else { Kind::Shared };
            objects::pod(&format!("p{round}-{i}"), kind)
        })
    };
    bed.pods("mixed", pods(0))?;
    bed.wait_settled("mixed")?;
    bed.never_above()?;
    let waiting = bed.waiting("mixed").len();
    ensure!(waiting > 0, "there was room for all: this shows nothing");
    bed.wait_refused("mixed", waiting)?;
    let leaving: Vec<String> = bed.bound("mixed").into_iter().step_by(3).collect();
    bed.delete("mixed", &leaving, None)?;
    bed.wait_settled("mixed")?;
    bed.never_above()
}
