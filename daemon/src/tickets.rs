//! Release tickets: a DEL that came while the daemon was away is one file in a directory. They are drained at start and
//! whenever a new one appears.

use std::{os::fd::OwnedFd, path::PathBuf, sync::Arc, time::Duration};

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use serde::Deserialize;
use tideway_cloud::Cloud;
use tideway_model::{AttachmentKey, ContainerId, IfName};
use tokio::net::unix::pipe;
use tokio_util::sync::CancellationToken;

use crate::service::Service;

/// Between two drains even when no notification came (the directory may be on a file system without them).
const SAFETY_NET: Duration = Duration::from_secs(30);

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
    loop {
        drain(&dir, &service).await;
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
            () = tokio::time::sleep(SAFETY_NET) => {}
        }
    }
}

/// An inotify queue with the directory in it. Tokio's reader of pipes reads this descriptor too.
fn notifier(dir: &std::path::Path) -> std::io::Result<pipe::Receiver> {
    let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
    inotify.add_watch(dir, AddWatchFlags::IN_MOVED_TO | AddWatchFlags::IN_CLOSE_WRITE)?;
    pipe::Receiver::from_owned_fd_unchecked(OwnedFd::from(inotify))
}

async fn drain<C: Cloud>(dir: &std::path::Path, service: &Service<C>) {
    let Ok(entries) = std::fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        // A leading dot marks a ticket that is still being written.
        if entry.file_name().to_string_lossy().starts_with('.') {
            continue;
        }
        let key = match read(&path) {
            Ok(key) => key,
            Err(e) => {
                tracing::warn!(ticket = %path.display(), error = %e, "a release ticket cannot be read; it is set aside");
                let aside =
                    path.with_file_name(format!(".bad-{}", entry.file_name().to_string_lossy()));
                drop(std::fs::rename(&path, aside));
                continue;
            }
        };
        if service.release(key).await.is_ok() {
            // Only now: a crash before this repeats the release, which does no harm.
            drop(std::fs::remove_file(&path));
        }
    }
}

fn read(path: &std::path::Path) -> anyhow::Result<AttachmentKey> {
    let ticket: Ticket = serde_json::from_slice(&std::fs::read(path)?)?;
    Ok(AttachmentKey {
        container: ContainerId::try_from(ticket.container_id)?,
        ifname: IfName::try_from(ticket.ifname)?,
    })
}
