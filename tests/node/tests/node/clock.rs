//! A machine whose wall clock is wrong. The daemon's alone is moved: a library of ours is loaded before the system's.

use std::{fs, process::Command};

use anyhow::{Result, ensure};
use tideway_node_tests::{Bed, Node, Pod, Setup, netns};

use crate::run::run_on_both;

/// From the next start on the daemon's wall clock is off by so many seconds.
fn set_clock(here: &mut Node, seconds: i64) -> Result<()> {
    let (library, offset) = (here.file("clock.so"), here.file("clock.offset"));
    fs::write(&offset, seconds.to_string())?;
    if library.exists() {
        return Ok(());
    }
    let mut cc = Command::new("cc");
    cc.args(["-shared", "-fPIC", "-O2", "-o"]).arg(&library).arg("../tests/scheduler/clock.c");
    netns::checked(&mut cc)?;
    let text = |path: std::path::PathBuf| path.display().to_string();
    here.env.extend([("LD_PRELOAD", text(library)), ("CLOCK_OFFSET", text(offset))]);
    Ok(())
}

fn life_of_a_pod(bed: &Bed) -> Result<()> {
    let here = bed.node(0)?;
    here.warm()?;
    let pod = Pod::new("p")?;
    here.add(&pod)?;
    pod.reaches(bed.target()?)?;
    here.del(&pod)?;
    ensure!(here.log().contains("clock"), "nobody was told");
    Ok(())
}

/// Ten hours ahead every key of the role seems to have ended.
#[test]
fn a_node_whose_clock_is_hours_off_works_by_the_clouds_time_and_says_so() {
    run_on_both(&Setup::default().cold(), |bed| {
        set_clock(bed.node_mut(0)?, 36_000)?;
        bed.node_mut(0)?.start()?;
        life_of_a_pod(bed)?;
        bed.node_mut(0)?.stop()?;
        // It has been set right, and too far: tags and journal are of the future.
        set_clock(bed.node_mut(0)?, -3600)?;
        bed.node_mut(0)?.start()?;
        life_of_a_pod(bed)
    });
}
