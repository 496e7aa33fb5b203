//! The node in the API: numbers of the allocator become the status of the node's `NodeNetwork`.
//!
//! Nobody waits for it. The engine is asked for its counts after commits and changes of the node's pods, bursts gathered, and
//! now and then besides (what is no commit, such as an ENI that the host has just prepared). A status goes to the writer
//! only when it says something new: a version of the pods' watch that moved alone is no news, unless a pod ended with it,
//! since readers wait for exactly that version, or, after a while, a pod showed its address with it: a reader that came in
//! between cannot tell that pod's unit from one of a pod that it has missed, until a status accounts for both.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tideway_cloud::{Cloud, Priority};
use tideway_ipam::{Counts, Event};
use tideway_kubeapi::{InstanceStatus, KubeConfig, NodeNetworkStatus, PodsView, Written};
use tideway_model::{Config, PodKey, PodUid, SubnetId};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use crate::{
    assemble::Parts,
    clock,
    hands::Tools,
    meter::Meter,
    node_status::{self, Node, Trouble},
    sources::{JOURNAL, SourceErrors},
};

/// What happens within this time after a change is told with it.
const GATHER: Duration = Duration::from_millis(200);
/// Between two looks while the numbers move.
const MOVING: Duration = Duration::from_secs(1);
/// Between two looks while they stand.
const STANDING: Duration = Duration::from_secs(5);
/// Between two questions for the subnets' room.
const ROOM: Duration = Duration::from_mins(10);
/// The same while one of them has none: as long as that is told no pod comes that would show that it has some again.
const NO_ROOM: Duration = Duration::from_mins(1);
/// From the address of a pod, which the API server shows after its unit was told, to a status that accounts for it. Those that
/// come in between need none of their own.
const SHOWN: Duration = Duration::from_secs(10);
/// Errors of the cloud shorter than this are no news.
const PATIENCE: Duration = Duration::from_secs(10);

/// The pods that the API server shows, without those that have ended.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Living {
    /// None: no list was seen yet, so nobody is known to be gone.
    pods: Option<BTreeMap<PodKey, BTreeSet<PodUid>>>,
}

impl Living {
    /// From the watch.
    pub fn of(view: &PodsView) -> Self {
        let mut pods: BTreeMap<PodKey, BTreeSet<PodUid>> = BTreeMap::new();
        for pod in view.pods.iter().filter(|pod| !pod.phase_ended) {
            pods.entry(pod.key.clone()).or_default().insert(pod.uid.clone());
        }
        Self { pods: view.synced.then_some(pods) }
    }

    /// Whether the pod (of this UID, when it is known) is gone or has ended.
    pub fn lacks(&self, key: &PodKey, uid: Option<&PodUid>) -> bool {
        let Some(pods) = &self.pods else { return false };
        !pods.get(key).is_some_and(|uids| uid.is_none_or(|uid| uids.contains(uid)))
    }
}

/// What the cloud last said of the subnets' room.
pub type Room = Arc<Mutex<BTreeMap<SubnetId, u64>>>;

/// Everything that a status is made of.
pub struct Publication<C> {
    /// Engine and cloud.
    pub tools: Arc<Tools<C>>,
    /// What does not change while the daemon runs.
    pub node: Node,
    /// The node's pods.
    pub pods: watch::Receiver<PodsView>,
    /// Notified after each commit.
    pub moved: Arc<Notify>,
    /// Room of the subnets.
    pub room: Room,
    /// Sources that fail, the journal among them.
    pub errors: SourceErrors,
    /// To the writer.
    pub out: watch::Sender<Option<NodeNetworkStatus>>,
}

impl<C> std::fmt::Debug for Publication<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Publication").field("node", &self.node).finish_non_exhaustive()
    }
}

