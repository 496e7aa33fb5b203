//! Watches the plugin directory: which socket is there, and when to look again.
//!
//! Inotify gives the speed, a look each second the certainty (events get lost when the directory itself is replaced). Where
//! inotify cannot be had (limits of the user), the look comes often enough to keep the 200 ms of the contract.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use tokio::net::unix::pipe;

const LOOK: Duration = Duration::from_secs(1);
const LOOK_WITHOUT_INOTIFY: Duration = Duration::from_millis(50);

/// Which file a path leads to. The inode of `kubelet.sock` stays the same over a restart, its change time does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileIdentity {
    device: u64,
    inode: u64,
    changed: (i64, i64),
}

impl FileIdentity {
    fn of(metadata: &std::fs::Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// The socket at `path`; `None` if there is none.
    pub(crate) fn of_socket(path: &Path) -> Option<Self> {
        let metadata = std::fs::symlink_metadata(path).ok()?;
        metadata.file_type().is_socket().then(|| Self::of(&metadata))
    }

    /// The same file, whatever happened to its attributes.
    pub(crate) fn same_file(self, other: Self) -> bool {
        (self.device, self.inode) == (other.device, other.inode)
    }
}

/// Tells when something may have changed in a directory, also one that does not exist yet.
#[derive(Debug)]
pub(crate) struct DirectoryWatch {
    dir: PathBuf,
    /// The watched directory and its event queue.
    watched: Option<(FileIdentity, Queue)>,
}

impl DirectoryWatch {
    pub(crate) fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned(), watched: None }
    }

    /// Returns when it is time to look again. A change is never missed: it is seen at the latest by the next regular look.
    pub(crate) async fn changed(&mut self) {
        let here = std::fs::metadata(&self.dir).ok().map(|m| FileIdentity::of(&m));
        let stale = match (&self.watched, here) {
            (Some((watched, _)), Some(here)) => !watched.same_file(here),
            (None, Some(_)) | (Some(_), None) => true,
            (None, None) => false,
        };
        if stale {
            self.watched = here.and_then(|id| Some((id, Queue::open(&self.dir).ok()?)));
            if self.watched.is_some() {
                return; // What happened before the watch began is seen by the look that follows.
            }
        }
        let Some((_, queue)) = &self.watched else {
            tokio::time::sleep(LOOK_WITHOUT_INOTIFY).await;
            return;
        };
        let broken = tokio::select! {
            read = queue.next() => read.is_err(),
            () = tokio::time::sleep(LOOK) => false,
        };
        if broken {
            self.watched = None;
        }
    }

    /// Waits until `condition` holds, which is asked first at once.
    pub(crate) async fn until(&mut self, condition: impl Fn() -> bool) {
        while !condition() {
            self.changed().await;
        }
    }
}

/// An inotify queue with one directory in it. Tokio's reader of pipes also reads this descriptor, and without `unsafe`.
#[derive(Debug)]
struct Queue(pipe::Receiver);

impl Queue {
    fn open(dir: &Path) -> io::Result<Self> {
        let queue = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
        let flags = AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_MOVED_TO
            | AddWatchFlags::IN_DELETE
            | AddWatchFlags::IN_MOVED_FROM
            | AddWatchFlags::IN_DELETE_SELF
            | AddWatchFlags::IN_MOVE_SELF;
        queue.add_watch(dir, flags)?;
        pipe::Receiver::from_owned_fd_unchecked(OwnedFd::from(queue)).map(Self)
    }

    /// Waits for events and takes them; which ones does not matter, the caller looks at the files.
    async fn next(&self) -> io::Result<()> {
        loop {
            self.0.readable().await?;
            let mut events = [0; 4096];
            match self.0.try_read(&mut events) {
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }
}
