//! The task that owns the registration: it keeps the kubelet informed whatever the kubelet does.

use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::backoff::Backoff;
use crate::directory::{DirectoryWatch, FileIdentity};
use crate::session::{Session, Supply};
use crate::{Device, PluginConfig, PluginError, PluginEvent, chain, kubelet};

/// The kubelet asks for the devices right after `Register`; when it does not, something went wrong on its side.
const WATCH_DEADLINE: Duration = Duration::from_secs(5);
/// A registration that lasted this long was a good one: the next failure starts with short waits again.
const SETTLED: Duration = Duration::from_secs(1);

/// Serves `config.resource` until `cancel`, and then takes the socket away.
///
/// - `devices` is the whole inventory; each change is sent to the kubelet. Nothing is registered until the list is not empty
///   or was sent once after this call (an empty list that was *sent* is registered).
/// - `allocated` receives the ids of each `Allocate` (ids of all its containers; the same id may come again).
/// - `events` tells what happened; nobody needs to read it.
///
/// Never fails: a kubelet that is absent is waited for, every error is reported and tried again after at most 1 s. Run it
/// as one task for each resource.
pub async fn run(
    config: PluginConfig,
    devices: watch::Receiver<Vec<Device>>,
    allocated: mpsc::Sender<Vec<String>>,
    events: mpsc::UnboundedSender<PluginEvent>,
    cancel: CancellationToken,
) {
    let mut first = devices.clone();
    let known = async {
        if first.borrow().is_empty() && first.changed().await.is_err() {
            futures::future::pending::<()>().await; // The owner went away before it knew: nothing to serve, ever.
        }
    };
    if cancel.run_until_cancelled(known).await.is_none() {
        return;
    }
    let mut registration = Registration {
        kubelet: config.dir.join("kubelet.sock"),
        directory: DirectoryWatch::new(&config.dir),
        config,
        supply: Supply { devices, allocated, events },
        session: None,
        seen: None,
        registered_at: None,
        backoff: Backoff::new(),
        reported: None,
    };
    while cancel.run_until_cancelled(registration.round()).await.is_some() {}
    if let Some(session) = registration.session.take() {
        session.close().await;
    }
}

struct Registration {
    config: PluginConfig,
    supply: Supply,
    /// Path of the kubelet's socket.
    kubelet: PathBuf,
    directory: DirectoryWatch,
    session: Option<Session>,
    /// The kubelet's socket when we last looked.
    seen: Option<FileIdentity>,
    /// The kubelet's socket at our last registration.
    registered_at: Option<FileIdentity>,
    backoff: Backoff,
    /// The last error told, so that it is told once.
    reported: Option<String>,
}

impl Registration {
    /// One registration and its life; returns when it is time for the next one.
    async fn round(&mut self) {
        let path = &self.kubelet;
        self.directory.until(|| FileIdentity::of_socket(path).is_some()).await;
        let Some(kubelet) = FileIdentity::of_socket(path) else { return };
        if self.seen.replace(kubelet) != Some(kubelet) {
            self.backoff.reset(); // A new kubelet that does not listen yet must not wait for a second.
        }
        if self.registered_at.take_if(|at| *at != kubelet).is_some() {
            self.tell(PluginEvent::KubeletRestarted);
        }
        let began = Instant::now();
        let outcome = self.register_and_hold(kubelet).await;
        if began.elapsed() >= SETTLED {
            self.backoff.reset();
        }
        if let Err(error) = outcome {
            self.report(chain(&error));
        }
        self.pause(kubelet).await;
    }

    /// Registers at this kubelet and returns when that registration is worth nothing any more.
    async fn register_and_hold(&mut self, kubelet: FileIdentity) -> Result<(), PluginError> {
        let session = match self.session.take() {
            Some(session) if session.reachable() => session,
            lost => {
                if let Some(session) = lost {
                    session.close().await;
                }
                Session::open(&self.config, &self.supply).await?
            }
        };
        let session = &*self.session.insert(session);
        let path = &self.kubelet;
        let unchanged = || FileIdentity::of_socket(path) == Some(kubelet) && session.reachable();
        let mut streams = session.streams.clone();
        let before = *streams.borrow_and_update();
        tokio::select! {
            registered = kubelet::register(path, &self.config) => registered?,
            () = self.directory.until(|| !unchanged()) => return Ok(()),
        }
        self.registered_at = Some(kubelet);
        self.reported = None;
        // The owner may have stopped listening; the kubelet still needs us.
        drop(self.supply.events.send(PluginEvent::Registered));
        let unwatched = async {
            let watched = streams.wait_for(|s| s.begun > before.begun);
            if tokio::time::timeout(WATCH_DEADLINE, watched).await.is_err() {
                return true;
            }
            // An error means that the server is gone, which is an end as well.
            drop(streams.wait_for(|s| s.ended > before.ended).await);
            false
        };
        tokio::select! {
            unwatched = unwatched => {
                if unwatched {
                    return Err(PluginError::Unwatched { resource: self.config.resource.clone() });
                }
            }
            () = self.directory.until(|| !unchanged()) => {}
        }
        Ok(())
    }

    /// Waits before the next attempt at the same kubelet; a new one is not made to wait.
    async fn pause(&mut self, kubelet: FileIdentity) {
        let path = &self.kubelet;
        let another = || FileIdentity::of_socket(path).is_some_and(|now| now != kubelet);
        let wait = tokio::time::sleep(self.backoff.next());
        tokio::select! {
            () = wait => {}
            () = self.directory.until(another) => {}
        }
    }

    fn tell(&self, event: PluginEvent) {
        // The owner may have stopped listening; the kubelet still needs us.
        drop(self.supply.events.send(event));
    }

    fn report(&mut self, text: String) {
        if self.reported.as_ref() != Some(&text) {
            self.tell(PluginEvent::Error(text.clone()));
            self.reported = Some(text);
        }
    }
}
