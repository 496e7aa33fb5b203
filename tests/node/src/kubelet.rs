//! A kubelet as far as devices go: it registers plugins, keeps their list, allocates, and tells who holds what.
//!
//! It plays by release 1.34 in what the daemon can see: a plugin is dialled back within `Register`, a pod's device shows in
//! pod-resources from its admission to its end, and a sandbox that is made again brings no second `Allocate`.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use tideway_proto::{
    deviceplugin::{
        AllocateRequest, ContainerAllocateRequest, Device, Empty, RegisterRequest,
        device_plugin_client::DevicePluginClient,
        registration_server::{Registration, RegistrationServer},
    },
    podresources::{
        ContainerDevices, ContainerResources, ListPodResourcesRequest, ListPodResourcesResponse,
        PodResources,
        pod_resources_lister_server::{PodResourcesLister, PodResourcesListerServer},
    },
};
use tokio::{net::UnixListener, task::JoinHandle};
use tokio_stream::wrappers::UnixListenerStream;
use tonic::{
    Request, Response, Status,
    transport::{Channel, Endpoint, Server},
};

use crate::{
    Pod, rpc,
    wait::{Look, until},
};

/// The resource that the daemon serves.
pub const RESOURCE: &str = "aliyun/eni";

#[derive(Debug, Default)]
struct Books {
    plugin: Option<DevicePluginClient<Channel>>,
    devices: Vec<Device>,
    /// Device → pod name.
    held: BTreeMap<String, String>,
    bucket: Bucket,
}

/// The kubelet's limit for pod-resources: 100 a second, 10 at once, for everybody together.
#[derive(Debug, Default)]
struct Bucket {
    /// Moment up to which the rate is used up.
    used: Option<Instant>,
}

impl Bucket {
    const EACH: Duration = Duration::from_millis(10);
    const BURST: Duration = Duration::from_millis(100);

    fn take(&mut self) -> bool {
        let now = Instant::now();
        let used = self.used.map_or(now, |used| used.max(now)) + Self::EACH;
        let fits = used <= now + Self::BURST;
        if fits {
            self.used = Some(used);
        }
        fits
    }
}

#[derive(Debug)]
struct Inner {
    dir: PathBuf,
    books: Mutex<Books>,
    followers: Mutex<Vec<JoinHandle<()>>>,
}

impl Inner {
    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A kubelet that runs; dropping it ends it.
#[derive(Debug)]
pub struct FakeKubelet {
    inner: Arc<Inner>,
    server: JoinHandle<()>,
}

impl FakeKubelet {
    /// Serves `kubelet.sock` and `pod-resources.sock` in `dir`.
    pub fn start(dir: &Path) -> Result<Self> {
        std::fs::create_dir_all(dir)?;
        let inner = Arc::new(Inner {
            dir: dir.to_owned(),
            books: Mutex::default(),
            followers: Mutex::default(),
        });
        let _entered = rpc::runtime()?.enter();
        let registration = listener(&dir.join("kubelet.sock"))?;
        let resources = listener(&Self::pod_resources_in(dir))?;
        let door = RegistrationServer::new(Door(Arc::clone(&inner)));
        let table = PodResourcesListerServer::new(Door(Arc::clone(&inner)));
        let server = tokio::spawn(async move {
            let door = Server::builder().add_service(door).serve_with_incoming(registration);
            let table = Server::builder().add_service(table).serve_with_incoming(resources);
            // Ends only with the task.
            drop(tokio::join!(door, table));
        });
        Ok(Self { inner, server })
    }

    /// Socket of pod-resources below a kubelet's directory.
    pub fn pod_resources_in(dir: &Path) -> PathBuf {
        dir.join("pod-resources.sock")
    }

    /// Ids of the devices that may be given to a pod now.
    pub fn healthy(&self) -> Vec<String> {
        let books = self.inner.books();
        books.devices.iter().filter(|d| d.health == "Healthy").map(|d| d.id.clone()).collect()
    }

    /// Waits until so many devices can be allocated and nobody holds them.
    pub fn offers(&self, count: usize, limit: Duration) -> Result<()> {
        until(&format!("{count} devices offered"), limit, || {
            let free = self.free();
            Ok(Look::of(free.len() >= count, || format!("{free:?}")))
        })
    }

    fn free(&self) -> Vec<String> {
        let healthy = self.healthy();
        let books = self.inner.books();
        healthy.into_iter().filter(|id| !books.held.contains_key(id)).collect()
    }

