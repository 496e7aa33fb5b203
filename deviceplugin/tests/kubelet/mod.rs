//! A kubelet that does with device plugins what release 1.34 does, including what hurts: it wipes all sockets at its start,
//! asks each plugin for its options within `Register`, takes the newest list whatever stream it comes from, and when a stream
//! ends it disconnects the plugin that is registered under that name *now*.

use std::collections::BTreeMap;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use tideway_proto::deviceplugin::device_plugin_client::DevicePluginClient;
use tideway_proto::deviceplugin::registration_server::{Registration, RegistrationServer};
use tideway_proto::deviceplugin::{
    AllocateRequest, AllocateResponse, ContainerAllocateRequest, Device, Empty, RegisterRequest,
};
use tokio::net::UnixListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_stream::wrappers::UnixListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Response, Status};

/// What the kubelet believes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Books {
    /// Registrations that were accepted.
    pub(crate) registrations: usize,
    /// Registrations that came, accepted or not.
    pub(crate) asked: usize,
    /// The last list that came, and when; `None` after a stream ended.
    pub(crate) list: Option<(Vec<Device>, Instant)>,
    /// Lists that came.
    pub(crate) lists: usize,
}

impl Books {
    /// `id:health` of each device.
    pub(crate) fn devices(&self) -> Vec<String> {
        let list = self.list.iter().flat_map(|(list, _)| list);
        list.map(|d| format!("{}:{}", d.id, d.health)).collect()
    }
}

#[derive(Debug, Clone)]
struct Plugin {
    client: DevicePluginClient<Channel>,
    connected: CancellationToken,
}

#[derive(Debug)]
struct Inner {
    dir: PathBuf,
    books: watch::Sender<Books>,
    plugins: Mutex<BTreeMap<String, Plugin>>,
    refuse: Mutex<bool>,
    /// Whether it asks a registered plugin for its devices.
    asks: watch::Sender<bool>,
    life: CancellationToken,
    tasks: Mutex<JoinSet<()>>,
}

/// A running kubelet; dropping it is a `kill -9`: the socket's name stays behind.
#[derive(Debug)]
pub(crate) struct FakeKubelet {
    inner: Arc<Inner>,
    /// When `kubelet.sock` appeared, by the clock of the runtime, which a test may stop.
    pub(crate) born: Instant,
}

impl FakeKubelet {
    pub(crate) fn start(dir: &Path) -> Self {
        for entry in std::fs::read_dir(dir).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_socket() {
                std::fs::remove_file(entry.path()).unwrap();
            }
        }
        let listener = UnixListener::bind(dir.join("kubelet.sock")).unwrap();
        let born = Instant::now();
        let inner = Arc::new(Inner {
            dir: dir.to_owned(),
            books: watch::channel(Books::default()).0,
            plugins: Mutex::default(),
            refuse: Mutex::new(false),
            asks: watch::channel(true).0,
            life: CancellationToken::new(),
            tasks: Mutex::default(),
        });
        let server = tonic::transport::Server::builder()
            .add_service(RegistrationServer::new(Door(Arc::clone(&inner))))
            .serve_with_incoming(UnixListenerStream::new(listener));
        let life = inner.life.clone();
        inner.tasks.lock().unwrap().spawn(async move {
            life.run_until_cancelled(server).await;
        });
        Self { inner, born }
    }

    pub(crate) fn refuse(&self, refuse: bool) {
        *self.inner.refuse.lock().unwrap() = refuse;
    }

    pub(crate) fn ask(&self, asks: bool) {
        self.inner.asks.send_replace(asks);
    }

    pub(crate) fn books(&self) -> watch::Receiver<Books> {
        self.inner.books.subscribe()
    }

    /// Waits for a state of the books.
    pub(crate) async fn wait(&self, what: &str, condition: impl Fn(&Books) -> bool) -> Books {
        let mut books = self.books();
        let found = tokio::time::timeout(
            std::time::Duration::from_mins(1),
            books.wait_for(|books| condition(books)),
        );
        let found = found.await.map(|found| found.unwrap().clone());
        found.unwrap_or_else(|_| {
            panic!("within a minute not seen: {what}; {:?}", self.books().borrow())
        })
    }

    /// Allocates ids, a list for each container.
    pub(crate) async fn allocate(
        &self,
        resource: &str,
        containers: &[&[&str]],
    ) -> Result<AllocateResponse, Status> {
        let plugin = self.inner.plugins.lock().unwrap().get(resource).cloned();
        let request = AllocateRequest {
            container_requests: containers
                .iter()
                .map(|ids| ContainerAllocateRequest {
                    devices_ids: ids.iter().map(ToString::to_string).collect(),
                })
                .collect(),
        };
        let mut client = plugin.expect("no plugin is registered").client;
        client.allocate(request).await.map(Response::into_inner)
    }

    /// The client of the plugin that is registered now.
    pub(crate) fn client(&self, resource: &str) -> DevicePluginClient<Channel> {
        self.inner.plugins.lock().unwrap().get(resource).expect("registered").client.clone()
    }
}

impl Drop for FakeKubelet {
    fn drop(&mut self) {
        self.inner.life.cancel();
        self.inner.plugins.lock().unwrap().clear();
        self.inner.tasks.lock().unwrap().abort_all();
    }
}

struct Door(Arc<Inner>);

#[tonic::async_trait]
impl Registration for Door {
    async fn register(&self, request: Request<RegisterRequest>) -> Result<Response<Empty>, Status> {
        let request = request.into_inner();
        self.0.books.send_modify(|b| b.asked += 1);
        if *self.0.refuse.lock().unwrap() {
            return Err(Status::unknown("the kubelet is not in the mood"));
        }
        if request.version != "v1beta1" {
            return Err(Status::unknown(format!("unsupported version {}", request.version)));
        }
        assert!(!request.endpoint.contains('/'), "the endpoint is a file name");
        let socket = self.0.dir.join(&request.endpoint);
        let channel = Endpoint::from_shared(format!("unix://{}", socket.display()))
            .unwrap()
            .origin("http://localhost".parse().unwrap())
            .connect()
            .await
            .map_err(|e| Status::unknown(format!("failed to dial the plugin: {e:?}")))?;
        let mut client = DevicePluginClient::new(channel);
        client.get_device_plugin_options(Empty {}).await?;
        let connected = self.0.life.child_token();
        let plugin = Plugin { client, connected };
        let name = request.resource_name;
        self.0.plugins.lock().unwrap().insert(name.clone(), plugin.clone());
        self.0.books.send_modify(|b| b.registrations += 1);
        let inner = Arc::clone(&self.0);
        self.0.tasks.lock().unwrap().spawn(async move {
            inner.follow(plugin).await;
            // The bug of release 1.34: whoever is registered *now* is disconnected.
            let registered_now = inner.plugins.lock().unwrap().remove(&name);
            if let Some(current) = registered_now {
                current.connected.cancel();
            }
            inner.books.send_modify(|b| b.list = None);
        });
        Ok(Response::new(Empty {}))
    }
}

impl Inner {
    async fn follow(&self, mut plugin: Plugin) {
        let connected = plugin.connected.clone();
        let mut asks = self.asks.subscribe();
        let follow = async {
            asks.wait_for(|asks| *asks).await.unwrap();
            let Ok(stream) = plugin.client.list_and_watch(Empty {}).await else { return };
            let mut stream = stream.into_inner();
            while let Ok(Some(message)) = stream.message().await {
                self.books.send_modify(|b| {
                    b.list = Some((message.devices, Instant::now()));
                    b.lists += 1;
                });
            }
        };
        connected.run_until_cancelled(follow).await;
    }
}