impl<C: Cloud> Publication<C> {
    /// Tells every change until cancelled.
    pub async fn run(mut self, cancel: CancellationToken) {
        let mut told: Option<NodeNetworkStatus> = None;
        let mut full = Vec::new();
        let mut living = Arc::new(Living::default());
        let mut shown = Shown::default();
        loop {
            // Pods before counts: what ends between the two is told too late, never too early.
            let version = {
                let view = self.pods.borrow_and_update();
                if view.has_changed() {
                    living = Arc::new(Living::of(&view));
                }
                (view.version, view.ended_at, view.addressed_at)
            };
            let Some(counts) = self.tools.engine.counts(Arc::clone(&living)).await else { return };
            forget_room(&self.room, &full, &counts.full);
            let now = self.status(&counts, version.0, told.as_ref());
            full = counts.full;
            let news = told.as_ref().is_none_or(|told| {
                let shown = shown.due(version.2, pods_version(told), clock::boot());
                is_news(told, &now, version.1.max(shown))
            });
            if news {
                self.out.send_replace(Some(now.clone()));
                told = Some(now);
            }
            tokio::select! {
                () = cancel.cancelled() => return,
                changed = self.pods.changed() => match changed {
                    // Waiting counts as seeing; the view is read above.
                    Ok(()) => self.pods.mark_changed(),
                    Err(_closed) => return,
                },
                () = self.moved.notified() => {}
                () = tokio::time::sleep(if news { MOVING } else { STANDING }) => {}
            }
            tokio::time::sleep(GATHER).await;
        }
    }

    fn status(
        &self,
        counts: &Counts,
        version: Option<u64>,
        before: Option<&NodeNetworkStatus>,
    ) -> NodeNetworkStatus {
        let failing = self
            .tools
            .log
            .failing()
            .filter(|(since, _)| clock::boot().saturating_sub(*since) >= PATIENCE);
        let trouble = Trouble {
            cloud: failing.map(|(_, remedy)| remedy),
            journal: self.errors.of(JOURNAL).is_some(),
        };
        let room = self.room.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let before = before.map_or(&[][..], |s| &s.conditions);
        let mut status = node_status::status(&self.node, counts, &room, version);
        status.conditions =
            node_status::conditions(&self.node, counts, &trouble, before, &clock::wall_text());
        status
    }
}

/// What was said of a subnet's room before it refused is not true any more: it has none until the next look.
fn forget_room(room: &Room, before: &[SubnetId], now: &[SubnetId]) {
    let mut room = room.lock().unwrap_or_else(PoisonError::into_inner);
    for id in now.iter().filter(|id| !before.contains(id)) {
        room.insert(id.clone(), 0);
    }
}

fn pods_version(status: &NodeNetworkStatus) -> Option<u64> {
    status.pods_resource_version.as_ref().and_then(|v| v.parse().ok())
}

/// A pod's address is shown that no status accounts for yet: since when.
#[derive(Debug, Default)]
struct Shown(Option<Duration>);

impl Shown {
    /// The version that must be told now for what was shown: none if it was told, or has time.
    fn due(&mut self, shown: Option<u64>, told: Option<u64>, now: Duration) -> Option<u64> {
        if told >= shown {
            self.0 = None;
            return None;
        }
        let since = *self.0.get_or_insert(now);
        shown.filter(|_| now.saturating_sub(since) >= SHOWN)
    }
}

/// Whether `now` says what `told` did not. `due`: up to which version it must account for the pods.
fn is_news(told: &NodeNetworkStatus, now: &NodeNetworkStatus, due: Option<u64>) -> bool {
    let (known, seen) = (pods_version(told), pods_version(now));
    // An older list than the last one must take its claim back.
    let accounts = known >= due && seen >= known;
    if !accounts && seen != known {
        return true;
    }
    let same = NodeNetworkStatus {
        pods_resource_version: told.pods_resource_version.clone(),
        ..now.clone()
    };
    same != *told
}

/// Whether to ask for the room again, so long after the last answer. `rest` is about [`ROOM`].
fn is_due(room: &BTreeMap<SubnetId, u64>, waited: Duration, rest: Duration) -> bool {
    waited >= rest || room.values().any(|free| *free == 0)
}

