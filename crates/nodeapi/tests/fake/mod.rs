//! Servers on Unix sockets that answer what the test says, when it says so.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use tempfile::TempDir;
use tideway_proto::cri::runtime_service_server::{RuntimeService, RuntimeServiceServer};
use tideway_proto::cri::{
    ListPodSandboxRequest, ListPodSandboxResponse, PodSandbox, VersionRequest, VersionResponse,
};
use tideway_proto::podresources::pod_resources_lister_server::{
    PodResourcesLister, PodResourcesListerServer,
};
use tideway_proto::podresources::{
    ContainerDevices, ContainerResources, ListPodResourcesRequest, ListPodResourcesResponse,
    PodResources,
};
use tokio::net::UnixListener;
use tokio::sync::{Semaphore, watch};
use tokio_stream::wrappers::UnixListenerStream;
use tonic::{Request, Response, Status};

/// A kubelet and a runtime behind one socket.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) pods: Mutex<Vec<PodResources>>,
    pub(crate) sandboxes: Mutex<Vec<PodSandbox>>,
    /// Lists that began.
    pub(crate) lists: watch::Sender<usize>,
    /// A List takes one of these before it answers.
    pub(crate) gate: Semaphore,
    /// So many Lists are refused for asking too often.
    pub(crate) refusals: Mutex<usize>,
}

pub(crate) struct Served {
    pub(crate) node: Arc<Node>,
    pub(crate) socket: PathBuf,
    _dir: TempDir,
}

pub(crate) fn serve() -> Served {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("node.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let node = Arc::new(Node {
        pods: Mutex::default(),
        sandboxes: Mutex::default(),
        lists: watch::channel(0).0,
        gate: Semaphore::new(1000),
        refusals: Mutex::new(0),
    });
    let server = tonic::transport::Server::builder()
        .add_service(PodResourcesListerServer::from_arc(Arc::clone(&node)))
        .add_service(RuntimeServiceServer::from_arc(Arc::clone(&node)))
        .serve_with_incoming(UnixListenerStream::new(listener));
    tokio::spawn(server);
    Served { node, socket, _dir: dir }
}

/// A pod whose containers hold these devices.
pub(crate) fn pod(name: &str, containers: &[(&str, &[&str])]) -> PodResources {
    let containers = containers.iter().map(|(resource, ids)| ContainerResources {
        name: "c".to_owned(),
        devices: vec![ContainerDevices {
            resource_name: (*resource).to_owned(),
            device_ids: ids.iter().map(ToString::to_string).collect(),
        }],
    });
    PodResources {
        name: name.to_owned(),
        namespace: "default".to_owned(),
        containers: containers.collect(),
    }
}

#[tonic::async_trait]
impl PodResourcesLister for Node {
    async fn list(
        &self,
        _: Request<ListPodResourcesRequest>,
    ) -> Result<Response<ListPodResourcesResponse>, Status> {
        // What the kubelet knows when the List begins.
        let pod_resources = self.pods.lock().unwrap().clone();
        self.lists.send_modify(|n| *n += 1);
        {
            let mut refusals = self.refusals.lock().unwrap();
            if *refusals > 0 {
                *refusals -= 1;
                return Err(Status::resource_exhausted("rejected by rate limit"));
            }
        }
        self.gate.acquire().await.unwrap().forget();
        Ok(Response::new(ListPodResourcesResponse { pod_resources }))
    }
}

#[tonic::async_trait]
impl RuntimeService for Node {
    async fn version(
        &self,
        _: Request<VersionRequest>,
    ) -> Result<Response<VersionResponse>, Status> {
        Ok(Response::new(VersionResponse {
            version: "0.1.0".to_owned(),
            runtime_name: "containerd".to_owned(),
            runtime_version: "v2.1.9".to_owned(),
            runtime_api_version: "v1".to_owned(),
        }))
    }

    async fn list_pod_sandbox(
        &self,
        _: Request<ListPodSandboxRequest>,
    ) -> Result<Response<ListPodSandboxResponse>, Status> {
        let items = self.sandboxes.lock().unwrap().clone();
        Ok(Response::new(ListPodSandboxResponse { items }))
    }
}
