//! What all scenarios ask of the control plane and the fake nodes.

use std::{
    cell::Cell,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use hyper::Method;
use serde_json::{Value, json};
use tideway_e2e::{
    run_dir::RunDir,
    wait::{self, Look},
};
use tokio::runtime::Runtime;

use crate::{
    agent::{Agent, Kind, Pace, Pod, Shape, World},
    api::{Api, Refusal},
    figures::Figures,
    objects::{self, Allocatable, NODE_NETWORKS, NODES},
    stack::{Mode, Pair, SERVER, Setting, Stack},
};

/// For everything that a busy machine does slowly.
pub(crate) const PATIENCE: Duration = Duration::from_mins(3);
/// Calls on their way.
const CALLS: usize = 32;

/// Everything that runs.
#[derive(Debug)]
pub(crate) struct Bed {
    pub(crate) stack: Stack,
    api: Api,
    agent: Agent,
    runtime: Runtime,
    setting: Cell<Option<Setting>>,
}

impl Bed {
    pub(crate) fn set_up(dir: &RunDir, extender: PathBuf) -> Result<Self> {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let stack = Stack::up(dir, extender)?;
        let api = Api::new(SERVER, &stack.pki(), "admin")?;
        let agent = Agent::default();
        let bed = Self { stack, api, agent, runtime, setting: Cell::new(None) };
        bed.install()?;
        bed.runtime.block_on(async { bed.agent.start(&bed.api) });
        Ok(bed)
    }

    /// The definition, the extender's rights and the classes.
    fn install(&self) -> Result<()> {
        let definition = include_str!("../../../manifests/crds/nodenetworks.yaml");
        let definition: Value = serde_saphyr::from_str(definition)?;
        let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
        self.create(path, &definition)?;
        self.wait("NodeNetworks are served", |_| self.get(NODE_NETWORKS).map(drop))?;
        for part in include_str!("../../../manifests/scheduler/rbac.yaml").split("\n---\n") {
            let object: Value = serde_saphyr::from_str(part)?;
            let path = match object["kind"].as_str() {
                Some("ServiceAccount") => "/api/v1/namespaces/kube-system/serviceaccounts",
                Some("ClusterRole") => "/apis/rbac.authorization.k8s.io/v1/clusterroles",
                Some("ClusterRoleBinding") => {
                    "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings"
                }
                other => bail!("{other:?} is not expected in the manifest"),
            };
            // The server makes its own namespaces a little after it says that it is ready.
            self.wait("the extender's rights are given", |bed| {
                bed.create(path, &object).map(drop)
            })?;
        }
        for (name, value) in [("low", -10), ("high", 1000)] {
            let class = json!({"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": name}, "value": value});
            self.create("/apis/scheduling.k8s.io/v1/priorityclasses", &class)?;
        }
        Ok(())
    }

    /// Runs scheduler and extender with this setting; fresh ones unless they run with it already.
    pub(crate) fn run_with(&self, setting: Setting) -> Result<()> {
        let runs = self.setting.get();
        if runs == Some(setting) {
            return Ok(());
        }
        self.setting.set(None);
        self.stack.stop("scheduler")?;
        self.stack.stop("extender")?;
        if setting.mode != Mode::Bare {
            self.stack.start_extender(Pair::First, setting)?;
        }
        self.stack.start_scheduler(Pair::First, setting)?;
        self.setting.set(Some(setting));
        Ok(())
    }

    /// The next [`Bed::run_with`] starts both anew.
    pub(crate) fn spoil(&self) {
        self.setting.set(None);
    }

    // --- calls

    pub(crate) fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, Refusal> {
        self.runtime.block_on(self.api.call(method, path, body))
    }

    pub(crate) fn get(&self, path: &str) -> Result<Value> {
        self.call(Method::GET, path, None).with_context(|| path.to_owned())
    }

    pub(crate) fn create(&self, path: &str, object: &Value) -> Result<Value> {
        self.call(Method::POST, path, Some(object)).with_context(|| format!("POST {path}"))
    }

    /// Makes many calls at once.
    pub(crate) fn at_once(&self, calls: Vec<(Method, String, Option<Value>)>) -> Result<()> {
        let one = |(method, path, body): (Method, String, Option<Value>)| async move {
            match self.api.call(method.clone(), &path, body.as_ref()).await {
                Err(gone) if method == Method::DELETE && gone.is(404) => Ok(()),
                answer => answer.map(drop).with_context(|| format!("{method} {path}")),
            }
        };
        let all = stream::iter(calls).map(one).buffer_unordered(CALLS).try_collect::<Vec<()>>();
        self.runtime.block_on(all).map(drop)
    }

    // --- nodes and pods

    /// Nodes `PREFIX-0` and so on with their `NodeNetwork`s; returns when the extender knows their numbers.
    pub(crate) fn nodes(
        &self,
        prefix: &str,
        count: usize,
        shape: Shape,
        tree: Allocatable,
    ) -> Result<()> {
        let names: Vec<String> = (0..count).map(|i| format!("{prefix}-{i}")).collect();
        {
            let mut world = self.world();
            for name in &names {
                world.add_node(name, shape);
            }
        }
        let networks = names
            .iter()
            .map(|n| (Method::POST, NODE_NETWORKS.into(), Some(objects::node_network(n))));
        self.at_once(networks.collect())?;
        let nodes = names.iter().enumerate();
        let nodes =
            nodes.map(|(i, n)| (Method::POST, NODES.into(), Some(objects::node(n, i, tree))));
        self.at_once(nodes.collect())?;
        if self.setting.get().is_some_and(|s| s.mode == Mode::Bare) {
            return Ok(());
        }
        self.wait_known(count, shape)
    }

    /// Waits until the extender knows the numbers of so many empty nodes.
    pub(crate) fn wait_known(&self, count: usize, shape: Shape) -> Result<()> {
        let count = u32::try_from(count)?;
        let shared = f64::from(count * (shape.base + shape.adapters * shape.per_adapter));
        let exclusive = f64::from(count * shape.adapters);
        self.wait("the extender knows the nodes", |_| {
            let page = Figures::of_extender(Pair::First)?;
            let free = |kind| page.sum("tideway_extender_free_units", &[kind]);
            let seen = (free("shared"), free("exclusive"));
            ensure!(seen.0 >= shared && seen.1 >= exclusive, "{seen:?} are free there");
            Ok(())
        })
    }

    pub(crate) fn namespace(&self, name: &str) -> Result<()> {
        let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        match self.call(Method::POST, "/api/v1/namespaces", Some(&object)) {
            Err(error) if !error.is(409) => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Creates pods at once.
    pub(crate) fn pods(
        &self,
        namespace: &str,
        pods: impl IntoIterator<Item = Value>,
    ) -> Result<()> {
        let path = format!("/api/v1/namespaces/{namespace}/pods");
        self.at_once(pods.into_iter().map(|p| (Method::POST, path.clone(), Some(p))).collect())
    }

    /// Deletes pods; `grace` in seconds, none: their own.
    pub(crate) fn delete(
        &self,
        namespace: &str,
        names: &[String],
        grace: Option<u32>,
    ) -> Result<()> {
        let body = grace.map(|g| json!({"gracePeriodSeconds": g}));
        let path = |name: &String| format!("/api/v1/namespaces/{namespace}/pods/{name}");
        self.at_once(names.iter().map(|n| (Method::DELETE, path(n), body.clone())).collect())
    }

    // --- looks

    pub(crate) fn world(&self) -> std::sync::MutexGuard<'_, World> {
        self.agent.world()
    }

    /// Waits until the condition holds; its error says what is there instead.
    pub(crate) fn wait(
        &self,
        what: &str,
        mut holds: impl FnMut(&Self) -> Result<()>,
    ) -> Result<()> {
        wait::until(what, PATIENCE, || {
            Ok(match holds(self) {
                Ok(()) => Look::Seen(()),
                Err(error) => Look::NotYet(format!("{error:#}")),
            })
        })
    }

    /// Waits until so many pods of the namespace are bound.
    pub(crate) fn wait_bound(&self, namespace: &str, count: usize) -> Result<Duration> {
        let began = Instant::now();
        self.wait(&format!("{count} pods of {namespace} bound"), |bed| {
            let bound = bed.bound(namespace).len();
            ensure!(bound >= count, "{bound} are; {}", bed.why_waiting(namespace));
            Ok(())
        })?;
        Ok(began.elapsed())
    }

    /// Waits until every pod of the namespace is bound.
    pub(crate) fn wait_none_waiting(&self, namespace: &str) -> Result<Duration> {
        let began = Instant::now();
        self.wait(&format!("no pod of {namespace} waits"), |bed| {
            let waiting = bed.waiting(namespace).len();
            ensure!(waiting == 0, "{waiting} do; {}", bed.why_waiting(namespace));
            Ok(())
        })?;
        Ok(began.elapsed())
    }

    /// Names of bound pods that are not being deleted.
    pub(crate) fn bound(&self, namespace: &str) -> Vec<String> {
        self.names(namespace, |p| p.node.is_some() && !p.deleting && !p.ended)
    }

    /// Names of pods that are not bound.
    pub(crate) fn waiting(&self, namespace: &str) -> Vec<String> {
        self.names(namespace, |p| p.node.is_none())
    }

    pub(crate) fn names(&self, namespace: &str, is: impl Fn(&Pod) -> bool) -> Vec<String> {
        self.world().of(namespace).filter(|p| is(p)).map(|p| p.name.clone()).collect()
    }

    pub(crate) fn why_waiting(&self, namespace: &str) -> String {
        let world = self.world();
        let waiting = world.of(namespace).find(|p| p.node.is_none());
        waiting.map_or_else(String::new, |p| format!("{}: {:?}", p.name, p.refused))
    }

    /// Waits until so many pods were refused by the extender, each with a text that names the cause.
    pub(crate) fn wait_refused(&self, namespace: &str, count: usize) -> Result<()> {
        self.wait(&format!("{count} pods of {namespace} refused with our text"), |bed| {
            let told = bed.names(namespace, says_why);
            ensure!(told.len() == count, "{} are; {}", told.len(), bed.why_waiting(namespace));
            Ok(())
        })
    }

    /// No node was ever given more than it has.
    pub(crate) fn never_above(&self) -> Result<()> {
        let world = self.world();
        match world.overshoots.as_slice() {
            [] => Ok(()),
            [first, rest @ ..] => {
                bail!("{} bindings beyond what the node had: {first}", rest.len() + 1)
            }
        }
    }

    /// Waits until nothing is on its way on the nodes.
    pub(crate) fn wait_at_rest(&self) -> Result<()> {
        self.wait("the nodes are at rest", |bed| {
            ensure!(bed.world().is_at_rest(), "they are not");
            Ok(())
        })
    }

    /// Waits until nothing is on its way on the nodes, and no pod waits that a node could take.
    pub(crate) fn wait_settled(&self, namespace: &str) -> Result<()> {
        self.wait("nothing waits that a node could take", |bed| {
            let world = bed.world();
            ensure!(world.is_at_rest(), "the nodes are not at rest");
            for pod in world.of(namespace).filter(|p| p.node.is_none()) {
                let Some(kind) = pod.wants else { bail!("{} needs nothing and waits", pod.name) };
                let nodes = world.with_room(kind);
                ensure!(
                    nodes == 0,
                    "{} waits ({:?}), {nodes} nodes have room",
                    pod.name,
                    pod.refused
                );
            }
            Ok(())
        })
    }

    /// Waits until so much time has passed: for counting what happens in it.
    pub(crate) fn observe(&self, span: Duration) -> Result<()> {
        let began = Instant::now();
        self.wait("a span of observation", |_| {
            ensure!(began.elapsed() >= span, "{:?} have passed", began.elapsed());
            Ok(())
        })
    }

    /// Waits until an extender has nothing in its books of pods that wait or are on their way.
    pub(crate) fn wait_forgotten(&self, pair: Pair) -> Result<()> {
        self.wait("the extender holds nothing", |_| {
            let page = Figures::of_extender(pair)?;
            let held = page.sum("tideway_extender_books", &["in_flight"]);
            let refused = page.sum("tideway_extender_books", &["refused"]);
            ensure!(held + refused == 0.0, "{held} pods in flight and {refused} refused");
            Ok(())
        })
    }

    /// Deletes all pods by force.
    pub(crate) fn delete_all(&self) -> Result<()> {
        let left: Vec<(String, String)> =
            self.world().pods().map(|p| (p.namespace.clone(), p.name.clone())).collect();
        let calls = left.iter().map(|(namespace, name)| {
            let path = format!("/api/v1/namespaces/{namespace}/pods/{name}");
            (Method::DELETE, path, Some(json!({"gracePeriodSeconds": 0})))
        });
        self.at_once(calls.collect())?;
        self.wait("all pods are gone", |bed| {
            let left = bed.world().pods().count();
            ensure!(left == 0, "{left} are left");
            Ok(())
        })
    }

    /// Everything of a scenario goes, and nothing may be held by the extender after that.
    pub(crate) fn clear(&self) -> Result<()> {
        self.delete_all()?;
        for path in [NODES, NODE_NETWORKS] {
            // Thousands of them take longer than one call may.
            self.wait(&format!("{path} is empty"), |bed| {
                bed.call(Method::DELETE, path, None).map(drop).with_context(|| path.to_owned())
            })?;
        }
        {
            let mut world = self.world();
            world.forget_nodes();
            world.pace = Pace::default();
        }
        // Its figures are up to a second old: by now they are new.
        if self.setting.get().is_some_and(|s| s.mode != Mode::Bare) {
            self.wait_forgotten(Pair::First)?;
        }
        Ok(())
    }

    /// After a failure: what may be frozen or dead is ended or started, and everything goes.
    pub(crate) fn recover(&self) -> Result<()> {
        self.setting.set(None);
        for pair in [Pair::First, Pair::Second] {
            self.stack.stop(pair.scheduler())?;
            self.stack.stop(pair.extender())?;
        }
        self.stack.stop("controller-manager")?;
        self.stack.revive_api_server()?;
        self.clear()
    }
}

/// Whether the pod waits with a text of ours that names the cause: of the whole cluster, or of the only node that was asked.
fn says_why(pod: &Pod) -> bool {
    let unit = if pod.wants == Some(Kind::Exclusive) { "ENI" } else { "address" };
    let whole = format!("tideway: no free {unit} on the nodes asked; cluster-wide: free ");
    let only = format!(": needs 1 {unit}, free 0, with pods ");
    let says = |text: &String| text.contains(&whole) || text.contains(&only);
    pod.node.is_none() && pod.refused.as_ref().is_some_and(says)
}