/// Asks for the room of the subnets now and then, until cancelled.
pub async fn look_at_room<C: Cloud>(
    tools: Arc<Tools<C>>,
    subnets: Vec<SubnetId>,
    room: Room,
    cancel: CancellationToken,
) {
    // Nodes that were started together do not ask together.
    let spread = |pause: Duration| pause.mul_f64(0.5f64.mul_add(clock::jitter(), 0.75));
    let (mut asked, mut rest) = (clock::boot(), spread(ROOM));
    loop {
        tokio::select! {
            () = cancel.cancelled() => return,
            () = tokio::time::sleep(spread(NO_ROOM)) => {}
        }
        let known = room.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if !is_due(&known, clock::boot().saturating_sub(asked), rest) {
            continue;
        }
        (asked, rest) = (clock::boot(), spread(ROOM));
        let seen = tools.cloud.subnets(&subnets);
        let seen =
            tools.log.call(("DescribeVSwitches", None), Priority::Describe, ROOM, seen).await;
        if let Ok(seen) = seen {
            let mut room = room.lock().unwrap_or_else(PoisonError::into_inner);
            for subnet in seen {
                room.insert(subnet.plan.id, subnet.available);
            }
            tools.engine.tell(Event::Room(room.clone()));
        }
    }
}

/// Whether the configuration or the pod that the daemon runs in names an API server.
pub fn has_api_server(config: &Config) -> bool {
    config.kubernetes.kubeconfig.is_some() || std::env::var_os("KUBERNETES_SERVICE_HOST").is_some()
}

/// Takes the node's object away, so that nobody counts on addresses that are given back. Failing is told and stops nothing:
/// the object goes with its Node in the end.
pub async fn withdraw(config: &Config) {
    if !has_api_server(config) {
        return;
    }
    let node = config.node_name.clone().unwrap_or_else(tideway_kubeapi::node_name);
    let kube = KubeConfig { kubeconfig: config.kubernetes.kubeconfig.clone(), node };
    if let Err(error) = tideway_kubeapi::withdraw(&kube).await {
        tracing::warn!(%error, "the NodeNetwork of this node is left; delete it with kubectl, or with its Node");
    }
}

/// Starts all of it: numbers, room, writer.
pub fn start<C: Cloud>(
    parts: &Parts<C>,
    config: &Config,
    kube: KubeConfig,
    pods: watch::Receiver<PodsView>,
    errors: SourceErrors,
    meter: &Meter,
    cancel: &CancellationToken,
) {
    let facts = &parts.facts;
    let subnets: Vec<SubnetId> = facts.subnets.iter().map(|s| s.id.clone()).collect();
    let room = Room::new(Mutex::new(facts.room.clone()));
    parts.tools.engine.tell(Event::Room(facts.room.clone()));
    let (out, wanted) = watch::channel(None);
    let publication = Publication {
        tools: Arc::clone(&parts.tools),
        node: Node {
            instance: InstanceStatus {
                id: facts.instance.to_string(),
                type_name: facts.instance_type.clone(),
                zone: facts.zone.clone(),
            },
            subnets: subnets.clone(),
            cooldown_millis: u64::from(config.pool.cooldown_seconds) * 1000,
            offers_devices: !config.kubernetes.device_plugin_dir.is_empty(),
        },
        pods,
        moved: Arc::clone(&parts.moved),
        room: Arc::clone(&room),
        errors: errors.clone(),
        out,
    };
    let tools = Arc::clone(&parts.tools);
    parts.tasks.spawn(look_at_room(tools, subnets, room, cancel.clone()));
    parts.tasks.spawn(publication.run(cancel.clone()));
    let written = tideway_kubeapi::publish(kube, wanted, cancel.clone());
    parts.tasks.spawn(account(written, errors, meter.clone()));
}

