//! How a question to a local socket fails.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Why there is no answer. Cheap to clone, since one failed call may answer several askers.
#[derive(Debug, Clone, thiserror::Error)]
pub enum NodeApiError {
    /// Nobody listens at the socket.
    #[error("no connection to the {peer} at {socket}; is it running, and is this its socket?")]
    Connect {
        /// Who should answer.
        peer: &'static str,
        /// Where.
        socket: PathBuf,
        /// What the transport says.
        source: Arc<tonic::transport::Error>,
    },
    /// The answer did not come in time.
    #[error("the {peer} at {socket} did not answer within {limit:?}; is the node overloaded?")]
    Deadline {
        /// Who should have answered.
        peer: &'static str,
        /// Where.
        socket: PathBuf,
        /// The time that the whole question had, retries included.
        limit: Duration,
    },
    /// The kubelet takes at most 100 requests a second from all its clients and refused ours until the deadline.
    #[error(
        "the {peer} at {socket} is asked too often; another program on this node keeps asking it"
    )]
    Throttled {
        /// Who refused.
        peer: &'static str,
        /// Where.
        socket: PathBuf,
    },
    /// The peer answered with an error.
    #[error("the {peer} at {socket} refused: {code}: {message}")]
    Refused {
        /// Who refused.
        peer: &'static str,
        /// Where.
        socket: PathBuf,
        /// Code of gRPC.
        code: tonic::Code,
        /// The peer's text.
        message: String,
    },
    /// An entry of the answer cannot be read. The whole answer is refused: a missing entry would look like a pod that is gone.
    #[error(
        "the {peer} sent an entry that cannot be read: {why}; its version may be unknown to us"
    )]
    Answer {
        /// Who sent it.
        peer: &'static str,
        /// What is wrong with it.
        why: String,
    },
}
