//! What answers each verb: decode, decide under the lock, encode.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use serde::Serialize;
use tideway_kubeapi::{BindOutcome, Binding, ClusterPod};

use crate::decide::{BindEnd, BindStart, Choice, Told, Uid, Victims};
use crate::facts;
use crate::state::{Books, State};
use crate::wire::{
    BindingArgs, ExtenderArgs, FilterResult, HostPriority, Outcome, PreemptionArgs,
    PreemptionResult, PriorityArgs,
};

/// A verb of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Which nodes can take the pod.
    Filter,
    /// Which of them are better.
    Prioritize,
    /// Where evictions would help.
    Preempt,
    /// The pod goes to a node.
    Bind,
}

impl Verb {
    pub(crate) fn of_path(path: &str) -> Option<Self> {
        match path {
            "/filter" => Some(Self::Filter),
            "/prioritize" => Some(Self::Prioritize),
            "/preempt" => Some(Self::Preempt),
            "/bind" => Some(Self::Bind),
            _ => None,
        }
    }

    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Filter => "filter",
            Self::Prioritize => "prioritize",
            Self::Preempt => "preempt",
            Self::Bind => "bind",
        }
    }
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// JSON.
    pub body: Vec<u8>,
    /// A word for the figures.
    pub(crate) outcome: &'static str,
}

impl Answer {
    fn of(body: &impl Serialize, outcome: &'static str) -> Self {
        match serde_json::to_vec(body) {
            Ok(body) => Self { status: 200, body, outcome },
            Err(error) => Self::error(500, &format!("the answer cannot be written: {error}")),
        }
    }

    /// Whatever is wrong: the scheduler takes any status but 200 for an error; the text is for people.
    pub(crate) fn error(status: u16, text: &str) -> Self {
        let body = serde_json::to_vec(&Outcome { error: text }).unwrap_or_default();
        Self { status, body, outcome: "error" }
    }
}

const WHOLE_NODES: &str = "whole nodes were sent: set nodeCacheCapable: true for this extender in the scheduler's configuration";

/// Answers a verb that waits for nothing, from books that are whole.
pub fn answer(books: &Books, verb: Verb, body: &[u8]) -> Answer {
    let answer = match verb {
        Verb::Filter => serde_json::from_slice(body).map(|args| filter(books, args)),
        Verb::Prioritize => serde_json::from_slice(body).map(|args| prioritize(books, args)),
        Verb::Preempt => serde_json::from_slice(body).map(|args| preempt(books, args)),
        Verb::Bind => return Answer::error(500, "bind is answered elsewhere"),
    };
    answer.unwrap_or_else(|error| unreadable(verb, &error))
}

fn unreadable(verb: Verb, error: &serde_json::Error) -> Answer {
    Answer::error(400, &format!("the body of {} cannot be read: {error}", verb.word()))
}

fn filter(books: &Books, args: ExtenderArgs<'_>) -> Answer {
    if args.nodes.is_some() && args.node_names.is_none() {
        return Answer::error(400, WHOLE_NODES);
    }
    if let Err(answer) = is_pod(&args.pod) {
        return answer;
    }
    let names = args.node_names.unwrap_or_default();
    let pod = facts::pod(args.pod, &books.schedulers);
    let choice = books.decider().filter(books.now(), &pod, &names);
    let mut result = FilterResult::default();
    match &choice {
        Choice::Any => result.node_names = names.iter().map(AsRef::as_ref).collect(),
        Choice::Nodes(indexes) => {
            let chosen = indexes.iter().filter_map(|index| names.get(*index));
            result.node_names = chosen.map(AsRef::as_ref).collect();
        }
        Choice::Nobody(refusal) => {
            for (index, name) in names.iter().enumerate() {
                let list = if refusal.wait.contains(&index) {
                    &mut result.failed_nodes
                } else {
                    &mut result.failed_and_unresolvable_nodes
                };
                list.insert(name.as_ref(), &*refusal.text);
            }
        }
    }
    let outcome = if result.node_names.is_empty() { "refused" } else { "ok" };
    Answer::of(&result, outcome)
}

fn prioritize(books: &Books, args: PriorityArgs<'_>) -> Answer {
    if args.nodes.is_some() && args.node_names.is_none() {
        return Answer::error(400, WHOLE_NODES);
    }
    let uid = args.pod.metadata.uid.as_ref();
    if let Err(answer) = are_names([("metadata.uid of Pod", uid)]) {
        return answer;
    }
    let names = args.node_names.unwrap_or_default();
    let scores = books.decider().prioritize(uid, &names);
    let hosts = names.iter().zip(scores);
    let list: Vec<HostPriority<'_>> =
        hosts.map(|(name, score)| HostPriority { host: name.as_ref(), score }).collect();
    Answer::of(&list, "ok")
}

