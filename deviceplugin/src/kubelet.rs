//! Calls on Unix sockets: `Register` at the kubelet, and the question to our own server that must come before it.

use std::path::Path;
use std::time::Duration;

use tideway_proto::deviceplugin::device_plugin_client::DevicePluginClient;
use tideway_proto::deviceplugin::registration_client::RegistrationClient;
use tideway_proto::deviceplugin::{DevicePluginOptions, Empty, RegisterRequest};
use tonic::transport::{Channel, Endpoint};

use crate::{CallError, PluginConfig, PluginError};

/// The kubelet dials back within `Register` and gives itself 10 s for that (1.34).
const REGISTER_DEADLINE: Duration = Duration::from_secs(12);
const PROBE_DEADLINE: Duration = Duration::from_secs(2);
const CONNECT_DEADLINE: Duration = Duration::from_secs(2);

/// What the kubelet need not ask us: no preferred allocation, no call before a container starts.
pub(crate) const OPTIONS: DevicePluginOptions =
    DevicePluginOptions { pre_start_required: false, get_preferred_allocation_available: false };

/// Registers the resource of `config`, which must be served already.
pub(crate) async fn register(socket: &Path, config: &PluginConfig) -> Result<(), PluginError> {
    let request = RegisterRequest {
        version: "v1beta1".to_owned(),
        endpoint: config.socket_name.clone(),
        resource_name: config.resource.clone(),
        options: Some(OPTIONS),
    };
    let text = utf8(socket)?;
    let call = async {
        RegistrationClient::new(connect(text).await?).register(request).await.map_err(status)
    };
    deadline(REGISTER_DEADLINE, call).await.map(drop).map_err(|source| PluginError::Register {
        path: socket.to_owned(),
        resource: config.resource.clone(),
        source,
    })
}

/// Asks the server at `socket` a question, so that the kubelet does not meet a server that is not there yet.
pub(crate) async fn probe(socket: &Path) -> Result<(), PluginError> {
    let text = utf8(socket)?;
    let call = async {
        let mut client = DevicePluginClient::new(connect(text).await?);
        client.get_device_plugin_options(Empty {}).await.map_err(status)
    };
    deadline(PROBE_DEADLINE, call)
        .await
        .map(drop)
        .map_err(|source| PluginError::Probe { path: socket.to_owned(), source })
}

fn utf8(path: &Path) -> Result<&str, PluginError> {
    path.to_str().ok_or_else(|| PluginError::Path { path: path.to_owned() })
}

async fn connect(socket: &str) -> Result<Channel, CallError> {
    let endpoint = Endpoint::from_shared(format!("unix://{socket}")).map_err(CallError::Connect)?;
    endpoint.connect_timeout(CONNECT_DEADLINE).connect().await.map_err(CallError::Connect)
}

fn status(status: tonic::Status) -> CallError {
    CallError::Status(Box::new(status))
}

async fn deadline<T>(
    limit: Duration,
    call: impl Future<Output = Result<T, CallError>>,
) -> Result<T, CallError> {
    tokio::time::timeout(limit, call).await.unwrap_or(Err(CallError::Deadline(limit)))
}
