//! A running lab: cloud, servers and effects in one process. Tests start it in-process; the daemon does the same and
//! adds the control socket.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use tokio::sync::watch;

use crate::cloud::error::ApiError;
use crate::cloud::faults::{Fault, FaultSpec};
use crate::cloud::ledger::{CallCount, Violation};
use crate::cloud::vpc::BuildError;
use crate::cloud::{Cloud, network};
use crate::config::{CloudKind, ConfigError, LabConfig};
use crate::description::LabDescription;
use crate::fabric::{
    API_ADDRESS, Fabric, FabricError, METADATA_ADDRESS, METADATA_ADDRESS_EC2, NoFabric, netns,
};
use crate::wire::gate::Gate;
use crate::wire::keys::Keys;
use crate::wire::listen::{self, Handler};
use crate::wire::recording::Recorded;
use crate::wire::shared::Shared;
use crate::wire::tls::{Tls, TlsError};
use crate::wire::{api, meta};
use crate::{control, describe, effects};

/// How long [`Lab::stop`] waits for the network work that is running.
const PATIENCE: Duration = Duration::from_secs(10);

/// A lab could not be started.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// Configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Instance types or addresses.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// Network.
    #[error("the lab's network could not be made")]
    Fabric(#[from] FabricError),
    /// Certificate.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A port or file.
    #[error("{doing}")]
    Io {
        /// What was being done.
        doing: String,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
}

/// Where a lab lives.
pub struct LabHost {
    /// The network.
    pub fabric: Arc<dyn Fabric>,
    /// Namespace of the router, in which the inside servers listen; without it there are none.
    pub namespace: Option<String>,
    /// Directory for `ca.pem` and `control.sock`; without it there are none.
    pub state_dir: Option<PathBuf>,
    /// Hears what the network could not do.
    pub tell: Arc<dyn Fn(String) + Send + Sync>,
}

impl Default for LabHost {
    fn default() -> Self {
        Self {
            fabric: Arc::new(NoFabric::default()),
            namespace: None,
            state_dir: None,
            tell: Arc::new(drop),
        }
    }
}

impl std::fmt::Debug for LabHost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LabHost")
            .field("namespace", &self.namespace)
            .field("state_dir", &self.state_dir)
            .finish_non_exhaustive()
    }
}

/// A running lab; stops when dropped. The network of a [`LabHost`] with a real fabric is not removed by that: see
/// [`crate::fabric::cleanup`].
#[derive(Debug)]
pub struct Lab {
    description: LabDescription,
    ca_pem: String,
    shared: Arc<Shared>,
    fabric: Arc<dyn Fabric>,
    runtime: Option<Runtime>,
    stop: watch::Sender<bool>,
    stop_asked: watch::Receiver<bool>,
    ended: std::sync::mpsc::Receiver<()>,
}

struct Servers {
    plain: TcpListener,
    tls: TcpListener,
    meta: Vec<(String, TcpListener)>,
    inside: Option<[TcpListener; 3]>,
}

impl Lab {
    /// Starts a lab without a network, on free loopback ports.
    pub fn start(config: LabConfig) -> Result<Self, LabError> {
        Self::start_on(config, LabHost::default())
    }

    /// Starts a lab on a given host. Blocks while the instances are made; may be called from async code.
    pub fn start_on(config: LabConfig, host: LabHost) -> Result<Self, LabError> {
        config.check()?;
        let keys = Keys::new(&config);
        let cloud = Cloud::new(config.clone(), Shared::now())?;
        for (instance, primary) in network::instances(&cloud.vpc) {
            host.fabric.create_instance(&instance)?;
            host.fabric.attach(&primary, &instance.name)?;
        }
        let (groups, members) = (network::groups(&cloud.vpc), network::membership(&cloud.vpc));
        host.fabric.set_security_groups(&groups, &members)?;

        let tls = tls(&config)?;
        let servers = bind(&cloud, host.namespace.as_deref())?;
        let description = describe::lab(&cloud, &servers.addresses()?, &host);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("tideway-lab")
            .enable_all()
            .build()
            .map_err(|source| LabError::Io { doing: "starting the runtime".into(), source })?;
        let shared = Shared::new(cloud, Gate::new(keys));
        let (stop, stopped) = watch::channel(false);
        let (end, ended) = std::sync::mpsc::channel();
        let entered = runtime.enter();
        servers.run(&shared, &tls)?;
        let (asked, stop_asked) = watch::channel(false);
        if let Some(dir) = &host.state_dir {
            let io = |doing: &str| {
                let doing = format!("{doing} in {}", dir.display());
                move |source| LabError::Io { doing, source }
            };
            std::fs::write(dir.join("ca.pem"), &tls.ca_pem).map_err(io("writing ca.pem"))?;
            control::serve(
                &dir.join("control.sock"),
                control::Control {
                    shared: Arc::clone(&shared),
                    fabric: Arc::clone(&host.fabric),
                    description: description.clone(),
                    stop: asked,
                },
            )
            .map_err(io("opening the control socket"))?;
        }
        let task = effects::run(
            Arc::clone(&shared),
            Arc::clone(&host.fabric),
            stopped,
            Arc::clone(&host.tell),
        );
        runtime.spawn(async move {
            task.await;
            drop(end);
        });
        drop(entered);
        Ok(Self {
            description,
            ca_pem: tls.ca_pem,
            shared,
            fabric: host.fabric,
            runtime: Some(runtime),
            stop,
            stop_asked,
            ended,
        })
    }

