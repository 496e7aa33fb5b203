//! One gRPC server on a Unix socket.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tonic::transport::{Channel, Endpoint};

use crate::NodeApiError;

/// Lists of a full node are some hundred kilobytes; tonic's own limit of 4 MiB is near for a node with many devices.
pub(crate) const LARGEST_ANSWER: usize = 16 << 20;

/// Where a peer listens, and how long a question may take.
#[derive(Debug, Clone)]
pub(crate) struct Socket {
    pub(crate) peer: &'static str,
    pub(crate) path: PathBuf,
    pub(crate) limit: Duration,
}

impl Socket {
    pub(crate) fn new(peer: &'static str, path: impl Into<PathBuf>, limit: Duration) -> Self {
        Self { peer, path: path.into(), limit }
    }

    pub(crate) async fn connect(&self) -> Result<Channel, NodeApiError> {
        let failed = |source| NodeApiError::Connect {
            peer: self.peer,
            socket: self.path.clone(),
            source: Arc::new(source),
        };
        // A path that is not UTF-8 leads nowhere this way, and the error names it.
        let uri = format!("unix://{}", self.path.display());
        Endpoint::from_shared(uri).map_err(failed)?.connect().await.map_err(failed)
    }

    /// Lets `question` take at most the limit.
    pub(crate) async fn in_time<T>(
        &self,
        question: impl Future<Output = Result<T, NodeApiError>>,
    ) -> Result<T, NodeApiError> {
        tokio::time::timeout(self.limit, question).await.unwrap_or_else(|_| {
            Err(NodeApiError::Deadline {
                peer: self.peer,
                socket: self.path.clone(),
                limit: self.limit,
            })
        })
    }

    pub(crate) fn refused(&self, status: &tonic::Status) -> NodeApiError {
        NodeApiError::Refused {
            peer: self.peer,
            socket: self.path.clone(),
            code: status.code(),
            message: status.message().to_owned(),
        }
    }

    pub(crate) fn unreadable(&self, why: impl ToString) -> NodeApiError {
        NodeApiError::Answer { peer: self.peer, why: why.to_string() }
    }
}
