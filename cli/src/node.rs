//! One question to the daemon.

use std::time::Duration;

use prost::Message;
use tideway_proto::node as pb;
use tonic::{
    Code, Status,
    transport::{Channel, Endpoint},
};

use crate::{CommandError, args::Connection};

/// The generated client on our channel.
pub(crate) type Client = pb::node_client::NodeClient<Channel>;

/// Connects, lets `ask` make its calls, and waits for all of it at most as long as the options say.
pub(crate) fn ask<T>(
    connection: &Connection,
    ask: impl AsyncFnOnce(Client) -> Result<T, Status>,
) -> Result<T, CommandError> {
    let socket = connection.socket.as_str();
    let unreachable =
        |cause: String| CommandError::Unreachable { socket: socket.to_owned(), cause };
    if !socket.starts_with('/') {
        return Err(unreachable("the path must be absolute".into()));
    }
    let endpoint = Endpoint::from_shared(format!("unix://{socket}"))
        .map_err(|error| unreachable(error.to_string()))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let limit = Duration::from_secs(connection.timeout.into());
    runtime.block_on(async {
        let whole = async {
            let channel = endpoint.connect().await.map_err(|error| unreachable(root(&error)))?;
            ask(Client::new(channel)).await.map_err(|status| sort(&status, unreachable))
        };
        tokio::time::timeout(limit, whole).await.unwrap_or_else(|_elapsed| {
            Err(unreachable(format!("no answer within {} s", limit.as_secs())))
        })
    })
}

/// The deepest cause: what the kernel said.
fn root(error: &dyn std::error::Error) -> String {
    let mut deepest = error;
    while let Some(cause) = deepest.source() {
        deepest = cause;
    }
    deepest.to_string()
}

/// A status that our own side made (it has a source) means that the connection broke.
fn sort(status: &Status, unreachable: impl FnOnce(String) -> CommandError) -> CommandError {
    if std::error::Error::source(status).is_some() || status.code() == Code::Unavailable {
        return unreachable(root(status));
    }
    match pb::CniError::decode(status.details()) {
        Ok(said) if said.code != 0 => {
            CommandError::Refused(format!("{} ({})", said.message, said.details))
        }
        _ => CommandError::Refused(format!("{} ({:?})", status.message(), status.code())),
    }
}
