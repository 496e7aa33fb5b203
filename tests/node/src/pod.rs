//! A pod sandbox: names, and a network namespace of its own.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use anyhow::{Context as _, Result};
use tideway_testkit::Netns;

/// A sandbox. The namespace goes with the value.
#[derive(Debug)]
pub struct Pod {
    /// Name in the namespace `default`.
    pub name: String,
    /// UID.
    pub uid: String,
    /// `CNI_CONTAINERID`.
    pub container: String,
    /// `CNI_NETNS`; stays the same text when the namespace is gone.
    pub netns: PathBuf,
    space: Netns,
}

impl Pod {
    /// A pod with its first sandbox.
    pub fn new(name: &str) -> Result<Self> {
        Self::sandbox(name, &format!("uid-{name}-{}", number()))
    }

    /// The same pod in a new sandbox: what a kubelet makes when the first one was killed.
    pub fn again(&self) -> Result<Self> {
        Self::sandbox(&self.name, &self.uid)
    }

    fn sandbox(name: &str, uid: &str) -> Result<Self> {
        let (process, number) = (std::process::id(), number());
        // Where the runtimes keep them.
        let space = Netns::named(&format!("cni-tw-{process}-{number}"));
        let space = space.context("a pod's network namespace")?;
        Ok(Self {
            name: name.to_owned(),
            uid: uid.to_owned(),
            container: format!("{process:032x}{number:032x}"),
            netns: space.path().to_owned(),
            space,
        })
    }

    /// Destroys the namespace, as a runtime does before its second DEL, or a crash does at any time.
    pub fn destroy_namespace(&mut self) {
        self.space.destroy();
    }

    /// Waits for an answer to a ping from inside the pod.
    pub fn reaches(&self, target: IpAddr) -> Result<()> {
        crate::netns::reaches(&format!("from pod {}", self.name), self.path(), target)
    }

    /// Does something inside, on the namespace's own thread.
    pub fn inside<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T> {
        self.space.run(work).with_context(|| format!("inside of pod {}", self.name))
    }

    /// For commands inside.
    pub fn path(&self) -> &Path {
        &self.netns
    }
}

fn number() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}
