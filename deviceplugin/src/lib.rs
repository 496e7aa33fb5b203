//! The kubelet's device plugin API (v1beta1) for one extended resource.
//!
//! The kubelet forgets its plugins whenever it restarts, and it kills running pods if a plugin comes back late: admission
//! runs about 0.9 s after the new `kubelet.sock`, and a pod whose init container holds a device or whose container once
//! restarted then fails with `UnexpectedAdmissionError`. So the one duty of this crate is to be listed again at once: the
//! contract is **200 ms after the new `kubelet.sock`**.
//!
//! Rules it keeps:
//! - serve, then connect to the own socket, then register: the kubelet dials back while `Register` is still open;
//! - register again when `kubelet.sock` is a new one (inotify, and each second its device, inode and ctime: the inode alone
//!   stays the same over a restart), when our own socket was wiped, and when a `ListAndWatch` stream of ours ends: the kubelet
//!   disconnects the *newest* plugin of a resource when the stream of an *older* one ends, as in a roll with overlap;
//! - nothing is registered before the first list is known: an empty list would make devices of running pods unhealthy;
//! - `Allocate` answers from memory and waits for nobody;
//! - one task owns the registration ([`run`]); the gRPC tasks only read the list and report streams and allocations.
//!
//! The `:authority` of a caller must be a valid host name (a rule of the `h2` crate): the kubelet sends `localhost` since 1.26.

mod backoff;
mod directory;
mod kubelet;
mod registration;
mod service;
mod session;

use std::path::PathBuf;

pub use registration::run;

/// Where and as what the plugin registers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginConfig {
    /// Directory of the kubelet's socket and of ours, usually `/var/lib/kubelet/device-plugins`. It may appear later.
    pub dir: PathBuf,
    /// Extended resource, such as `aliyun/eni`.
    pub resource: String,
    /// File name of our socket in [`PluginConfig::dir`]. Unique for each run of the daemon, so that a former run that still
    /// ends never meets the socket of this one. The whole path must be shorter than 108 bytes.
    pub socket_name: String,
}

/// A device that the kubelet may give to a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Stable over restarts; at most 63 characters.
    pub id: String,
    /// An unhealthy device counts to the capacity but is not given out. A held device must stay healthy, or its pod fails at
    /// the next admission.
    pub healthy: bool,
}

/// What the plugin tells its owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PluginEvent {
    /// `kubelet.sock` is another one than that of our last registration: what was known of the kubelet's books is stale.
    KubeletRestarted,
    /// The kubelet accepted the registration. Its books are still empty.
    Registered,
    /// The kubelet asked for the devices, and the first list is on its way: from here on it admits pods that hold one. May come
    /// before `Registered`, since the kubelet dials back while that call is still open.
    Listed,
    /// Something failed and is tried again; the text says what and what to do. Repeated only when the text changes.
    Error(String),
}

/// Why a registration, or the serving for it, failed. All are tried again.
#[derive(Debug, thiserror::Error)]
enum PluginError {
    #[error(
        "device plugin socket {path}: cannot listen; check that the directory is writable and the path is short"
    )]
    Bind { path: PathBuf, source: std::io::Error },
    #[error("device plugin socket {path}: the path is not UTF-8; choose another directory")]
    Path { path: PathBuf },
    #[error("device plugin socket {path}: our own server does not answer")]
    Probe { path: PathBuf, source: CallError },
    #[error(
        "kubelet at {path} did not register {resource}; is the kubelet running, and is the resource name valid?"
    )]
    Register { path: PathBuf, resource: String, source: CallError },
    #[error("kubelet registered {resource} but did not ask for its devices; registering again")]
    Unwatched { resource: String },
}

/// How a call on a Unix socket failed.
#[derive(Debug, thiserror::Error)]
enum CallError {
    #[error("no connection")]
    Connect(#[source] tonic::transport::Error),
    #[error("{}: {}", .0.code(), .0.message())]
    Status(Box<tonic::Status>),
    #[error("no answer within {0:?}")]
    Deadline(std::time::Duration),
}

/// An error and its causes in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}
