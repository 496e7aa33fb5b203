//! The programs that the demo runs, found beside its own binary: they come from the same build.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

/// Paths of our programs.
#[derive(Debug, Clone)]
pub struct Binaries {
    /// `tideway-lab`.
    pub lab: PathBuf,
    /// `tidewayd`.
    pub daemon: PathBuf,
    /// `tideway`.
    pub cli: PathBuf,
    /// `tideway-extender`.
    pub extender: PathBuf,
    /// `tideway-cni`, static.
    pub cni: PathBuf,
    /// `tideway-probe`, static.
    pub probe: PathBuf,
}

/// Where `cni/build.sh` puts the static ones, below the target directory.
const STATIC: &str = "static";

impl Binaries {
    /// Looks in the directory of this program, and in that of the static ones in the same target directory.
    pub fn find() -> Result<Self> {
        let own = std::env::current_exe().context("own path")?;
        let plain = own.parent().context("own directory")?;
        // A test lives one level deeper, in `deps`.
        let plain = if plain.ends_with("deps") { plain.parent().unwrap_or(plain) } else { plain };
        let target = plain.parent().context("target directory")?;
        let found = Self {
            lab: plain.join("tideway-lab"),
            daemon: plain.join("tidewayd"),
            cli: plain.join("tideway"),
            extender: plain.join("tideway-extender"),
            cni: target.join(STATIC).join("tideway-cni"),
            probe: target.join(STATIC).join("tideway-probe"),
        };
        found.check()?;
        Ok(found)
    }

    fn check(&self) -> Result<()> {
        let all = [&self.lab, &self.daemon, &self.cli, &self.extender, &self.cni, &self.probe];
        let absent: Vec<String> =
            all.iter().filter(|p| !p.is_file()).map(|p| Path::display(p).to_string()).collect();
        if absent.is_empty() {
            return Ok(());
        }
        bail!(
            "not built: {}; remedy: make demo builds them, or cargo build them as the Makefile does",
            absent.join(", ")
        );
    }
}
