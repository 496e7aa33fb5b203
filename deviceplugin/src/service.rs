//! What the kubelet asks of us. Everything is answered from memory.

use std::sync::Arc;

use futures::stream::BoxStream;
use futures::{StreamExt, stream};
use tideway_proto::deviceplugin::device_plugin_server::DevicePlugin;
use tideway_proto::deviceplugin::{
    AllocateRequest, AllocateResponse, ContainerAllocateResponse, Device as WireDevice,
    DevicePluginOptions, Empty, ListAndWatchResponse, PreStartContainerRequest,
    PreStartContainerResponse, PreferredAllocationRequest, PreferredAllocationResponse,
};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use crate::{Device, PluginEvent, kubelet};

/// How many `ListAndWatch` streams began and ended. Both only grow.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Streams {
    pub(crate) begun: u64,
    pub(crate) ended: u64,
}

/// The gRPC service of one session.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) resource: String,
    pub(crate) devices: watch::Receiver<Vec<Device>>,
    pub(crate) allocated: mpsc::Sender<Vec<String>>,
    pub(crate) events: mpsc::UnboundedSender<PluginEvent>,
    pub(crate) streams: Arc<watch::Sender<Streams>>,
    /// Ends the streams, which otherwise would keep the server from stopping.
    pub(crate) closing: CancellationToken,
}

/// Counts a stream as ended when the kubelet, or the loss of its connection, drops it.
#[derive(Debug)]
struct OpenStream(Arc<watch::Sender<Streams>>);

impl OpenStream {
    fn begin(streams: &Arc<watch::Sender<Streams>>) -> Self {
        streams.send_modify(|s| s.begun = s.begun.saturating_add(1));
        Self(Arc::clone(streams))
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.0.send_modify(|s| s.ended = s.ended.saturating_add(1));
    }
}

/// One `ListAndWatch` between two messages.
struct Watcher {
    devices: watch::Receiver<Vec<Device>>,
    sent: Option<Vec<Device>>,
    events: mpsc::UnboundedSender<PluginEvent>,
    _open: OpenStream,
}

impl Watcher {
    /// The next list that differs from the last one sent; at once the first time.
    async fn next(mut self) -> Option<(Result<ListAndWatchResponse, Status>, Self)> {
        loop {
            let list = self.devices.borrow_and_update().clone();
            if self.sent.as_ref() != Some(&list) {
                let message = ListAndWatchResponse { devices: list.iter().map(wire).collect() };
                if self.sent.replace(list).is_none() {
                    // The owner may have stopped listening; the kubelet still needs its list.
                    drop(self.events.send(PluginEvent::Listed));
                }
                return Some((Ok(message), self));
            }
            if self.devices.changed().await.is_err() {
                // The owner of the list is gone. The list stays as it is until the session ends: an end of the stream here
                // would turn the devices of running pods unhealthy.
                futures::future::pending::<()>().await;
            }
        }
    }
}

fn wire(device: &Device) -> WireDevice {
    let health = if device.healthy { "Healthy" } else { "Unhealthy" };
    WireDevice { id: device.id.clone(), health: health.to_owned(), topology: None }
}

impl Service {
    /// Hands the ids to the owner. Never waits, never loses one: a full channel is waited for elsewhere, since an owner that
    /// misses an allocation would take the pod for one without a device.
    fn tell(&self, ids: Vec<String>) {
        match self.allocated.try_send(ids) {
            Ok(()) => {}
            Err(TrySendError::Full(ids)) => {
                let (allocated, events) = (self.allocated.clone(), self.events.clone());
                tokio::spawn(async move {
                    if allocated.send(ids).await.is_err() {
                        deaf(&events);
                    }
                });
            }
            Err(TrySendError::Closed(_)) => deaf(&self.events),
        }
    }

    fn check(&self, id: &str) -> Result<(), Status> {
        let devices = self.devices.borrow();
        if devices.iter().any(|d| d.id == id) {
            return Ok(());
        }
        let known: Vec<&str> = devices.iter().map(|d| d.id.as_str()).collect();
        Err(Status::not_found(format!(
            "{id:?} is no device of {}: this node has [{}]; the kubelet asked by an old list, create the pod again",
            self.resource,
            known.join(", "),
        )))
    }
}

/// The owner stopped listening: the daemon is going down. The pod is not failed for that: the next daemon asks the kubelet
/// for all devices before it trusts anything.
fn deaf(events: &mpsc::UnboundedSender<PluginEvent>) {
    let text = "an allocation was not taken in because the daemon is stopping".to_owned();
    drop(events.send(PluginEvent::Error(text)));
}

#[tonic::async_trait]
impl DevicePlugin for Service {
    type ListAndWatchStream = BoxStream<'static, Result<ListAndWatchResponse, Status>>;

    async fn get_device_plugin_options(
        &self,
        _: Request<Empty>,
    ) -> Result<Response<DevicePluginOptions>, Status> {
        Ok(Response::new(kubelet::OPTIONS))
    }

    async fn list_and_watch(
        &self,
        _: Request<Empty>,
    ) -> Result<Response<Self::ListAndWatchStream>, Status> {
        let watcher = Watcher {
            devices: self.devices.clone(),
            sent: None,
            events: self.events.clone(),
            _open: OpenStream::begin(&self.streams),
        };
        let closing = self.closing.clone().cancelled_owned();
        let lists = stream::unfold(watcher, Watcher::next).take_until(closing);
        Ok(Response::new(lists.boxed()))
    }

    async fn get_preferred_allocation(
        &self,
        _: Request<PreferredAllocationRequest>,
    ) -> Result<Response<PreferredAllocationResponse>, Status> {
        Err(Status::unimplemented("all devices of a node are equal: no preferred allocation"))
    }

    async fn allocate(
        &self,
        request: Request<AllocateRequest>,
    ) -> Result<Response<AllocateResponse>, Status> {
        let containers = request.into_inner().container_requests;
        let ids: Vec<String> = containers.iter().flat_map(|c| c.devices_ids.clone()).collect();
        ids.iter().try_for_each(|id| self.check(id))?;
        if !ids.is_empty() {
            self.tell(ids);
        }
        let container_responses =
            containers.iter().map(|_| ContainerAllocateResponse::default()).collect();
        Ok(Response::new(AllocateResponse { container_responses }))
    }

    async fn pre_start_container(
        &self,
        _: Request<PreStartContainerRequest>,
    ) -> Result<Response<PreStartContainerResponse>, Status> {
        Ok(Response::new(PreStartContainerResponse {}))
    }
}
