//! As many pods as there are units, and more: all units are used, none twice, and the rest says why it waits.

use anyhow::{Result, ensure};

use crate::{
    agent::{Kind, Shape},
    bed::Bed,
    objects::{self, Allocatable},
    say,
    stack::{Mode, Setting},
};

pub(crate) fn five_hundred_addresses_take_five_hundred_pods_and_no_more(bed: &Bed) -> Result<()> {
    shared(bed, Mode::Default)
}
pub(crate) fn strict_five_hundred_addresses_take_five_hundred_pods_and_no_more(
    bed: &Bed,
) -> Result<()> {
    shared(bed, Mode::Strict)
}
pub(crate) fn devices_are_not_given_twice(bed: &Bed) -> Result<()> {
    exclusive(bed, Mode::Default)
}
pub(crate) fn strict_devices_are_not_given_twice(bed: &Bed) -> Result<()> {
    exclusive(bed, Mode::Strict)
}
pub(crate) fn adapters_that_can_be_either_are_not_given_twice(bed: &Bed) -> Result<()> {
    mixed(bed, Mode::Default)
}
pub(crate) fn strict_adapters_that_can_be_either_are_not_given_twice(bed: &Bed) -> Result<()> {
    mixed(bed, Mode::Strict)
}

/// The judge of all other scenarios judged: without us the hazard is there, and is seen.
pub(crate) fn alone_the_scheduler_gives_more_than_there_is(bed: &Bed) -> Result<()> {
    bed.run_with(Setting::of(Mode::Bare))?;
    bed.namespace("alone")?;
    bed.nodes("alone", 10, Shape::addresses(2), Allocatable::default())?;
    bed.pods("alone", (0..30).map(|i| objects::pod(&format!("p{i}"), Kind::Shared)))?;
    bed.wait_bound("alone", 30)?;
    let seen = bed.world().overshoots.len();
    ensure!(seen >= 10, "{seen} bindings too many were seen, not 10 at least");
    Ok(())
}

fn shared(bed: &Bed, mode: Mode) -> Result<()> {
    bed.run_with(Setting::of(mode))?;
    bed.namespace("shared")?;
    bed.nodes("shared", 100, Shape::addresses(5), Allocatable::default())?;
    exactly_full(bed, "shared", Kind::Shared, 500, 100)
}

fn exclusive(bed: &Bed, mode: Mode) -> Result<()> {
    bed.run_with(Setting::of(mode))?;
    bed.namespace("exclusive")?;
    // In-tree sees more devices than there are ENIs: as after ENIs were attached by others.
    bed.nodes("exclusive", 20, Shape::devices(4), Allocatable::default())?;
    exactly_full(bed, "exclusive", Kind::Exclusive, 80, 20)
}

/// `units` of all pods find a place, `more` wait, and go as others are deleted.
fn exactly_full(bed: &Bed, namespace: &str, kind: Kind, units: usize, more: usize) -> Result<()> {
    bed.pods(namespace, (0..units + more).map(|i| objects::pod(&format!("p{i}"), kind)))?;
    let took = bed.wait_bound(namespace, units)?;
    bed.wait_refused(namespace, more)?;
    bed.never_above()?;
    ensure!(bed.bound(namespace).len() == units, "more pods than units");
    let leaving: Vec<String> = bed.bound(namespace).into_iter().take(more).collect();
    bed.delete(namespace, &leaving, None)?;
    let again = bed.wait_none_waiting(namespace)?;
    say(&format!(
        "  {units} bound {took:.1?} after the last was created, {more} more {again:.1?} after others were deleted"
    ));
    bed.wait_settled(namespace)?;
    bed.never_above()
}

/// Each of two adapters of a node becomes an exclusive ENI or three shared addresses.
fn mixed(bed: &Bed, mode: Mode) -> Result<()> {
    bed.run_with(Setting::of(mode))?;
    bed.namespace("mixed")?;
    let shape = Shape { base: 2, adapters: 2, per_adapter: 3 };
    bed.nodes("mixed", 20, shape, Allocatable::default())?;
    let pods = |round: u32| {
        // Two of nine are exclusive: more of both kinds than there is.
        (0..130).map(move |i| {
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
