//! The daemon's life: assemble, serve, publish, watch, stop.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
    time::Duration,
};

use anyhow::Context as _;
use futures::future::OptionFuture;
use tideway_cloud::Cloud;
use tideway_ipam::{BoundPod, Event};
use tideway_kubeapi::{KubeConfig, PodsView};
use tideway_model::{Config, InstanceId, PodRef};
use tideway_nodeapi::{PodResources, Runtime};
use tideway_proto::node::{Capacity, node_server::NodeServer};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;

use crate::{
    assemble::{assemble, witness},
    conflist, door, elsewhere,
    engine::{EngineHandle, Message},
    events,
    facts::Facts,
    holders::Holders,
    identity::Identities,
    meter::Meter,
    owners, plugin, publish,
    service::{self, NodeCard, RequestIds, Service},
    socket,
    sources::{self, JOURNAL, SourceErrors},
    strays,
    sweep::Sweep,
    tickets,
};

/// A graceful stop ends within 2 s; so long it waits for what hangs, all of it together.
const STOP: Duration = Duration::from_millis(1500);

/// The runtime, when the configuration names one.
pub fn runtime_of(config: &Config) -> Option<Runtime> {
    (!config.paths.runtime_socket.is_empty()).then(|| Runtime::new(&config.paths.runtime_socket))
}

/// Runs until `cancel`.
pub async fn run<C: Cloud>(
    cloud: C,
    instance: InstanceId,
    config: Config,
    rebuild: bool,
    meter: Meter,
    cancel: CancellationToken,
) -> anyhow::Result<()> {
    let listener = socket::bind(config.paths.socket.as_ref())
        .map_err(|e| config.refuse("paths.socket", e.to_string()))?;
    if let Err(e) = std::fs::create_dir_all(&config.paths.tickets) {
        tracing::warn!(dir = config.paths.tickets, error = %e, "the ticket directory cannot be made; the plugin makes it when it needs it");
    }
    let hasty = config.pool.hasty();
    if !hasty.is_empty() {
        tracing::warn!(
            keys = hasty.join(", "),
            "times of the pool are shorter than what is held for safe, the defaults in parentheses; that is for tests"
        );
    }
    let errors = SourceErrors::new(meter.clone());
    let engine = Arc::new(OnceLock::new());
    tokio::spawn(tideway_telemetry::serve(
        config.http,
        meter.metrics(),
        readiness(Arc::clone(&engine), errors.clone()),
        cancel.clone(),
    ));
    let mut journal = None;
    if !rebuild {
        // A journal that cannot be used is told before anything else is done.
        let path = Path::new(&config.paths.journal);
        let witness = witness(&config);
        journal = door::journal(path, &witness, &instance, &listener, &errors, &cancel).await?;
        if journal.is_none() {
            return Ok(());
        }
    }
    let resources = &config.kubernetes.pod_resources_socket;
    let holders =
        (!resources.is_empty()).then(|| Holders::new(PodResources::new(resources), errors.clone()));
    let parts =
        assemble(cloud, instance, &config, journal, holders, &errors, cancel.clone()).await?;
    engine.get_or_init(|| parts.tools.engine.clone());
    let node = config.node_name.clone().unwrap_or_else(tideway_kubeapi::node_name);
    let (failures, failed) = events::failures();
    let service = Service {
        tools: Arc::clone(&parts.tools),
        ids: RequestIds::default(),
        add_timeout: Duration::from_secs(config.pool.add_timeout_seconds.into()),
        tasks: parts.tasks.clone(),
        card: NodeCard {
            node: node.clone(),
            instance_type: parts.facts.instance_type.clone(),
            low: config.pool.low,
            high: config.pool.high,
            capacity: capacity(&config, &parts.facts),
        },
        source_errors: errors.clone(),
        meter: meter.clone(),
        failures,
    };
    let runtime = runtime_of(&config);
    let server = Server::builder()
        .add_service(NodeServer::with_interceptor(service.clone(), socket::authorise))
        .serve_with_incoming_shutdown(
            socket::incoming(&listener)?,
            cancel.clone().cancelled_owned(),
        );
    let server = tokio::spawn(server);

    let tasks = &parts.tasks;
    let tools = Arc::clone(&parts.tools);
    tasks.spawn(async move { tools.name_idle().await });
    let settle = Duration::from_secs(config.pool.settle_seconds.max(1).into());
    tasks.spawn(tickets::watch(
        PathBuf::from(&config.paths.tickets),
        Arc::new(service),
        cancel.clone(),
    ));
    tasks.spawn(sources::watch(
        Arc::clone(&parts.tools),
        runtime.clone(),
        errors.clone(),
        settle,
        cancel.clone(),
    ));
    tasks.spawn(strays::watch(Arc::clone(&parts.tools), meter.clone(), settle, cancel.clone()));
    if !config.kubernetes.device_plugin_dir.is_empty() {
        let devices = parts.tools.devices.subscribe();
        let dir = PathBuf::from(&config.kubernetes.device_plugin_dir);
        tasks.spawn(plugin::serve(
            dir,
            devices,
            parts.tools.engine.clone(),
            meter.clone(),
            cancel.clone(),
        ));
    }
    let watched = publish::has_api_server(&config);
    let kube = KubeConfig { kubeconfig: config.kubernetes.kubeconfig.clone(), node };
    let pods = tideway_kubeapi::watch_pods(kube.clone(), cancel.clone());
    if watched {
        publish::start(
            &parts,
            &config,
            kube.clone(),
            pods.clone(),
            errors.clone(),
            &meter,
            &cancel,
        );
        let engine = parts.tools.engine.clone();
        let (kube, errors, cancel) = (kube.clone(), errors.clone(), cancel.clone());
        tasks.spawn(events::tell(
            engine.clone(),
            kube.clone(),
            failed,
            errors.clone(),
            cancel.clone(),
        ));
        tasks.spawn(elsewhere::watch(engine.clone(), kube.clone(), errors.clone(), cancel.clone()));
        tasks.spawn(owners::watch(engine, kube, errors, settle, cancel));
    }
    let sweep = (watched && config.sweep.enabled).then(|| {
        let tools = Arc::clone(&parts.tools);
        let sweep = Sweep::new(tools, &config, kube, errors.clone(), meter.clone());
        tokio::spawn(sweep.run(cancel.clone()))
    });
    tasks.spawn(bound_pods(
        pods,
        watched,
        Identities::from(&config.leases),
        parts.tools.engine.clone(),
        errors.clone(),
        cancel.clone(),
    ));
    tasks.spawn(crate::meter::sample(meter.clone(), Arc::clone(&parts.tools), cancel.clone()));

    let cni_version = conflist::publish(&config, runtime.as_ref()).await.map_err(|e| {
        let dir = &config.paths.cni_conf_dir;
        let text = format!(
            "{dir} cannot be written ({e}), and the runtime finds no network without our configuration there; make it writable, or name another directory"
        );
        config.refuse("paths.cniConfDir", text)
    })?;
    if let Some(runtime) = runtime {
        let (config, cancel) = (config.clone(), cancel.clone());
        tasks.spawn(conflist::follow(config, runtime, cni_version, settle, cancel));
    }
    tracing::info!(socket = %config.paths.socket, %cni_version, "ready");

    let engine = parts.engine;
    let engine_ended = tokio::task::spawn_blocking(move || engine.join());
    tokio::pin!(engine_ended);
    tokio::select! {
        () = cancel.cancelled() => {}
        ended = &mut engine_ended => {
            cancel.cancel();
            match ended.context("the engine did not end")? {
                Ok(Ok(())) => anyhow::bail!("the engine ended by itself"),
                Ok(Err(e)) => return Err(e.into()),
                Err(_panic) => anyhow::bail!("the engine failed; the journal keeps what was promised, restart tidewayd"),
            }
        }
    }
    tracing::info!("stopping");
    // First of all: ADDs that wait are answered by the engine's end, and the server ends with its last answer.
    parts.tools.engine.send(Message::Stop);
    let sweep = OptionFuture::from(sweep);
    drop(tokio::time::timeout(STOP, futures::future::join3(server, engine_ended, sweep)).await);
    drop(std::fs::remove_file(&config.paths.socket));
    Ok(())
}

