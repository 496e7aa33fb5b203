//! `FakeNode`: the node service (`tideway.v1.Node`) without kernel and cloud.
//!
//! It keeps attachments, hands out addresses of 10.64.0.0/16 and answers as the daemon promises: ADD of the same
//! (container, interface) gets the same answer, DEL succeeds for what is unknown. A test can make a verb slow, make it
//! fail, or take the whole daemon away. It runs on a thread of its own, so tests need no runtime.

mod service;
mod state;

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
    time::Duration,
};

use tideway_proto::node::{AddRequest, Lease, node_server::NodeServer};
use tokio::{net::UnixListener, sync::oneshot};
use tokio_stream::wrappers::UnixListenerStream;

use state::State;
pub use state::{Fault, Verb};

/// A running fake. Dropping it ends it and removes the socket.
#[derive(Debug)]
pub struct FakeNode {
    socket: PathBuf,
    state: Arc<Mutex<State>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl FakeNode {
    /// Serves on `socket`; a stale socket file is replaced.
    pub fn start(socket: &Path) -> io::Result<Self> {
        if socket.exists() {
            std::fs::remove_file(socket)?;
        }
        // Bound before the thread starts, so that the first connection is never refused.
        let listener = std::os::unix::net::UnixListener::bind(socket)?;
        listener.set_nonblocking(true)?;
        let state = Arc::new(Mutex::new(State::default()));
        let (stop, stopped) = oneshot::channel();
        let service = service::Service { state: Arc::clone(&state) };
        let thread = std::thread::spawn(move || serve(listener, service, stopped));
        Ok(Self { socket: socket.to_owned(), state, stop: Some(stop), thread: Some(thread) })
    }

    /// Path of the socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// From now on `verb` fails so, until [`Self::heal`].
    pub fn fail(&self, verb: Verb, fault: Fault) {
        self.lock().faults.insert(verb, fault);
    }

    /// From now on `verb` takes so long.
    pub fn delay(&self, verb: Verb, time: Duration) {
        self.lock().delays.insert(verb, time);
    }

    /// No more faults and delays.
    pub fn heal(&self) {
        let mut state = self.lock();
        state.faults.clear();
        state.delays.clear();
    }

    /// How many calls of `verb` arrived, also those that fail or still wait.
    pub fn calls(&self, verb: Verb) -> u64 {
        self.lock().calls.get(&verb).copied().unwrap_or_default()
    }

    /// Container ids and interfaces that have an address now.
    pub fn attached(&self) -> Vec<(String, String)> {
        self.lock().attachments.keys().cloned().collect()
    }

    /// The request that made the attachment: what the plugin passed on.
    pub fn request_of(&self, container: &str, ifname: &str) -> Option<AddRequest> {
        let key = (container.to_owned(), ifname.to_owned());
        self.lock().attachments.get(&key).map(|found| found.request.clone())
    }

    /// A pod that waits for an address, for `Show` and `Explain`.
    pub fn set_waiting(&self, namespace: &str, name: &str, cause: &str) {
        self.lock().set_waiting(namespace, name, cause);
    }

    /// An address waits for the return of a pod, for `Show`.
    pub fn set_lease(&self, pod: &str, ip: &str, strict: bool, until_unix_millis: u64) {
        let (pod, ips, eni) = (pod.to_owned(), vec![ip.to_owned()], "eni-fake0".to_owned());
        self.lock().leases.push(Lease { pod, ips, eni, strict, until_unix_millis });
    }

    /// The kernel differs from the journal in this way, for `Explain` and `Check`.
    pub fn set_finding(&self, finding: &str) {
        self.lock().findings.push(finding.to_owned());
    }

    /// The daemon writes its CNI configuration there, for `Show`.
    pub fn set_cni_conf_dir(&self, dir: &str) {
        dir.clone_into(&mut self.lock().cni_conf_dir);
    }

    /// The last call to the cloud failed in this way, for `Show`.
    pub fn set_cloud_error(&self, action: &str, code: &str, message: &str, remedy: &str) {
        self.lock().set_cloud_error(action, code, message, remedy);
    }

    /// Ends the service as a crash does: open connections break, the socket file stays. Idempotent.
    pub fn crash(&mut self) -> io::Result<()> {
        drop(self.stop.take());
        match self.thread.take().map(JoinHandle::join) {
            None => Ok(()),
            Some(Ok(ended)) => ended,
            Some(Err(_panic)) => Err(io::Error::other("the thread of the fake node panicked")),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn serve(
    listener: std::os::unix::net::UnixListener,
    service: service::Service,
    stopped: oneshot::Receiver<()>,
) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async move {
        let incoming = UnixListenerStream::new(UnixListener::from_std(listener)?);
        let server = tonic::transport::Server::builder()
            .add_service(NodeServer::new(service))
            .serve_with_incoming(incoming);
        tokio::select! {
            ended = server => ended.map_err(io::Error::other),
            _ = stopped => Ok(()),
        }
    })
}

impl Drop for FakeNode {
    fn drop(&mut self) {
        drop(self.crash());
        drop(std::fs::remove_file(&self.socket));
    }
}
