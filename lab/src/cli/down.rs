//! `down`: ends the process, then removes whatever is left, in this order and whatever failed before.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tideway_lab::fabric;

use super::place::Place;
use super::print;

/// How long each way of ending the process may take.
const PATIENCE: Duration = Duration::from_secs(15);

pub(crate) fn down(place: &Place) -> Result<()> {
    let was_there = place.dir.exists();
    if let Some(pid) = place.process() {
        end(place, pid)?;
    }
    // Without root there can be no namespaces of ours either.
    if nix::unistd::geteuid().is_root() {
        fabric::cleanup(&place.id).context("the lab's network could not be removed entirely")?;
    }
    place.remove(false)?;
    let what = if was_there { "is down" } else { "was not up; nothing is left of it" };
    print::line(&format!("lab {} {what}", place.id));
    Ok(())
}

fn end(place: &Place, pid: i32) -> Result<()> {
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        match kill(Pid::from_raw(pid), signal) {
            Err(nix::errno::Errno::ESRCH) | Ok(()) => {}
            Err(error) => return Err(error).context(format!("process {pid} cannot be ended")),
        }
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            if place.process().is_none() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    bail!("process {pid} of lab {} does not end", place.id)
}
