//! One listening socket and the server behind it. The kubelet wipes the socket when it restarts; then a new session begins.

use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tideway_proto::deviceplugin::device_plugin_server::DevicePluginServer;
use tokio::net::UnixListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_stream::wrappers::UnixListenerStream;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::directory::FileIdentity;
use crate::service::{Service, Streams};
use crate::{Device, PluginConfig, PluginError, PluginEvent, kubelet};

/// How long a server may take to end its calls.
const GRACE: Duration = Duration::from_secs(1);

/// A server on a socket of ours. Dropping it ends the server.
#[derive(Debug)]
pub(crate) struct Session {
    file: SocketFile,
    pub(crate) streams: watch::Receiver<Streams>,
    closing: DropGuard,
    server: JoinHandle<Result<(), tonic::transport::Error>>,
}

/// The name of a socket in the directory. Dropping it takes the name away, if it still leads to our socket.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    identity: FileIdentity,
}

impl SocketFile {
    fn still_ours(&self) -> bool {
        FileIdentity::of_socket(&self.path).is_some_and(|id| id.same_file(self.identity))
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.still_ours() {
            // A name that stays behind does no harm: nobody answers there.
            drop(std::fs::remove_file(&self.path));
        }
    }
}

/// What every session of a plugin serves with.
#[derive(Debug)]
pub(crate) struct Supply {
    pub(crate) devices: watch::Receiver<Vec<Device>>,
    pub(crate) allocated: mpsc::Sender<Vec<String>>,
    pub(crate) events: mpsc::UnboundedSender<PluginEvent>,
}

impl Session {
    /// Listens, serves, and returns when the server has answered a question of ours.
    pub(crate) async fn open(config: &PluginConfig, supply: &Supply) -> Result<Self, PluginError> {
        let socket = config.dir.join(&config.socket_name);
        let failed = |source| PluginError::Bind { path: socket.clone(), source };
        clear(&socket).map_err(failed)?;
        let listener = UnixListener::bind(&socket).map_err(failed)?;
        let identity = FileIdentity::of_socket(&socket)
            .ok_or_else(|| failed(io::Error::other("the socket vanished at once")))?;
        let closing = CancellationToken::new();
        let (begun, streams) = watch::channel(Streams::default());
        let service = Service {
            resource: config.resource.clone(),
            devices: supply.devices.clone(),
            allocated: supply.allocated.clone(),
            events: supply.events.clone(),
            streams: Arc::new(begun),
            closing: closing.clone(),
        };
        let server = tonic::transport::Server::builder()
            .add_service(DevicePluginServer::new(service))
            .serve_with_incoming_shutdown(
                UnixListenerStream::new(listener),
                closing.clone().cancelled_owned(),
            );
        let server = tokio::spawn(server);
        let file = SocketFile { path: socket.clone(), identity };
        let session = Self { file, streams, closing: closing.drop_guard(), server };
        kubelet::probe(&socket).await?;
        Ok(session)
    }

    /// The server runs and its socket can still be reached by its name.
    pub(crate) fn reachable(&self) -> bool {
        !self.server.is_finished() && self.file.still_ours()
    }

    /// Ends the server and takes the socket away.
    pub(crate) async fn close(self) {
        drop(self.file);
        drop(self.closing);
        let abort = self.server.abort_handle();
        if tokio::time::timeout(GRACE, self.server).await.is_err() {
            abort.abort();
        }
    }
}

/// Makes room for a new socket: takes away one that nobody listens on any more.
fn clear(socket: &Path) -> io::Result<()> {
    if FileIdentity::of_socket(socket).is_none() {
        return Ok(()); // Nothing there, or no socket: then bind says so.
    }
    match UnixStream::connect(socket) {
        Ok(_) => Err(io::Error::new(
            io::ErrorKind::AddrInUse,
            "another process serves on it; two daemons must not share a socket name",
        )),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(socket)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}