/// The part of the capacity that does not change.
fn capacity(config: &Config, facts: &Facts) -> Capacity {
    Capacity {
        min_shared: config.shared.min_enis.into(),
        max_shared: config.shared.max_enis.map(Into::into),
        devices: !config.kubernetes.device_plugin_dir.is_empty(),
        vpc_blocks: facts.vpc_blocks.iter().map(ToString::to_string).collect(),
        families: config.families.list().iter().map(ToString::to_string).collect(),
        cni_conf_dir: config.paths.cni_conf_dir.clone(),
        ..Capacity::default()
    }
}

/// Tells the engine which pods are bound here, and which of them are identities. Optional: without an API server nothing
/// comes, and nothing is lost.
async fn bound_pods(
    mut pods: watch::Receiver<PodsView>,
    watched: bool,
    identities: Identities,
    engine: EngineHandle,
    errors: SourceErrors,
    cancel: CancellationToken,
) {
    loop {
        tokio::select! {
            () = cancel.cancelled() => return,
            changed = pods.changed() => if changed.is_err() { return },
        }
        let view = pods.borrow_and_update().clone();
        if watched {
            errors.set("API server (early demand, identities)", view.error.clone());
        }
        if !view.synced {
            continue;
        }
        let bound = view
            .pods
            .iter()
            .filter(|pod| !pod.phase_ended)
            .map(|pod| BoundPod {
                pod: PodRef { key: pod.key.clone(), uid: Some(pod.uid.clone()) },
                wants_eni: pod.wants_eni > 0,
                host_network: pod.host_network,
                lease: identities.of_pod(pod),
            })
            .collect();
        engine.tell(Event::PodsBound(bound));
    }
}

fn readiness(
    engine: Arc<OnceLock<EngineHandle>>,
    errors: SourceErrors,
) -> impl Fn() -> futures::future::BoxFuture<'static, Result<(), String>> + Clone + Send + Sync + 'static
{
    move || {
        let (engine, errors) = (Arc::clone(&engine), errors.clone());
        Box::pin(async move {
            match engine.get() {
                Some(engine) => service::ready(engine, &errors).await,
                None => Err(errors.of(JOURNAL).unwrap_or_else(|| "starting".to_owned())),
            }
        })
    }
}
