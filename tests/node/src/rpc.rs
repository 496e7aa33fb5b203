//! Questions to a daemon over its socket, from tests that know no async.

use std::{path::Path, sync::OnceLock, time::Duration};

use anyhow::{Context as _, Result, anyhow};
use tideway_proto::node::{
    ShowReply, ShowRequest, StatusReply, StatusRequest, node_client::NodeClient,
};
use tokio::runtime::Runtime;
use tonic::transport::{Channel, Endpoint};

/// Longest wait for an answer that needs no cloud.
const LIMIT: Duration = Duration::from_secs(20);

/// The runtime of all fixtures of this process.
pub fn runtime() -> Result<&'static Runtime> {
    static RUNTIME: OnceLock<std::io::Result<Runtime>> = OnceLock::new();
    let made = RUNTIME.get_or_init(|| {
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()
    });
    made.as_ref().map_err(|e| anyhow!("the fixtures' runtime: {e}"))
}

async fn client(socket: &Path) -> Result<NodeClient<Channel>> {
    let endpoint = Endpoint::from_shared(format!("unix://{}", socket.display()))?;
    Ok(NodeClient::new(endpoint.connect().await?).max_decoding_message_size(64 * 1024 * 1024))
}

fn ask<T>(socket: &Path, question: impl Future<Output = Result<T>>) -> Result<T> {
    runtime()?
        .block_on(async { tokio::time::timeout(LIMIT, question).await })
        .with_context(|| format!("no answer on {} within {LIMIT:?}", socket.display()))?
        .with_context(|| format!("asking on {}", socket.display()))
}

/// The whole node.
pub fn show(socket: &Path) -> Result<ShowReply> {
    ask(socket, async { Ok(client(socket).await?.show(ShowRequest {}).await?.into_inner()) })
}

/// Ready or not.
pub fn status(socket: &Path) -> Result<StatusReply> {
    ask(socket, async { Ok(client(socket).await?.status(StatusRequest {}).await?.into_inner()) })
}