    /// Admits a pod that asks for one device: picks one, calls `Allocate`, and shows the pod as its holder. Returns the id.
    pub fn admit(&self, pod: &Pod) -> Result<String> {
        let id = self.free().into_iter().next().context("Insufficient aliyun/eni")?;
        self.allocate(&id)?;
        self.hold(&id, &pod.name);
        Ok(id)
    }

    /// Calls `Allocate` only: the pod never comes into being.
    pub fn allocate(&self, id: &str) -> Result<()> {
        let plugin = self.inner.books().plugin.clone();
        let Some(mut plugin) = plugin else { bail!("no plugin is registered") };
        let container = ContainerAllocateRequest { devices_ids: vec![id.to_owned()] };
        let request = AllocateRequest { container_requests: vec![container] };
        rpc::runtime()?.block_on(plugin.allocate(request)).context("Allocate")?;
        Ok(())
    }

    /// Shows a pod as holder of a device.
    pub fn hold(&self, id: &str, pod: &str) {
        self.inner.books().held.insert(id.to_owned(), pod.to_owned());
    }

    /// The pod has ended for good.
    pub fn forget(&self, pod: &Pod) {
        self.inner.books().held.retain(|_, holder| *holder != pod.name);
    }

    /// All pods have ended for good.
    pub fn forget_all(&self) {
        self.inner.books().held.clear();
    }
}

impl Drop for FakeKubelet {
    fn drop(&mut self) {
        self.server.abort();
        let mut followers = self.inner.followers.lock().unwrap_or_else(PoisonError::into_inner);
        followers.drain(..).for_each(|follower| follower.abort());
    }
}

pub(crate) fn listener(path: &Path) -> Result<UnixListenerStream> {
    if path.exists() {
        std::fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path).with_context(|| path.display().to_string())?;
    Ok(UnixListenerStream::new(listener))
}

#[derive(Debug)]
struct Door(Arc<Inner>);

#[tonic::async_trait]
impl Registration for Door {
    async fn register(&self, request: Request<RegisterRequest>) -> Result<Response<Empty>, Status> {
        let request = request.into_inner();
        if request.resource_name != RESOURCE || request.version != "v1beta1" {
            return Err(Status::unknown(format!("{request:?} is not expected here")));
        }
        let failed = |e: &dyn std::fmt::Display| Status::unknown(format!("dialling back: {e}"));
        let socket = self.0.dir.join(&request.endpoint);
        // The kubelet's gRPC sends this authority on a Unix socket.
        let endpoint = Endpoint::from_shared(format!("unix://{}", socket.display()))
            .map_err(|e| failed(&e))?
            .origin(http_localhost().map_err(|e| failed(&e))?);
        let mut plugin = DevicePluginClient::new(endpoint.connect().await.map_err(|e| failed(&e))?);
        plugin.get_device_plugin_options(Empty {}).await?;
        self.0.books().plugin = Some(plugin.clone());
        let inner = Arc::clone(&self.0);
        let follower = tokio::spawn(async move { follow(&inner, plugin).await });
        self.0.followers.lock().unwrap_or_else(PoisonError::into_inner).push(follower);
        Ok(Response::new(Empty {}))
    }
}

fn http_localhost() -> Result<tonic::transport::Uri> {
    Ok("http://localhost".parse()?)
}

/// Keeps the newest list. When the stream ends, all devices of the plugin are unhealthy.
async fn follow(inner: &Inner, mut plugin: DevicePluginClient<Channel>) {
    let Ok(stream) = plugin.list_and_watch(Empty {}).await else { return };
    let mut stream = stream.into_inner();
    while let Ok(Some(message)) = stream.message().await {
        inner.books().devices = message.devices;
    }
    for device in &mut inner.books().devices {
        "Unhealthy".clone_into(&mut device.health);
    }
}

#[tonic::async_trait]
impl PodResourcesLister for Door {
    async fn list(
        &self,
        _: Request<ListPodResourcesRequest>,
    ) -> Result<Response<ListPodResourcesResponse>, Status> {
        let mut books = self.0.books();
        if !books.bucket.take() {
            return Err(Status::resource_exhausted("rejected by rate limit"));
        }
        let mut pods: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for (id, pod) in &books.held {
            pods.entry(pod).or_default().push(id.clone());
        }
        let pod_resources = pods
            .into_iter()
            .map(|(name, device_ids)| PodResources {
                name: name.to_owned(),
                namespace: "default".to_owned(),
                containers: vec![ContainerResources {
                    name: "main".to_owned(),
                    devices: vec![ContainerDevices {
                        resource_name: RESOURCE.to_owned(),
                        device_ids,
                    }],
                }],
            })
            .collect();
        Ok(Response::new(ListPodResourcesResponse { pod_resources }))
    }
}
