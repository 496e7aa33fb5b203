//! One task takes in what the watches tell, and sends off what the books want done: wakes, looks at binds of unknown outcome,
//! figures.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tideway_kubeapi::{Change, ClusterEvent, Placement, Watched};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::decide::{BindEnd, Decider, Figures, List, Wake};
use crate::facts;
use crate::state::State;

/// Events taken under one lock: a question waits for no more than these.
const BATCH: usize = 32;
const TICK: Duration = Duration::from_millis(100);
/// Between two looks at binds of unknown outcome, and two counts of figures.
const LOOK: u32 = 10;
/// Wakes on their way at once.
const WAKING: usize = 16;
const WAKE_ANNOTATION: &str = "tideway.dev/wake";

/// Runs until `cancel`.
pub(crate) async fn feed(
    state: Arc<State>,
    mut events: mpsc::Receiver<ClusterEvent>,
    cancel: CancellationToken,
) {
    let mut batch = Vec::with_capacity(BATCH);
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let waking = Arc::new(Semaphore::new(WAKING));
    let mut ticked: u32 = 0;
    let mut looking: Option<JoinHandle<()>> = None;
    loop {
        tokio::select! {
            () = cancel.cancelled() => return,
            count = events.recv_many(&mut batch, BATCH) => if count == 0 { return },
            _ = ticks.tick() => {
                ticked = ticked.wrapping_add(1);
                if ticked.is_multiple_of(LOOK) {
                    // One round at a time: a slow API server must not be asked more for it.
                    if looking.as_ref().is_none_or(JoinHandle::is_finished) {
                        looking = Some(tokio::spawn(look(Arc::clone(&state))));
                    }
                    show(&state, &state.decider().figures());
                }
            }
        }
        let wakes = {
            let now = state.now();
            let mut decider = state.decider();
            for event in batch.drain(..) {
                take_in(&state, &mut decider, now, event);
            }
            decider.tick(now);
            decider.wakes(now)
        };
        for wake in wakes {
            tokio::spawn(rouse(Arc::clone(&state), Arc::clone(&waking), wake));
        }
    }
}

fn take_in(state: &State, decider: &mut Decider, now: Duration, event: ClusterEvent) {
    let schedulers = &state.books.schedulers;
    match event {
        ClusterEvent::Network(change) => match change {
            Change::ListBegins => decider.reports_list(List::Begins),
            Change::ListEnds(version) => {
                decider.reports_list(List::Ends(version));
                listed(state, decider, now, Watched::Networks);
            }
            Change::Listed(object) | Change::Applied(object) => {
                decider.report(&object.name, Some(facts::report(object.version, object.status)));
            }
            Change::Deleted(object) => decider.report(&object.name, None),
        },
        ClusterEvent::Node(change) => match change {
            Change::ListBegins => decider.nodes_list(List::Begins),
            Change::ListEnds(version) => {
                decider.nodes_list(List::Ends(version));
                listed(state, decider, now, Watched::Nodes);
            }
            Change::Listed(node) | Change::Applied(node) => decider.node(&facts::node(node)),
            Change::Deleted(node) => decider.node_gone(&node.name),
        },
        ClusterEvent::Pod(change) => match change {
            Change::ListBegins => decider.pods_list(now, List::Begins),
            Change::ListEnds(version) => {
                decider.pods_list(now, List::Ends(version));
                listed(state, decider, now, Watched::Pods);
            }
            Change::Listed(pod) | Change::Applied(pod) => {
                decider.pod(now, &facts::pod(*pod, schedulers));
            }
            Change::Deleted(pod) => decider.pod_gone(now, &facts::pod(*pod, schedulers)),
        },
        ClusterEvent::Claim(change) => match change {
            Change::ListBegins => decider.claims_list(List::Begins),
            Change::ListEnds(version) => {
                decider.claims_list(List::Ends(version));
                listed(state, decider, now, Watched::Claims);
            }
            Change::Listed(claim) | Change::Applied(claim) => {
                decider.claim(&claim.namespace, &claim.name, claim.bound);
            }
            Change::Deleted(claim) => decider.claim(&claim.namespace, &claim.name, false),
        },
        ClusterEvent::Watch(watched, error) => {
            state.metrics.watch_up(watched.word(), error.is_none());
            if let Some(error) = error {
                tracing::warn!(resource = watched.word(), error, "watch failed, trying again");
            } else {
                tracing::info!(resource = watched.word(), "watching");
            }
        }
    }
}

/// A list is whole; with the last of them questions may come.
fn listed(state: &State, decider: &mut Decider, now: Duration, watched: Watched) {
    state.missing.send_if_modified(|missing| missing.remove(&watched));
    if state.missing.borrow().is_empty() && !decider.is_ready() {
        decider.ready(now);
        let Figures { nodes, pods, .. } = decider.figures();
        tracing::info!(nodes, pods, "ready");
    }
}

/// Asks the API server about binds of unknown outcome, and about waiting pods that no watch shows.
async fn look(state: Arc<State>) {
    let unsure = state.decider().unsure(state.now());
    for (uid, namespace, name) in unsure {
        let end = match state.client.placement(&namespace, &name, &uid).await {
            Ok(Placement::On(node)) => BindEnd::On(node),
            Ok(Placement::Waiting) => BindEnd::Waiting,
            Ok(Placement::Gone) => BindEnd::Gone,
            Err(_) => BindEnd::Unknown,
        };
        let now = state.now();
        state.decider().looked(now, &uid, &end);
    }
}

/// Changes a refused pod, so that the scheduler tries it again, and first on the node for which it is nominated.
async fn rouse(state: Arc<State>, waking: Arc<Semaphore>, wake: Wake) {
    let Ok(_permit) = waking.acquire().await else { return };
    let stamp = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let pod = (wake.namespace.as_str(), wake.name.as_str(), &*wake.uid);
    let stamp = stamp.to_string();
    let annotation = (WAKE_ANNOTATION, stamp.as_str());
    let mut done = state.client.annotate(pod, annotation, wake.node.as_deref()).await;
    if let (Err(error), Some(node)) = (&done, &wake.node) {
        tracing::warn!(namespace = wake.namespace, pod = wake.name, node, %error, "a waiting pod cannot be nominated and is only woken; the extender needs the right to patch pods/status");
        state.decider().not_nominated(&wake.uid);
        done = state.client.annotate(pod, annotation, None).await;
    }
    state.metrics.woken(done.is_ok());
    match done {
        Ok(true) => {}
        Ok(false) => {
            let now = state.now();
            state.decider().woken_in_vain(now, &wake.uid);
        }
        Err(error) => {
            tracing::warn!(namespace = wake.namespace, pod = wake.name, %error, "a waiting pod cannot be woken");
        }
    }
}

fn show(state: &State, figures: &Figures) {
    let Figures { nodes, pods, in_flight, refused, free, tally } = *figures;
    let sizes = [("nodes", nodes), ("pods", pods), ("in_flight", in_flight), ("refused", refused)];
    state.metrics.set_books(sizes);
    state.metrics.set_free([
        ("shared", free.shared),
        ("exclusive", free.exclusive),
        ("member", free.member),
    ]);
    state.metrics.set_unwelcome([
        ("overshoot", tally.overshoots),
        ("leaving_given_up", tally.leaving_given_up),
        ("hold_ended", tally.holds_ended),
    ]);
}