fn preempt(books: &Books, args: PreemptionArgs<'_>) -> Answer {
    let meta = args.node_name_to_meta_victims.unwrap_or_default();
    if meta.is_empty() && args.node_name_to_victims.is_some_and(|whole| !whole.is_empty) {
        return Answer::error(400, WHOLE_NODES);
    }
    if let Err(answer) = is_pod(&args.pod) {
        return answer;
    }
    let pod = facts::pod(args.pod, &books.schedulers);
    let uids: Vec<Vec<&str>> =
        meta.values().map(|v| v.pods.iter().flatten().map(|p| p.uid.as_ref()).collect()).collect();
    let nodes: Vec<Victims<'_>> =
        meta.keys().zip(&uids).map(|(node, pods)| Victims { node: node.as_ref(), pods }).collect();
    let keep = books.decider().preempt(books.now(), &pod, &nodes);
    drop(nodes);
    drop(uids);
    let kept = meta.into_iter().zip(keep).filter(|(_, keep)| *keep).map(|(entry, _)| entry);
    let result = PreemptionResult { node_name_to_meta_victims: kept.collect::<BTreeMap<_, _>>() };
    let outcome = if result.node_name_to_meta_victims.is_empty() { "refused" } else { "ok" };
    Answer::of(&result, outcome)
}

/// Answers bind. The call goes on when the scheduler hangs up: its outcome decides over a unit.
pub(crate) async fn bind(state: Arc<State>, body: &[u8]) -> Answer {
    if let Err(missing) = state.ready() {
        return Answer::error(503, &missing);
    }
    if !state.strict {
        let text =
            "bind is served in strict mode only: set mode: strict here, or remove bindVerb there";
        return Answer::error(404, text);
    }
    let args = match binding(body) {
        Ok(args) => args,
        Err(answer) => return answer,
    };
    let done = tokio::spawn(async move { bind_pod(&state, &args).await }).await;
    match done {
        Ok(Ok(())) => Answer::of(&Outcome { error: "" }, "ok"),
        Ok(Err(error)) => Answer::of(&Outcome { error: &error }, "refused"),
        Err(error) => Answer::error(500, &format!("the bind was broken off: {error}")),
    }
}

/// Reads what bind is asked; else the answer says what is wrong with it.
pub fn binding(body: &[u8]) -> Result<BindingArgs, Answer> {
    let args: BindingArgs =
        serde_json::from_slice(body).map_err(|error| unreadable(Verb::Bind, &error))?;
    are_names([
        ("PodName", &args.pod_name),
        ("PodNamespace", &args.pod_namespace),
        ("PodUID", &args.pod_uid),
        ("Node", &args.node),
    ])?;
    Ok(args)
}

/// A pod that can be told from others, and that a call to the API server can name.
fn is_pod(pod: &ClusterPod) -> Result<(), Answer> {
    are_names([
        ("metadata.uid of Pod", &pod.uid),
        ("metadata.namespace of Pod", &pod.namespace),
        ("metadata.name of Pod", &pod.name),
    ])
}

fn are_names<const N: usize>(texts: [(&str, &str); N]) -> Result<(), Answer> {
    match texts.into_iter().find(|(_, text)| !is_name(text)) {
        None => Ok(()),
        Some((key, _)) => Err(Answer::error(400, &format!("{key} is no name of Kubernetes"))),
    }
}

/// What may stand in a path of the API server.
fn is_name(text: &str) -> bool {
    let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    !text.is_empty() && text.len() <= 253 && !text.starts_with('.') && text.chars().all(fine)
}

async fn bind_pod(state: &State, args: &BindingArgs) -> Result<(), String> {
    let uid: Uid = args.pod_uid.as_str().into();
    let start = |told: Option<Told>| {
        let names = (args.pod_namespace.as_str(), args.pod_name.as_str());
        state.decider().bind(state.now(), &uid, names, &args.node, told)
    };
    let mut begun = start(None);
    if begun == BindStart::Stranger {
        let pod = state.client.pod(&args.pod_namespace, &args.pod_name).await;
        let pod = pod.map_err(|e| format!("the pod is not known and cannot be asked for: {e}"))?;
        let pod = pod.filter(|pod| pod.uid == args.pod_uid).ok_or("there is no such pod")?;
        begun = start(Some(Told(facts::pod(pod, &state.books.schedulers).wants)));
    }
    match begun {
        BindStart::Done => return Ok(()),
        BindStart::Refused(why) => return Err(why),
        BindStart::Stranger => return Err("the pod is not known".to_owned()),
        BindStart::Go => {}
    }
    let binding = Binding {
        namespace: args.pod_namespace.clone(),
        name: args.pod_name.clone(),
        uid: args.pod_uid.clone(),
        node: args.node.clone(),
        annotations: BTreeMap::new(),
    };
    let sent = Instant::now();
    let (end, result) = match state.client.bind(&binding).await {
        BindOutcome::Bound => (BindEnd::On(args.node.clone()), Ok(())),
        BindOutcome::Refused(why) => (BindEnd::Refused, Err(why)),
        BindOutcome::Unknown(why) => {
            let text =
                format!("it is not known whether the pod was bound; its unit is kept: {why}");
            (BindEnd::Unknown, Err(text))
        }
    };
    state.decider().bind_ended(state.now(), &uid, &args.node, &end);
    if let Err(error) = &result {
        let (namespace, pod, node) = (&args.pod_namespace, &args.pod_name, &args.node);
        let took = sent.elapsed();
        tracing::warn!(namespace, pod, node, error, ?took, "a pod was not bound");
    }
    result
}