    /// What is in `lab.json`.
    pub fn description(&self) -> &LabDescription {
        &self.description
    }

    /// `http://127.0.0.1:PORT` of the APIs.
    pub fn endpoint(&self) -> &str {
        &self.description.endpoints.api
    }

    /// `https://127.0.0.1:PORT` of the APIs.
    pub fn tls_endpoint(&self) -> &str {
        &self.description.endpoints.api_tls
    }

    /// Certificate authority of the TLS endpoints, PEM.
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// `http://127.0.0.1:PORT` of the metadata service as this instance sees it.
    pub fn metadata_endpoint(&self, instance: &str) -> Option<&str> {
        self.description.endpoints.metadata.get(instance).map(String::as_str)
    }

    /// The network.
    pub fn fabric(&self) -> &Arc<dyn Fabric> {
        &self.fabric
    }

    /// Looks into or changes the cloud. Short work only: the APIs wait meanwhile.
    pub fn with_cloud<R>(&self, work: impl FnOnce(&mut Cloud) -> R) -> R {
        let result = work(&mut self.shared.cloud());
        self.shared.work.notify_one();
        result
    }

    /// Puts a fault in force; answers its number (0 for those that strike at once).
    pub fn add_fault(&self, spec: FaultSpec) -> Result<u32, ApiError> {
        self.with_cloud(|cloud| cloud.add_fault(spec, Shared::now()))
    }

    /// Ends one fault or all.
    pub fn clear_faults(&self, id: Option<u32>) -> usize {
        self.with_cloud(|cloud| cloud.vpc.faults.clear(id))
    }

    /// Faults in force.
    pub fn faults(&self) -> Vec<Fault> {
        self.with_cloud(|cloud| cloud.vpc.faults.list(Shared::now()))
    }

    /// Detaches an ENI behind its owner's back.
    pub fn force_detach(&self, eni: &str) -> Result<(), ApiError> {
        Ok(self.with_cloud(|cloud| cloud.vpc.force_detach(eni, Shared::now()))?)
    }

    /// Ends an instance for good; [`Lab::settle`] waits until its network is gone.
    pub fn terminate(&self, instance: &str) -> Result<(), ApiError> {
        self.with_cloud(|cloud| cloud.vpc.terminate(instance, Shared::now()))?;
        Ok(())
    }

    /// Calls by action, caller and outcome.
    pub fn calls(&self) -> Vec<CallCount> {
        self.with_cloud(|cloud| cloud.vpc.ledger.counts())
    }

    /// Calls of one action so far, whatever came of them.
    pub fn calls_of(&self, action: &str) -> u64 {
        self.calls().iter().filter(|c| c.action == action).map(|c| c.calls).sum()
    }

    /// Addresses given twice or lost. Empty is good.
    pub fn verify(&self) -> Vec<Violation> {
        self.with_cloud(|cloud| cloud.verify())
    }

    /// The raw requests that came in, oldest first.
    pub fn requests(&self) -> Vec<Recorded> {
        self.shared.requests().all()
    }

