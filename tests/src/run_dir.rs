//! Where a run keeps its state (pids, logs) and what nodes see or fill (certificates, images, containers).
//!
//! Two places, because `/run` is often small and mounted `noexec`, and CNI plugins are executed from the node's copy.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};

/// Environment variable that moves both directories.
pub const DIR_VARIABLE: &str = "TIDEWAY_DEMO_DIR";

/// The directories of one run.
#[derive(Debug, Clone)]
pub struct RunDir {
    state: PathBuf,
    store: PathBuf,
}

impl RunDir {
    /// `TIDEWAY_DEMO_DIR`, or `/run/tideway-demo` and `/var/lib/tideway-demo`.
    pub fn from_environment() -> Self {
        match std::env::var_os(DIR_VARIABLE) {
            Some(dir) => Self::at(Path::new(&dir)),
            None => {
                Self { state: "/run/tideway-demo".into(), store: "/var/lib/tideway-demo".into() }
            }
        }
    }

    /// Both below one directory.
    pub fn at(dir: &Path) -> Self {
        Self { state: dir.join("state"), store: dir.join("store") }
    }

    /// Makes them, readable for root only: certificates are in there.
    pub fn create(&self) -> Result<()> {
        use std::os::unix::fs::DirBuilderExt as _;
        if self.store.starts_with("/run") {
            bail!(
                "{DIR_VARIABLE}={} is below /run, where each node sees only its own files; remedy: name a directory elsewhere",
                self.store.display()
            );
        }
        for dir in [&self.state, &self.store] {
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(dir)
                .with_context(|| format!("cannot make {}", dir.display()))?;
        }
        for dir in [self.pids(), self.logs()] {
            fs::create_dir_all(dir)?;
        }
        Ok(())
    }

    /// Whether a run is (or was) here.
    pub fn exists(&self) -> bool {
        self.state.exists() || self.store.exists()
    }

    /// Removes everything.
    pub fn remove(&self) -> Result<()> {
        for dir in [&self.store, &self.state] {
            match fs::remove_dir_all(dir) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                    return Err(e).with_context(|| format!("cannot remove {}", dir.display()));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Small files.
    pub fn state(&self) -> &Path {
        &self.state
    }
    /// Large files.
    pub fn store(&self) -> &Path {
        &self.store
    }
    /// One file for each process.
    pub fn pids(&self) -> PathBuf {
        self.state.join("pids")
    }
    /// One file for each process.
    pub fn logs(&self) -> PathBuf {
        self.state.join("logs")
    }
    /// Certificates and kubeconfigs. With the large files, since a node's `/run` hides ours.
    pub fn pki(&self) -> PathBuf {
        self.store.join("pki")
    }
    /// A node's copies of `/run`, `/var/lib/kubelet` and so on.
    pub fn node(&self, name: &str) -> PathBuf {
        self.store.join("nodes").join(name)
    }
}
