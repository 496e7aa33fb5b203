//! Where the programs under test are. They are built beforehand: a test that calls cargo would wait for cargo's own lock.

use std::{
    env,
    path::{Path, PathBuf},
};

use anyhow::{Result, bail};

/// Directory with `tidewayd`, `tideway-lab` and, unless told otherwise, `tideway-cni`.
pub const BIN: &str = "TIDEWAY_BIN";
/// The plugin, when another build of it is wanted.
pub const CNI: &str = "TIDEWAY_CNI";

/// `tidewayd`.
pub fn daemon() -> Result<PathBuf> {
    existing(directory()?.join("tidewayd"))
}

/// `tideway`.
pub fn cli() -> Result<PathBuf> {
    existing(directory()?.join("tideway"))
}

/// `tideway-lab`.
pub fn lab() -> Result<PathBuf> {
    existing(directory()?.join("tideway-lab"))
}

/// `tideway-cni`.
pub fn plugin() -> Result<PathBuf> {
    match env::var_os(CNI) {
        Some(path) => existing(path.into()),
        None => existing(directory()?.join("tideway-cni")),
    }
}

/// `TIDEWAY_BIN`, else the directory that this test was built into (`…/debug/deps/` is one below it).
fn directory() -> Result<PathBuf> {
    if let Some(dir) = env::var_os(BIN) {
        return Ok(dir.into());
    }
    let me = env::current_exe()?;
    match me.parent().and_then(Path::parent) {
        Some(dir) => Ok(dir.to_owned()),
        None => bail!("{} lies in no target directory; set {BIN}", me.display()),
    }
}

fn existing(path: PathBuf) -> Result<PathBuf> {
    if path.is_file() {
        return Ok(path);
    }
    bail!(
        "{} is missing; build it with `cargo build -p tidewayd -p tideway-cni -p tideway-cli -p tideway-lab`, or name the directory \
         of the programs in {BIN}",
        path.display()
    )
}