/// Counts what the writer does and tells its errors, once each, until it ends.
pub async fn account(mut written: watch::Receiver<Written>, errors: SourceErrors, meter: Meter) {
    let mut before = Written::default();
    while written.changed().await.is_ok() {
        let now = written.borrow_and_update().clone();
        meter.node_network(true, now.writes.saturating_sub(before.writes));
        meter.node_network(false, now.failures.saturating_sub(before.failures));
        errors.set("API server (NodeNetwork)", now.error.clone());
        before = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tideway_kubeapi::NodePod;

    fn pod(name: &str, uid: &str, ended: bool) -> NodePod {
        NodePod {
            key: PodKey::new("ns", name).unwrap(),
            uid: uid.try_into().unwrap(),
            wants_eni: 0,
            host_network: false,
            phase_ended: ended,
            deleting: false,
            controller: None,
            reserves: false,
            ips: Vec::new(),
        }
    }

    fn lacks(living: &Living, name: &str, uid: Option<&str>) -> bool {
        let uid: Option<PodUid> = uid.map(|u| u.try_into().unwrap());
        living.lacks(&PodKey::new("ns", name).unwrap(), uid.as_ref())
    }

    #[test]
    fn nobody_is_gone_before_the_first_whole_list() {
        let view = PodsView { pods: vec![pod("a", "u1", false)], ..PodsView::default() };
        assert!(!lacks(&Living::of(&view), "b", None));
    }

    #[test]
    fn a_pod_of_the_same_name_and_one_that_has_ended_are_told_apart_from_one_that_runs() {
        let pods = vec![pod("a", "u2", false), pod("done", "u3", true)];
        let living = Living::of(&PodsView { synced: true, pods, ..PodsView::default() });
        assert!(lacks(&living, "a", Some("u1")), "the former pod of that name");
        assert!(!lacks(&living, "a", Some("u2")));
        assert!(!lacks(&living, "a", None), "of unknown UID: not provably gone");
        assert!(lacks(&living, "done", Some("u3")));
        assert!(lacks(&living, "b", None));
    }

    #[test]
    fn a_subnet_that_was_full_has_no_room_until_somebody_has_looked_again() {
        let id: SubnetId = "vsw-1".try_into().unwrap();
        let room = Room::new(Mutex::new(BTreeMap::from([(id.clone(), 50)])));
        let free = || room.lock().unwrap()[&id];
        let full = std::slice::from_ref(&id);
        forget_room(&room, &[], &[]);
        assert_eq!(free(), 50);
        forget_room(&room, &[], full);
        forget_room(&room, full, &[]);
        assert_eq!(free(), 0, "the hold has ended, nobody has looked");
        forget_room(&room, &[], full);
        room.lock().unwrap().insert(id.clone(), 7);
        forget_room(&room, full, full);
        assert_eq!(free(), 7, "the look came after the refusal");
    }

    #[test]
    fn a_subnet_without_room_is_not_left_alone_for_ten_minutes() {
        let [full, other]: [SubnetId; 2] = ["vsw-1", "vsw-2"].map(|id| id.try_into().unwrap());
        let mut room = BTreeMap::from([(full.clone(), 0), (other, 60)]);
        assert!(is_due(&room, NO_ROOM, ROOM));
        room.insert(full, 7);
        assert!(!is_due(&room, NO_ROOM, ROOM));
        assert!(is_due(&room, ROOM, ROOM));
    }

    fn at(version: u64, ready: u32) -> NodeNetworkStatus {
        let mut status = NodeNetworkStatus {
            pods_resource_version: Some(version.to_string()),
            ..NodeNetworkStatus::default()
        };
        status.shared.ready = ready;
        status
    }

    #[test]
    fn a_version_that_moves_alone_is_no_news_and_one_that_ended_a_pod_is() {
        assert!(!is_news(&at(10, 1), &at(20, 1), Some(10)));
        assert!(is_news(&at(10, 1), &at(20, 1), Some(15)));
        assert!(is_news(&at(10, 1), &at(20, 2), Some(10)));
        assert!(!is_news(&at(20, 1), &at(20, 1), Some(15)));
        // A server that is behind shows an older list: the claim is taken back.
        assert!(is_news(&at(20, 1), &at(15, 1), Some(15)));
        let none = NodeNetworkStatus::default();
        assert!(!is_news(&none, &none, None));
        assert!(is_news(&none, &at(20, 0), Some(20)));
    }

    #[test]
    fn addresses_that_pods_show_after_their_units_were_told_are_accounted_for_once_for_all_of_them()
    {
        let second = Duration::from_secs;
        let mut shown = Shown::default();
        assert_eq!(shown.due(None, Some(10), second(1)), None);
        assert_eq!(shown.due(Some(12), Some(10), second(2)), None, "others may follow");
        assert_eq!(shown.due(Some(15), Some(10), second(11)), None);
        assert_eq!(shown.due(Some(18), Some(10), second(12)), Some(18));
        assert_eq!(shown.due(Some(18), Some(18), second(13)), None, "told");
        // What a status of other news accounts for needs none of its own.
        assert_eq!(shown.due(Some(20), Some(18), second(14)), None);
        assert_eq!(shown.due(Some(20), Some(21), second(15)), None);
        assert_eq!(shown.due(Some(30), Some(21), second(30)), None);
    }
}
