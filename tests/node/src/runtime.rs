//! A container runtime as far as the daemon asks it: its version and its sandboxes.

use std::{
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use anyhow::Result;
use tideway_proto::cri::{
    ListPodSandboxRequest, ListPodSandboxResponse, PodSandbox, PodSandboxMetadata, PodSandboxState,
    VersionRequest, VersionResponse,
    runtime_service_server::{RuntimeService, RuntimeServiceServer},
};
use tokio::{sync::watch, task::JoinHandle};
use tonic::{Request, Response, Status, transport::Server};

use crate::{Pod, kubelet::listener, rpc};

type Sandboxes = Arc<Mutex<Vec<PodSandbox>>>;
/// None: it does not tell.
type Version = Arc<Mutex<Option<&'static str>>>;

fn all(sandboxes: &Sandboxes) -> MutexGuard<'_, Vec<PodSandbox>> {
    sandboxes.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A runtime that answers; dropping it ends it.
#[derive(Debug)]
pub struct FakeRuntime {
    sandboxes: Sandboxes,
    version: Version,
    listings: Arc<AtomicU64>,
    held: watch::Sender<bool>,
    server: JoinHandle<()>,
}

impl FakeRuntime {
    /// Serves CRI at `socket`.
    pub fn start(socket: &Path) -> Result<Self> {
        let sandboxes = Sandboxes::default();
        let _entered = rpc::runtime()?.enter();
        let incoming = listener(socket)?;
        let (held, gate) = watch::channel(false);
        let listings = Arc::<AtomicU64>::default();
        let version = Arc::new(Mutex::new(Some("v2.1.9")));
        let service = Service {
            sandboxes: Arc::clone(&sandboxes),
            version: Arc::clone(&version),
            listings: Arc::clone(&listings),
            gate,
        };
        let service = RuntimeServiceServer::new(service);
        let server = Server::builder().add_service(service).serve_with_incoming(incoming);
        // Ends only with the task.
        let server = tokio::spawn(async move { drop(server.await) });
        Ok(Self { sandboxes, version, listings, held, server })
    }

    /// It is containerd of this version from now on; none: it is away, as far as its version goes.
    pub fn is(&self, version: Option<&'static str>) {
        *self.version.lock().unwrap_or_else(PoisonError::into_inner) = version;
    }

    /// How often it was asked for its sandboxes.
    pub fn listings(&self) -> u64 {
        self.listings.load(Ordering::Relaxed)
    }

    /// What it lists from now on is not heard before [`Self::let_go`].
    pub fn hold(&self) {
        self.held.send_replace(true);
    }

    /// Answers what waits, and at once from now on.
    pub fn let_go(&self) {
        self.held.send_replace(false);
    }

    /// A sandbox exists from before its ADD.
    pub fn created(&self, pod: &Pod) {
        let mut list = all(&self.sandboxes);
        if list.iter().any(|known| known.id == pod.container) {
            return;
        }
        let metadata = PodSandboxMetadata {
            name: pod.name.clone(),
            uid: pod.uid.clone(),
            namespace: "default".to_owned(),
            attempt: 0,
        };
        let (id, metadata) = (pod.container.clone(), Some(metadata));
        list.push(PodSandbox { id, metadata, ..PodSandbox::default() });
    }

    /// A sandbox does not run any more and is still listed, as after a reboot.
    pub fn ended(&self, pod: &Pod) {
        let mut list = all(&self.sandboxes);
        for sandbox in list.iter_mut().filter(|known| known.id == pod.container) {
            sandbox.set_state(PodSandboxState::SandboxNotready);
        }
    }

    /// A sandbox is removed.
    pub fn removed(&self, pod: &Pod) {
        all(&self.sandboxes).retain(|known| known.id != pod.container);
    }

    /// Lists nothing from now on, as just after a restart. Returns what was there.
    pub fn forget_all(&self) -> Vec<PodSandbox> {
        std::mem::take(&mut *all(&self.sandboxes))
    }

    /// Lists these from now on.
    pub fn remember(&self, sandboxes: Vec<PodSandbox>) {
        *all(&self.sandboxes) = sandboxes;
    }
}

impl Drop for FakeRuntime {
    fn drop(&mut self) {
        self.server.abort();
    }
}

#[derive(Debug)]
struct Service {
    sandboxes: Sandboxes,
    version: Version,
    listings: Arc<AtomicU64>,
    gate: watch::Receiver<bool>,
}

#[tonic::async_trait]
impl RuntimeService for Service {
    async fn version(
        &self,
        _: Request<VersionRequest>,
    ) -> Result<Response<VersionResponse>, Status> {
        let version = *self.version.lock().unwrap_or_else(PoisonError::into_inner);
        let version = version.ok_or_else(|| Status::unavailable("the runtime is away"))?;
        Ok(Response::new(VersionResponse {
            version: "0.1.0".to_owned(),
            runtime_name: "containerd".to_owned(),
            runtime_version: version.to_owned(),
            runtime_api_version: "v1".to_owned(),
        }))
    }

    async fn list_pod_sandbox(
        &self,
        _: Request<ListPodSandboxRequest>,
    ) -> Result<Response<ListPodSandboxResponse>, Status> {
        let items = all(&self.sandboxes).clone();
        self.listings.fetch_add(1, Ordering::Relaxed);
        let mut gate = self.gate.clone();
        let open = gate.wait_for(|held| !held).await;
        open.map_err(|_ended| Status::unavailable("the runtime has ended"))?;
        Ok(Response::new(ListPodSandboxResponse { items }))
    }
}
