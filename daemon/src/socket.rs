//! The node's socket: only root may connect, by file mode and by the peer's credentials.

use std::{
    io,
    os::unix::{
        fs::{DirBuilderExt as _, PermissionsExt as _},
        net::UnixListener,
    },
    path::{Path, PathBuf},
};

use tokio_stream::wrappers::UnixListenerStream;
use tonic::{Request, Status, transport::server::UdsConnectInfo};

/// Why the socket cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum Unbound {
    /// A live one: another daemon runs.
    #[error("another tidewayd serves {}; stop it first", .0.display())]
    Served(PathBuf),
    /// The path cannot be used.
    #[error("{} cannot be made ({cause}); make its directory writable, or name another path", path.display())]
    Path {
        /// Path.
        path: PathBuf,
        /// Cause.
        cause: io::Error,
    },
}

/// Binds the socket, replacing a dead one.
pub fn bind(path: &Path) -> Result<UnixListener, Unbound> {
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        return Err(Unbound::Served(path.to_owned()));
    }
    make(path).map_err(|cause| Unbound::Path { path: path.to_owned(), cause })
}

fn make(path: &Path) -> io::Result<UnixListener> {
    if let Some(dir) = path.parent() {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    }
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Who connects, for one server after the other.
pub fn incoming(listener: &UnixListener) -> io::Result<UnixListenerStream> {
    Ok(UnixListenerStream::new(tokio::net::UnixListener::from_std(listener.try_clone()?)?))
}

/// Refuses peers that are neither root nor the daemon's own user.
pub fn authorise(request: Request<()>) -> Result<Request<()>, Status> {
    let peer = request.extensions().get::<UdsConnectInfo>().and_then(|info| info.peer_cred);
    match peer {
        Some(peer) if peer.uid() == 0 || peer.uid() == nix::unistd::geteuid().as_raw() => {
            Ok(request)
        }
        Some(peer) => Err(Status::permission_denied(format!(
            "uid {} may not speak to tidewayd; only root may",
            peer.uid()
        ))),
        None => Err(Status::permission_denied("the peer's credentials are unknown")),
    }
}
