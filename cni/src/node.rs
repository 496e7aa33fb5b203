//! One call to the daemon over its Unix socket.
//!
//! One connection, one call, one thread: the runtime is made and dropped here. Measured, the asynchronous stack costs
//! about half a millisecond of the process, so there is no client of our own.

use std::time::Duration;

use prost::Message;
use tideway_model::Cause;
use tideway_proto::node as pb;
use tonic::{
    Code, Status,
    transport::{Channel, Endpoint},
};

use crate::CniError;

/// The generated client on our channel.
pub(crate) type Client = pb::node_client::NodeClient<Channel>;

/// Longest path of a Unix socket (`sun_path` without its end mark).
const MAX_SOCKET_PATH: usize = 107;

/// Why a call brought no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    /// The daemon did not hear the call, or may not have finished it: it is away, starting, ending, or hangs.
    #[error("{0}")]
    Away(CniError),
    /// The daemon heard and refused.
    #[error("{0}")]
    Refused(CniError),
}

impl CallError {
    /// The error object to show.
    pub(crate) fn into_cni(self) -> CniError {
        match self {
            Self::Away(error) | Self::Refused(error) => error,
        }
    }
}

/// Connects to `socket`, lets `call` make one call, and waits for both at most `limit`.
pub(crate) fn call<T>(
    socket: &str,
    limit: Duration,
    call: impl AsyncFnOnce(Client) -> Result<T, Status>,
) -> Result<T, CallError> {
    let endpoint = endpoint(socket).map_err(CallError::Refused)?;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| {
            CallError::Refused(CniError::new(
                Cause::NodeIo,
                format!("the process could not start: {error}"),
                "raise the limits of open files and memory for the container runtime",
            ))
        })?;
    runtime.block_on(async {
        let whole = async {
            let channel = endpoint.connect().await.map_err(|error| away(socket, &error))?;
            call(Client::new(channel)).await.map_err(|status| sort(socket, &status))
        };
        tokio::time::timeout(limit, whole).await.unwrap_or_else(|_elapsed| {
            Err(CallError::Away(CniError::new(
                Cause::DaemonAway,
                format!("tidewayd did not answer within {} s", limit.as_secs()),
                "look at tidewayd's log; restarting it is safe for running pods",
            )))
        })
    })
}

fn endpoint(socket: &str) -> Result<Endpoint, CniError> {
    let invalid = |cause: String| {
        CniError::new(
            Cause::NetworkConfig,
            format!("socket {socket:?} cannot be used: {cause}"),
            "set `socket` in the network configuration to tidewayd's paths.socket",
        )
    };
    if !socket.starts_with('/') || socket.len() > MAX_SOCKET_PATH {
        return Err(invalid(format!(
            "an absolute path of at most {MAX_SOCKET_PATH} bytes is needed"
        )));
    }
    Endpoint::from_shared(format!("unix://{socket}")).map_err(|error| invalid(error.to_string()))
}

fn away(socket: &str, error: &dyn std::error::Error) -> CallError {
    CallError::Away(CniError::new(
        Cause::DaemonAway,
        format!("tidewayd does not answer on {socket}"),
        format!("{}; see whether tidewayd runs on this node and look at its log", chain(error)),
    ))
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        next = cause.source();
    }
    text
}

/// Sorts a failed call. A status that our own side made (it has a source) means that the connection broke.
fn sort(socket: &str, status: &Status) -> CallError {
    let said = pb::CniError::decode(status.details()).ok().filter(|error| error.code != 0);
    if let Some(said) = said {
        let error = CniError { code: said.code, msg: said.message, details: said.details };
        return if status.code() == Code::Unavailable {
            CallError::Away(error)
        } else {
            CallError::Refused(error)
        };
    }
    let broken = std::error::Error::source(status).is_some()
        || matches!(status.code(), Code::Unavailable | Code::Cancelled | Code::DeadlineExceeded);
    if broken {
        return away(socket, status);
    }
    CallError::Refused(CniError::new(
        Cause::VersionsDiffer,
        format!("tidewayd refused the call: {}", status.message()),
        format!("gRPC status {:?}; look at tidewayd's log, and at its version", status.code()),
    ))
}
