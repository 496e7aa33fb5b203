//! Where the Kubernetes binary comes from: `tests/cluster/kubebed`, built once and kept in a cache.

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};

use crate::{command, source};

/// Environment variable that names a binary instead.
pub const BINARY_VARIABLE: &str = "TIDEWAY_KUBEBED";

/// The binary; builds it first when it is not in the cache (the build script says so on stderr and how long it takes).
pub fn binary() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os(BINARY_VARIABLE) {
        return Ok(path.into());
    }
    let script = source("cluster/build.sh");
    let mut build = command::line("bash", [&script]);
    build.stderr(std::process::Stdio::inherit());
    let output = build.output().with_context(|| command::shown(&build))?;
    let path = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    if !output.status.success() || !path.is_file() {
        bail!("the Kubernetes binary could not be built: see above, or run {}", script.display());
    }
    Ok(path)
}
