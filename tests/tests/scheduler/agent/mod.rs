//! Kubelet and daemon of all fake nodes: follows the pods, says that they run, ends those that are deleted, and keeps each
//! node's `NodeNetwork` true, a little late, as a real one is.

mod node;
mod world;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use hyper::Method;
use serde_json::{Value, json};
use tideway_kubeapi::NodeNetworkStatus;
use tokio::sync::Semaphore;

pub(crate) use self::{
    node::{Kind, Shape},
    world::{Duty, Pace, Pod, World},
};
use crate::api::{Api, Refusal};

/// Between two looks at the clock.
const TICK: Duration = Duration::from_millis(25);
/// After a call that failed.
const PAUSE: Duration = Duration::from_millis(200);
/// Writes on their way.
const WRITES: usize = 24;

const PODS: &str = "/api/v1/pods";

/// The world, shared with the scenarios.
#[derive(Debug, Clone, Default)]
pub(crate) struct Agent(Arc<Mutex<World>>);

impl Agent {
    /// What is true now.
    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs as long as the runtime.
    pub(crate) fn start(&self, api: &Api) {
        tokio::spawn(self.clone().follow(api.clone()));
        tokio::spawn(self.clone().work(api.clone()));
    }

    async fn follow(self, api: Api) -> ! {
        loop {
            // Whatever ended it: what is there is read anew.
            drop(self.follow_once(&api).await);
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn follow_once(&self, api: &Api) -> anyhow::Result<()> {
        let list = api.get(PODS).await?;
        let version = text(&list, "/metadata/resourceVersion").to_owned();
        {
            let mut world = self.world();
            let now = Instant::now();
            let items = list.pointer("/items").and_then(Value::as_array);
            let pods: Vec<Pod> = items.into_iter().flatten().map(pod).collect();
            for uid in world.uids() {
                if !pods.iter().any(|p| p.uid == uid) {
                    world.gone(&uid, &version, now);
                }
            }
            for pod in pods {
                world.shown(pod, now);
            }
        }
        let mut events = api.watch(PODS, &version).await?;
        while let Some(event) = events.next().await? {
            let Some(object) = event.get("object") else { continue };
            let now = Instant::now();
            match text(&event, "/type") {
                "ADDED" | "MODIFIED" => self.world().shown(pod(object), now),
                "DELETED" => {
                    let pod = pod(object);
                    self.world().gone(&pod.uid, &pod.version, now);
                }
                "ERROR" => return Ok(()),
                _ => {}
            }
        }
        Ok(())
    }

    async fn work(self, api: Api) -> ! {
        let writes = Arc::new(Semaphore::new(WRITES));
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let now = Instant::now();
            let (duties, news) = {
                let mut world = self.world();
                let duties = world.pass(now);
                let pace = world.pace;
                let news: Vec<(String, NodeNetworkStatus)> = world
                    .nodes_mut()
                    .filter_map(|(name, node)| {
                        Some((name.clone(), node.news(now, pace.coalesce, pace.cooldown)?))
                    })
                    .collect();
                (duties, news)
            };
            for duty in duties {
                let (api, writes) = (api.clone(), Arc::clone(&writes));
                tokio::spawn(async move { fulfil(&api, &writes, &duty).await });
            }
            for (name, status) in news {
                let (agent, api, writes) = (self.clone(), api.clone(), Arc::clone(&writes));
                tokio::spawn(async move { agent.publish(&api, &writes, &name, &status).await });
            }
        }
    }

    async fn publish(&self, api: &Api, writes: &Semaphore, name: &str, status: &NodeNetworkStatus) {
        let Ok(_permit) = writes.acquire().await else { return };
        let path = format!("{}/{name}/status", crate::objects::NODE_NETWORKS);
        let done = match serde_json::to_value(status) {
            Ok(status) => api.call(Method::PATCH, &path, Some(&json!({"status": status}))).await,
            Err(error) => Err(Refusal::Lost(error.to_string())),
        };
        if done.is_err() {
            tokio::time::sleep(PAUSE).await;
        }
        if let Some(node) = self.world().node_mut(name) {
            node.wrote(done.is_ok());
        }
    }
}

/// Tells the API server, until it has heard.
async fn fulfil(api: &Api, writes: &Semaphore, duty: &Duty) {
    let Ok(_permit) = writes.acquire().await else { return };
    let (method, path, body) = match duty {
        Duty::Running { namespace, name } => (
            Method::PATCH,
            format!("/api/v1/namespaces/{namespace}/pods/{name}/status"),
            // By its address others see that the pod has its unit. Nobody here sends anything there.
            json!({"status": {"phase": "Running", "podIP": "10.64.0.2"}}),
        ),
        Duty::Finish { namespace, name, uid } => (
            Method::DELETE,
            format!("/api/v1/namespaces/{namespace}/pods/{name}"),
            json!({"gracePeriodSeconds": 0, "preconditions": {"uid": uid}}),
        ),
    };
    while let Err(Refusal::Lost(_) | Refusal::Status(429 | 500..=599, _)) =
        api.call(method.clone(), &path, Some(&body)).await
    {
        tokio::time::sleep(PAUSE).await;
    }
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn pod(object: &Value) -> Pod {
    let some = |pointer: &str| Some(text(object, pointer).to_owned()).filter(|t| !t.is_empty());
    let list = |pointer: &str| object.pointer(pointer).and_then(Value::as_array);
    let exclusive = list("/spec/containers")
        .into_iter()
        .flatten()
        .any(|c| c.pointer("/resources/limits/aliyun~1eni").is_some());
    let on_host = object.pointer("/spec/hostNetwork").and_then(Value::as_bool) == Some(true);
    let scheduled = list("/status/conditions")
        .into_iter()
        .flatten()
        .find(|c| text(c, "/type") == "PodScheduled" && text(c, "/status") == "False");
    let phase = text(object, "/status/phase");
    Pod {
        uid: text(object, "/metadata/uid").to_owned(),
        namespace: text(object, "/metadata/namespace").to_owned(),
        name: text(object, "/metadata/name").to_owned(),
        version: text(object, "/metadata/resourceVersion").to_owned(),
        node: some("/spec/nodeName"),
        wants: match (exclusive, on_host) {
            (true, _) => Some(Kind::Exclusive),
            (false, false) => Some(Kind::Shared),
            (false, true) => None,
        },
        ours: text(object, "/spec/schedulerName") == "default-scheduler",
        running: phase == "Running",
        ended: matches!(phase, "Succeeded" | "Failed"),
        deleting: object.pointer("/metadata/deletionTimestamp").is_some(),
        refused: scheduled.map(|c| text(c, "/message").to_owned()),
        nominated: some("/status/nominatedNodeName"),
    }
}
