//! What the machine must have, asked before anything is made. What is missing is installed where that can be done, and
//! otherwise named, all of it in one message with the remedies.

pub mod kernel;
pub mod packages;

use anyhow::{Result, bail};

use crate::cgroup::Hierarchies;

/// Checks rights, packages, kernel and cgroups.
pub fn check() -> Result<Hierarchies> {
    if !nix::unistd::geteuid().is_root() {
        bail!(
            "root is needed for network namespaces, mounts and cgroups; remedy: run as root (sudo -E make demo)"
        );
    }
    packages::ensure()?;
    let mut findings = kernel::missing();
    let hierarchies = Hierarchies::detect().and_then(|h| h.check().map(|()| h));
    match hierarchies {
        Ok(hierarchies) if findings.is_empty() => Ok(hierarchies),
        outcome => {
            findings.extend(outcome.err().map(|e| e.to_string()));
            bail!("this machine lacks what a node needs:\n  - {}", findings.join("\n  - "));
        }
    }
}
