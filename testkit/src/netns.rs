//! Network namespaces that live as long as a value.
//!
//! A thread of its own unshares, pins the namespace by a bind mount and then stays inside it, waiting for work. So no
//! thread of the test ever changes its namespace, and no `setns` is needed here. Dropping the value ends the thread and
//! removes the mount, also while a failed test unwinds.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
    sync::mpsc,
    thread::JoinHandle,
};

use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, unshare},
};

type Job = Box<dyn FnOnce() + Send>;

/// A network namespace pinned at a path.
#[derive(Debug)]
pub struct Netns {
    path: PathBuf,
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
    // Holds the directory of an anonymous namespace.
    _dir: Option<tempfile::TempDir>,
}

impl Netns {
    /// A namespace under `/run/netns`, so that `ip netns` and `ip -n` know it. Use a prefix that no other test uses.
    pub fn named(name: &str) -> io::Result<Self> {
        let dir = Path::new("/run/netns");
        std::fs::create_dir_all(dir)?;
        Self::pinned(dir.join(name), None)
    }

    /// A namespace in a temporary directory, as container runtimes keep them.
    pub fn anonymous() -> io::Result<Self> {
        let dir = tempfile::tempdir()?;
        Self::pinned(dir.path().join("net"), Some(dir))
    }

    fn pinned(path: PathBuf, dir: Option<tempfile::TempDir>) -> io::Result<Self> {
        File::create_new(&path)?;
        let (ready_tx, ready_rx) = mpsc::channel();
        let (jobs, inbox) = mpsc::channel::<Job>();
        let target = path.clone();
        let thread = std::thread::spawn(move || {
            let entered = unshare_and_pin(&target);
            let fine = entered.is_ok();
            if ready_tx.send(entered).is_ok() && fine {
                for job in inbox {
                    job();
                }
            }
        });
        let this = Self { path, jobs: Some(jobs), thread: Some(thread), _dir: dir };
        ready_rx.recv().map_err(io::Error::other)??;
        Ok(this)
    }

    /// Path for `CNI_NETNS`.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path as text.
    pub fn path_text(&self) -> String {
        self.path.display().to_string()
    }

    /// Runs `job` on the thread that lives in the namespace and returns its answer. Processes that it starts are inside
    /// too; `/sys` still shows the namespace that mounted it.
    pub fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<T> {
        let (tx, rx) = mpsc::channel();
        let boxed: Job = Box::new(move || drop(tx.send(job())));
        let gone =
            || io::Error::other("the thread of the namespace ended: an earlier job panicked");
        self.jobs.as_ref().ok_or_else(gone)?.send(boxed).map_err(|_unsent| gone())?;
        rx.recv().map_err(io::Error::other)
    }

    /// Destroys the namespace's pin now, as a runtime does before the second DEL; the path is gone afterwards.
    pub fn destroy(&mut self) {
        drop(self.jobs.take());
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
        // Nothing to do about a pin that is gone already: that is what was wanted.
        umount2(&self.path, MntFlags::MNT_DETACH).unwrap_or_default();
        drop(std::fs::remove_file(&self.path));
    }
}

fn unshare_and_pin(target: &Path) -> io::Result<()> {
    unshare(CloneFlags::CLONE_NEWNET)?;
    mount(Some("/proc/thread-self/ns/net"), target, None::<&str>, MsFlags::MS_BIND, None::<&str>)?;
    Ok(())
}

impl Drop for Netns {
    fn drop(&mut self) {
        self.destroy();
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    fn inode(path: &str) -> u64 {
        std::fs::metadata(path).unwrap().ino()
    }

    #[test]
    fn a_namespace_is_another_one_and_leaves_no_mount_behind() {
        if !crate::requires_root("a_namespace_is_another_one_and_leaves_no_mount_behind") {
            return;
        }
        let netns = Netns::anonymous().unwrap();
        let path = netns.path_text();
        assert_ne!(inode(&path), inode("/proc/self/ns/net"));
        let seen = netns.run(|| inode("/proc/thread-self/ns/net")).unwrap();
        assert_eq!(seen, inode(&path));
        drop(netns);
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains(&path), "{path} is still mounted");
    }
}
