//! Bodies of requests: bounded one by one and all together.

use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Body, Incoming};
use tokio::sync::Semaphore;

/// One body. A pod of the largest size that the API server takes, with 5000 names, stays below.
const LARGEST: usize = 8 * 1024 * 1024;
/// Bodies up to this do not count together: so many come from each connection at most.
const SMALL: usize = 64 * 1024;
/// All larger bodies together.
const TOGETHER: usize = 64 * 1024 * 1024;

/// Why there is no body.
#[derive(Debug, thiserror::Error)]
pub(super) enum BodyError {
    #[error(
        "the body is larger than {LARGEST} bytes; is nodeCacheCapable set in the scheduler's configuration?"
    )]
    TooLarge,
    #[error("the body did not come whole: {0}")]
    Broken(String),
}

impl BodyError {
    pub(super) fn status(&self) -> u16 {
        match self {
            Self::TooLarge => 413,
            Self::Broken(_) => 400,
        }
    }
}

/// What all bodies may take together.
#[derive(Debug)]
pub(super) struct Bodies(Semaphore);

impl Default for Bodies {
    fn default() -> Self {
        Self(Semaphore::new(TOGETHER))
    }
}

impl Bodies {
    /// Reads a body to its end; waits while others take too much.
    pub(super) async fn read(&self, body: Incoming) -> Result<Bytes, BodyError> {
        let hint = body.size_hint();
        // A body that does not say how long it is counts as the largest.
        let size = hint.upper().map_or(LARGEST, |n| usize::try_from(n).unwrap_or(usize::MAX));
        if size > LARGEST {
            return Err(BodyError::TooLarge);
        }
        let counted = if size > SMALL { u32::try_from(size).unwrap_or(u32::MAX) } else { 0 };
        let _share =
            self.0.acquire_many(counted).await.map_err(|e| BodyError::Broken(e.to_string()))?;
        match Limited::new(body, LARGEST).collect().await {
            Ok(body) => Ok(body.to_bytes()),
            Err(error) if error.is::<LengthLimitError>() => Err(BodyError::TooLarge),
            Err(error) => Err(BodyError::Broken(error.to_string())),
        }
    }
}
