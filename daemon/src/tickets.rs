//! Release tickets: a DEL that came while the daemon was away is one file in a directory. They are drained at start and
//! whenever a new one appears, some at a time: a pod whose withdrawal does not end keeps its own ticket waiting, and no other.

use std::{
    collections::BTreeSet,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use serde::Deserialize;
use tideway_cloud::Cloud;
use tideway_model::{AttachmentKey, ContainerId, IfName};
use tokio::{net::unix::pipe, task::JoinSet};
use tokio_util::sync::CancellationToken;

use crate::service::Service;

/// Between two drains even when no notification came (the directory may be on a file system without them).
const SAFETY_NET: Duration = Duration::from_secs(30);

/// Before a ticket that could not be worked off is taken up again.
const AGAIN: Duration = Duration::from_secs(2);

/// Most tickets in work at one time.
const AT_ONCE: usize = 64;

/// The file's content, as `tideway-cni` writes it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Ticket {
    container_id: String,
    ifname: String,
}

/// Drains until cancelled.
pub async fn watch<C: Cloud>(dir: PathBuf, service: Arc<Service<C>>, cancel: CancellationToken) {
    let notify = match notifier(&dir) {
        Ok(notify) => Some(notify),
        Err(e) => {
            tracing::warn!(dir = %dir.display(), error = %e, "release tickets are polled: the directory cannot be watched");
            None
        }
    };
    let mut work = InWork::default();
    loop {
        work.take(&dir, |key| {
            let service = Arc::clone(&service);
            async move { service.release(key).await.is_ok() }
        });
        let changed = async {
            match &notify {
                Some(queue) => match queue.readable().await {
                    Ok(()) => drop(queue.try_read(&mut [0; 4096])),
                    Err(_closed) => tokio::time::sleep(SAFETY_NET).await,
                },
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = cancel.cancelled() => return,
            () = changed => {}
            () = work.one_ended() => {}
            () = tokio::time::sleep(SAFETY_NET) => {}
        }
    }
}

/// An inotify queue with the directory in it. Tokio's reader of pipes reads this descriptor too.
fn notifier(dir: &Path) -> std::io::Result<pipe::Receiver> {
    let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
    inotify.add_watch(dir, AddWatchFlags::IN_MOVED_TO | AddWatchFlags::IN_CLOSE_WRITE)?;
    pipe::Receiver::from_owned_fd_unchecked(OwnedFd::from(inotify))
}

/// Tickets in work.
#[derive(Debug, Default)]
struct InWork {
    tasks: JoinSet<PathBuf>,
    paths: BTreeSet<PathBuf>,
}

impl InWork {
    /// Starts on tickets that nobody works on yet. `release` is true when the attachment is released; it is false while that
    /// cannot be made durable, and at the daemon's end.
    fn take<F>(&mut self, dir: &Path, release: impl Fn(AttachmentKey) -> F)
    where
        F: Future<Output = bool> + Send + 'static,
    {
        let Ok(entries) = std::fs::read_dir(dir) else { return };
        for entry in entries.flatten() {
            let path = entry.path();
            // A leading dot marks a ticket that is still being written.
            let written = !entry.file_name().to_string_lossy().starts_with('.');
            if !written || self.paths.contains(&path) {
                continue;
            }
            if self.tasks.len() >= AT_ONCE {
                return;
            }
            let key = match read(&path) {
                Ok(key) => key,
                Err(e) => {
                    tracing::warn!(ticket = %path.display(), error = %e, "a release ticket cannot be read; it is set aside");
                    let aside = path
                        .with_file_name(format!(".bad-{}", entry.file_name().to_string_lossy()));
                    drop(std::fs::rename(&path, aside));
                    continue;
                }
            };
            self.paths.insert(path.clone());
            let released = release(key);
            self.tasks.spawn(async move {
                // Removed only now: a crash before this repeats the release, which does no harm.
                if !(released.await && std::fs::remove_file(&path).is_ok()) {
                    tokio::time::sleep(AGAIN).await;
                }
                path
            });
        }
    }

    /// Waits until some are done; for ever while none is in work.
    async fn one_ended(&mut self) {
        let Some(mut ended) = self.tasks.join_next().await else {
            return std::future::pending().await;
        };
        loop {
            if let Ok(path) = ended {
                self.paths.remove(&path);
            }
            let Some(next) = self.tasks.try_join_next() else { return };
            ended = next;
        }
    }
}

fn read(path: &Path) -> anyhow::Result<AttachmentKey> {
    let ticket: Ticket = serde_json::from_slice(&std::fs::read(path)?)?;
    Ok(AttachmentKey {
        container: ContainerId::try_from(ticket.container_id)?,
        ifname: IfName::try_from(ticket.ifname)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(dir: &Path, container: &str) {
        let text = format!(r#"{{"containerId":"{container}","ifname":"eth0"}}"#);
        std::fs::write(dir.join(container), text).unwrap();
    }

    fn left(dir: &Path) -> Vec<String> {
        let names = std::fs::read_dir(dir).unwrap().flatten().map(|e| e.file_name());
        names.map(|name| name.to_string_lossy().into_owned()).collect()
    }

    #[tokio::test]
    async fn a_release_that_never_ends_holds_up_no_other_ticket() {
        let dir = tempfile::tempdir().unwrap();
        let mut work = InWork::default();
        let release = |key: AttachmentKey| async move {
            if key.container.as_str() == "stuck" {
                std::future::pending::<()>().await;
            }
            true
        };
        // One that stands in the directory before the others, and one that comes later.
        for container in ["stuck", "a", "b"] {
            write(dir.path(), container);
        }
        work.take(dir.path(), release);
        while left(dir.path()).len() > 1 {
            work.one_ended().await;
        }
        write(dir.path(), "later");
        work.take(dir.path(), release);
        work.one_ended().await;
        assert_eq!(left(dir.path()), ["stuck"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_release_that_is_not_durable_keeps_its_ticket_and_is_tried_again() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "c");
        let mut work = InWork::default();
        for durable in [false, true] {
            assert_eq!(left(dir.path()), ["c"]);
            work.take(dir.path(), |_key| async move { durable });
            work.one_ended().await;
        }
        assert!(left(dir.path()).is_empty());
    }

    #[tokio::test]
    async fn a_ticket_is_worked_on_once_and_many_not_all_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let mut work = InWork::default();
        for n in 0..AT_ONCE + 10 {
            write(dir.path(), &format!("c{n}"));
        }
        for _drain in 0..3 {
            work.take(dir.path(), |_key| std::future::pending());
            assert_eq!(work.tasks.len(), AT_ONCE);
        }
    }
}
