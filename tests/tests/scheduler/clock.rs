//! A wall clock that jumps, for one program: a library of ours is loaded before the system's and adds an offset. No other way
//! is known to do that without changing the machine's clock; programs that do not ask their C library, as the scheduler, keep theirs.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use tideway_e2e::{command, source};

/// The clock of one program.
#[derive(Debug)]
pub(crate) struct Clock {
    library: PathBuf,
    offset: PathBuf,
}

impl Clock {
    /// With the files for it in `dir`; it goes right.
    pub(crate) fn in_dir(dir: &Path) -> Result<Self> {
        let clock = Self { library: dir.join("clock.so"), offset: dir.join("clock.offset") };
        clock.set(0)?;
        let mut cc = command::line("cc", ["-shared", "-fPIC", "-O2", "-Wall", "-Werror", "-o"]);
        cc.arg(&clock.library).arg(source("tests/scheduler/clock.c"));
        command::run(&mut cc).context("the library that moves a clock")?;
        Ok(clock)
    }

    /// What the program must have in its environment.
    pub(crate) fn environment(&self) -> [(&'static str, &Path); 2] {
        [("LD_PRELOAD", &self.library), ("CLOCK_OFFSET", &self.offset)]
    }

    /// From now on it is off by so many seconds.
    pub(crate) fn set(&self, seconds: i64) -> Result<()> {
        // Renamed, so that it is never read half written.
        let new = self.offset.with_extension("new");
        fs::write(&new, seconds.to_string())?;
        fs::rename(&new, &self.offset).with_context(|| format!("{}", self.offset.display()))
    }
}