    /// Waits until no state change is running and the network has done its part; false when `limit` passed first.
    /// Blocks the thread.
    pub fn settle(&self, limit: Duration) -> bool {
        let end = Instant::now() + limit;
        loop {
            let settled = self.with_cloud(|cloud| {
                let changing = cloud.vpc.enis().values().any(|e| e.state.changes());
                !changing && cloud.vpc.last_order() <= *self.shared.done.borrow()
            });
            if settled || Instant::now() >= end {
                return settled;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Becomes true when somebody asked for the end over the control socket.
    pub fn stop_asked(&self) -> watch::Receiver<bool> {
        self.stop_asked.clone()
    }

    /// Stops the servers; running network work is finished first.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        let Some(runtime) = self.runtime.take() else { return };
        self.stop.send_replace(true);
        self.shared.work.notify_one();
        // The task drops its sender when it ends; nothing is ever sent.
        self.ended.recv_timeout(PATIENCE).unwrap_or_default();
        runtime.shutdown_background();
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.end();
    }
}

fn tls(config: &LabConfig) -> Result<Tls, TlsError> {
    let region = &config.region;
    let mut names = vec!["localhost".to_owned()];
    match config.cloud {
        CloudKind::Aliyun => names.extend([
            format!("ecs.{region}.aliyuncs.com"),
            format!("ecs-vpc.{region}.aliyuncs.com"),
            format!("vpc.{region}.aliyuncs.com"),
            format!("vpc-vpc.{region}.aliyuncs.com"),
            "ecs.aliyuncs.com".to_owned(),
            "vpc.aliyuncs.com".to_owned(),
        ]),
        CloudKind::Aws => {
            names.extend([format!("ec2.{region}.amazonaws.com"), format!("ec2.{region}.api.aws")]);
        }
    }
    let addresses =
        [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST), IpAddr::V4(API_ADDRESS)];
    Tls::new(&names, &addresses)
}

fn bind(cloud: &Cloud, namespace: Option<&str>) -> Result<Servers, LabError> {
    let local = || {
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .map_err(|source| LabError::Io { doing: "opening a loopback port".into(), source })
    };
    let mut meta = Vec::new();
    for instance in cloud.vpc.instances.values() {
        meta.push((instance.name.clone(), local()?));
    }
    let inside = match namespace {
        None => None,
        Some(namespace) => {
            let open = |address: Ipv4Addr, port: u16| {
                netns::listen_in(namespace, SocketAddr::from((address, port))).map_err(|source| {
                    LabError::Io {
                        doing: format!("listening on {address}:{port} in namespace {namespace}"),
                        source,
                    }
                })
            };
            let metadata = metadata_address(cloud.vpc.config.cloud);
            Some([open(API_ADDRESS, 80)?, open(API_ADDRESS, 443)?, open(metadata, 80)?])
        }
    };
    Ok(Servers { plain: local()?, tls: local()?, meta, inside })
}

/// Where the metadata service of a cloud is, inside the VPC.
pub(crate) fn metadata_address(cloud: CloudKind) -> Ipv4Addr {
    match cloud {
        CloudKind::Aliyun => METADATA_ADDRESS,
        CloudKind::Aws => METADATA_ADDRESS_EC2,
    }
}

/// Addresses of the loopback servers.
#[derive(Debug)]
pub(crate) struct Addresses {
    pub(crate) plain: SocketAddr,
    pub(crate) tls: SocketAddr,
    pub(crate) meta: BTreeMap<String, SocketAddr>,
}

impl Servers {
    fn addresses(&self) -> Result<Addresses, LabError> {
        let of = |listener: &TcpListener| {
            listener
                .local_addr()
                .map_err(|source| LabError::Io { doing: "reading a port".into(), source })
        };
        let mut meta = BTreeMap::new();
        for (name, listener) in &self.meta {
            meta.insert(name.clone(), of(listener)?);
        }
        Ok(Addresses { plain: of(&self.plain)?, tls: of(&self.tls)?, meta })
    }

    /// Must run inside the runtime's context.
    fn run(self, shared: &Arc<Shared>, tls: &Tls) -> Result<(), LabError> {
        let adopt = |listener| {
            listen::adopt(listener)
                .map(|(listener, _)| listener)
                .map_err(|source| LabError::Io { doing: "opening a port".into(), source })
        };
        let api: Handler = api::handler(Arc::clone(shared));
        tokio::spawn(listen::serve(adopt(self.plain)?, Arc::clone(&api)));
        tokio::spawn(listen::serve_tls(adopt(self.tls)?, tls.acceptor.clone(), Arc::clone(&api)));
        for (name, listener) in self.meta {
            let handler = meta::handler(Arc::clone(shared), Some(name));
            tokio::spawn(listen::serve(adopt(listener)?, handler));
        }
        if let Some([plain, secure, metadata]) = self.inside {
            tokio::spawn(listen::serve(adopt(plain)?, Arc::clone(&api)));
            tokio::spawn(listen::serve_tls(adopt(secure)?, tls.acceptor.clone(), api));
            let handler = meta::handler(Arc::clone(shared), None);
            tokio::spawn(listen::serve(adopt(metadata)?, handler));
        }
        Ok(())
    }
}
