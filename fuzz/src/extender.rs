//! What the scheduler posts, for each verb: bodies between zero bytes, put one after the other to the same small books.

use std::{collections::BTreeSet, time::Duration};

use serde_json::Value;
use tideway_extender::{
    Answer, Books, Verb, answer, binding,
    config::Config,
    decide::{
        BindEnd, BindStart, Decider, NodeFacts, PodFacts, Policy, Profile, Report, Told, Wants,
    },
};

/// Most bodies of one input.
const BODIES: usize = 8;

pub(crate) fn filter(bytes: &[u8]) {
    ask(bytes, Verb::Filter, |body, told| {
        let asked = names(body, "NodeNames");
        let lists = ["NodeNames", "FailedNodes", "FailedAndUnresolvableNodes"];
        let [fine, failed, never] = lists.map(|list| names(told, list));
        assert!(fine.is_subset(&asked), "a node that nobody asked for: {told}");
        if fine.is_empty() {
            let told_of: BTreeSet<String> = failed.union(&never).cloned().collect();
            assert_eq!(told_of, asked, "every node that was asked for is listed");
        }
    });
}

pub(crate) fn prioritize(bytes: &[u8]) {
    ask(bytes, Verb::Prioritize, |body, told| {
        let scores = told.as_array().map(Vec::as_slice).unwrap_or_default();
        let hosts = scores.iter().filter_map(|score| score.get("Host")?.as_str());
        let hosts: BTreeSet<String> = hosts.map(str::to_owned).collect();
        assert_eq!(hosts, names(body, "NodeNames"), "every node has a score");
        let fair =
            |score: &Value| score.get("Score").and_then(Value::as_u64).is_some_and(|s| s <= 10);
        assert!(scores.iter().all(fair), "scores are 0 to 10: {told}");
    });
}

pub(crate) fn preempt(bytes: &[u8]) {
    ask(bytes, Verb::Preempt, |body, told| {
        const MAP: &str = "NodeNameToMetaVictims";
        assert!(
            names(told, MAP).is_subset(&names(body, MAP)),
            "victims are never invented: {told}"
        );
    });
}

/// Each call ends in another way, by turns.
pub(crate) fn bind(bytes: &[u8]) {
    let books = books(true);
    for (turn, body) in bodies(bytes).enumerate() {
        let args = match binding(body) {
            Ok(args) => args,
            Err(answer) => {
                is_error(&answer);
                continue;
            }
        };
        let (uid, now) = (args.pod_uid.as_str().into(), books.now());
        let (pod, node) = ((args.pod_namespace.as_str(), args.pod_name.as_str()), &args.node);
        let mut decider = books.decider();
        let mut start = decider.bind(now, &uid, pod, node, None);
        if start == BindStart::Stranger {
            let told = Told(Wants::of_pod(u32::from(turn % 2 == 1), 0, false));
            start = decider.bind(now, &uid, pod, node, Some(told));
            assert_ne!(start, BindStart::Stranger, "the pod was told of");
        }
        if start != BindStart::Go {
            continue;
        }
        let end = match turn % 4 {
            0 => BindEnd::On(node.clone()),
            1 => BindEnd::Unknown,
            2 => BindEnd::Refused,
            _ => BindEnd::Gone,
        };
        decider.bind_ended(now, &uid, node, &end);
        decider.tick(now);
    }
}

fn ask(bytes: &[u8], verb: Verb, agree: impl Fn(&Value, &Value)) {
    let books = books(false);
    for body in bodies(bytes) {
        let told = answer(&books, verb, body);
        if told.status == 200 {
            let told = serde_json::from_slice(&told.body).expect("an answer is JSON");
            // What the verb does not look at may be what JSON allows and a value cannot hold, such as 1e999.
            if let Ok(body) = serde_json::from_slice(body) {
                agree(&body, &told);
            }
        } else {
            is_error(&told);
        }
        let now = books.now();
        books.decider().tick(now);
    }
}

fn is_error(answer: &Answer) {
    assert!((400..500).contains(&answer.status), "a wrong body is the client's: {answer:?}");
    let told: Value = serde_json::from_slice(&answer.body).expect("an error is JSON");
    let text = told.get("Error").and_then(Value::as_str);
    assert!(text.is_some_and(|text| !text.is_empty()), "an error has a text: {told}");
}

fn bodies(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.split(|byte| *byte == 0).take(BODIES)
}

/// The names in a list, or the keys of a map.
fn names(value: &Value, key: &str) -> BTreeSet<String> {
    match value.get(key) {
        Some(Value::Array(list)) => {
            list.iter().filter_map(Value::as_str).map(str::to_owned).collect()
        }
        Some(Value::Object(map)) => map.keys().cloned().collect(),
        None | Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) => {
            BTreeSet::new()
        }
    }
}

/// Four nodes: with room, with one unit, full, and with ENIs only; a pod on each of the first three.
fn books(strict: bool) -> Books {
    let mut decider = Decider::new(Policy {
        strict,
        profile: Profile::Pack,
        short_list: 2,
        caution: Duration::ZERO,
        ..Config::default().policy()
    });
    for (number, (room, enis)) in [(8, 2), (2, 0), (1, 1), (0, 3)].into_iter().enumerate() {
        let node = format!("n{}", number + 1);
        let zone = format!("z{}", number % 2);
        decider.node(&NodeFacts {
            name: node.clone(),
            zone: Some(zone.clone()),
            schedulable: true,
            serves: true,
        });
        let report = Report {
            ready: true,
            grows: number.is_multiple_of(2),
            zone,
            version: Some(1),
            cooldown: Duration::from_secs(30),
            shared_capacity: room,
            shared_held: room,
            exclusive_offered: enis,
            adapters_free: enis,
            subnets: vec![("vsw-1".to_owned(), 5)],
            ..Report::default()
        };
        decider.report(&node, Some(report));
        if room > 0 {
            decider.pod(Duration::ZERO, &pod(number + 1, node));
        }
    }
    decider.ready(Duration::ZERO);
    Books::new(decider, vec!["default-scheduler".to_owned()])
}

fn pod(number: usize, node: String) -> PodFacts {
    PodFacts {
        uid: format!("p{number}").into(),
        namespace: "default".to_owned(),
        name: format!("p{number}"),
        version: Some(1),
        node: Some(node),
        wants: Wants::of_pod(0, 0, false),
        addressed: true,
        ours: true,
        ..PodFacts::default()
    }
}
