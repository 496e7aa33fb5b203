//! Network namespaces: the only place that changes a thread's namespace.
//!
//! `setns` changes one thread. [`Namespace::within`] therefore takes a plain closure, never a future: no await can move the task
//! to another thread while this one is away from home. Coming back cannot fail, or the process aborts: a thread that stays in a
//! pod's namespace would plumb later pods into it. Namespaces are compared by (device, inode), never by path.

use std::{
    fs::File,
    io,
    os::{fd::AsFd, unix::fs::MetadataExt},
    path::Path,
};

use nix::{
    sched::CloneFlags,
    sys::statfs::{NSFS_MAGIC, fstatfs},
};

use crate::DatapathError;

/// Identity of a namespace while it lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NamespaceId {
    dev: u64,
    ino: u64,
}

/// An open network namespace. Holding it keeps the namespace alive: keep those of pods for one job only.
#[derive(Debug)]
pub struct Namespace {
    file: File,
    id: NamespaceId,
}

impl Namespace {
    fn from_file(file: File) -> io::Result<Self> {
        let meta = file.metadata()?;
        Ok(Self { id: NamespaceId { dev: meta.dev(), ino: meta.ino() }, file })
    }

    /// The namespace of the calling thread.
    pub fn current() -> io::Result<Self> {
        Self::from_file(File::open("/proc/thread-self/ns/net")?)
    }

    /// Opens any network namespace by its path, such as a host that is not the caller's.
    pub fn open(path: &Path) -> io::Result<Self> {
        Self::from_file(File::open(path)?)
    }

    /// Opens a pod's namespace by the path that the runtime gave. The host's own is refused, and what is no namespace:
    /// a path whose mount is gone is an ordinary empty file.
    pub fn open_pod(path: &str, host: &Self) -> Result<Self, DatapathError> {
        let gone = || DatapathError::NamespaceGone { path: path.to_owned() };
        let failed = |source| DatapathError::Namespace { path: path.to_owned(), source };
        let refused = |why| DatapathError::NamespaceRefused { path: path.to_owned(), why };
        if path.is_empty() {
            return Err(gone());
        }
        if !Path::new(path).is_absolute() {
            return Err(refused("the path is not absolute"));
        }
        let file = match File::open(path) {
            Ok(file) => file,
            Err(e)
                if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) =>
            {
                return Err(gone());
            }
            Err(e) => return Err(failed(e)),
        };
        let fs = fstatfs(&file).map_err(|e| failed(e.into()))?;
        if fs.filesystem_type() != NSFS_MAGIC {
            let empty = file.metadata().is_ok_and(|m| m.is_file() && m.len() == 0);
            return Err(if empty { gone() } else { refused("it is no namespace") });
        }
        let pod = Self::from_file(file).map_err(failed)?;
        if pod.id == host.id {
            return Err(refused("it is the host's own"));
        }
        Ok(pod)
    }

    /// Identity.
    pub fn id(&self) -> NamespaceId {
        self.id
    }

    /// The open file, for messages that name a namespace by descriptor.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Runs `work` with the calling thread in this namespace and brings the thread back.
    pub fn within<T>(&self, work: impl FnOnce() -> T) -> io::Result<T> {
        let home = Self::current()?;
        if home.id == self.id {
            return Ok(work());
        }
        enter(&self.file)?;
        let _back = Return(home);
        Ok(work())
    }
}

/// Brings the thread home, also when the work panics.
struct Return(Namespace);

impl Drop for Return {
    fn drop(&mut self) {
        if let Err(error) = enter(&self.0.file) {
            tracing::error!(%error, "a thread cannot leave a pod's network namespace: aborting");
            std::process::abort();
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "this module is the one that may")]
fn enter(file: &File) -> io::Result<()> {
    nix::sched::setns(file.as_fd(), CloneFlags::CLONE_NEWNET).map_err(Into::into)
}
