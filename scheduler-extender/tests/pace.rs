//! How long the decisions of one pod take in a large cluster: 500 of 5000 nodes are asked, 64 returned, all of them scored, and
//! the watch shows the binding. Figures for people, nothing is asserted:
//!
//! `cargo test --release -p tideway-extender --test pace -- --ignored --nocapture`
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "tests end at the first surprise, and the figures are what this is for"
)]

use std::time::{Duration, Instant};

use tideway_extender::{
    config::Config,
    decide::{Choice, Decider, PodFacts, Policy, Report, Wants},
};
use tideway_kubeapi::ClusterPod;

const NODES: usize = 5000;
const ASKED: usize = 500;
const PODS: usize = 4000;

fn name(node: usize) -> String {
    format!("ip-10-0-{}-{}.region.compute.internal", node / 250, node % 250)
}

fn pod(number: usize) -> PodFacts {
    PodFacts {
        uid: format!("{number:08x}-0000-4000-8000-{number:012x}").into(),
        namespace: "team".into(),
        name: format!("service-7d9c6bb5c-{number:05}"),
        version: Some(1),
        wants: Wants::of_pod(0, 0, false),
        ours: true,
        ..PodFacts::default()
    }
}

fn books() -> Decider {
    let policy = Config::default().policy();
    let mut books = Decider::new(Policy { caution: Duration::ZERO, ..policy });
    for node in 0..NODES {
        let report = Report {
            ready: true,
            grows: true,
            zone: format!("zone-{}", node % 3),
            shared_capacity: 200,
            shared_held: 40,
            subnets: (0..3).map(|s| (format!("vsw-{s}xxxxxxxxxxxxxxxxxxxx"), 60_000)).collect(),
            ..Report::default()
        };
        books.report(&name(node), Some(report));
    }
    books.ready(Duration::ZERO);
    books
}

/// Prints the middle, the 99th of a hundred, and the mean of what each call took.
fn show(what: &str, mut took: Vec<Duration>) {
    took.sort_unstable();
    let mean = took.iter().sum::<Duration>() / u32::try_from(took.len()).unwrap();
    let (middle, late) = (took[took.len() / 2], took[took.len() * 99 / 100]);
    println!("{what}: p50 {middle:?}, p99 {late:?}, mean {mean:?}");
}

fn timed<T>(took: &mut Vec<Duration>, call: impl FnOnce() -> T) -> T {
    let began = Instant::now();
    let answer = call();
    took.push(began.elapsed());
    answer
}

#[test]
#[ignore = "prints figures"]
fn decisions() {
    let mut books = books();
    let names: Vec<String> = (0..NODES).map(name).collect();
    let [mut filter, mut prioritize, mut bound] = [const { Vec::new() }; 3];
    for number in 0..PODS {
        // About 20 pods are on their way at any time.
        let now = Duration::from_millis(u64::try_from(number).unwrap() * 4);
        let from = number * ASKED % NODES;
        let asked: Vec<&str> = names[from..from + ASKED].iter().map(String::as_str).collect();
        let pod = pod(number);
        let choice = timed(&mut filter, || books.filter(now, &pod, &asked));
        let Choice::Nodes(chosen) = choice else { panic!("{choice:?}") };
        let chosen: Vec<&str> = chosen.iter().map(|index| asked[*index]).collect();
        timed(&mut prioritize, || books.prioritize(&pod.uid, &chosen));
        if let Some(before) = number.checked_sub(20) {
            let shown = PodFacts {
                node: Some(names[before * ASKED % NODES + before % ASKED].clone()),
                version: Some(9),
                ..self::pod(before)
            };
            timed(&mut bound, || books.pod(now, &shown));
        }
    }
    show("filter", filter);
    show("prioritize", prioritize);
    show("the watch shows a binding", bound);
}

#[test]
#[ignore = "prints figures"]
fn decoding() {
    let quantity = r#"{"cpu":"500m","memory":"512Mi","ephemeral-storage":"1Gi"}"#;
    let container = format!(
        r#"{{"name":"c","image":"registry/image:1","env":[{{"name":"A","value":"b"}}],"resources":{{"limits":{quantity},"requests":{quantity}}}}}"#
    );
    let text = format!(
        r#"{{"metadata":{{"name":"service-7d9c6bb5c-1","namespace":"team","uid":"u","resourceVersion":"7","labels":{{"app":"service","pod-template-hash":"7d9c6bb5c"}},"managedFields":[{{"manager":"x","fieldsV1":{{"f:metadata":{{"f:labels":{{".":{{}}}}}}}}}}]}},"spec":{{"containers":[{container},{container},{container}],"tolerations":[{{"key":"a","operator":"Exists"}}]}},"status":{{"phase":"Pending"}}}}"#
    );
    let mut took = Vec::new();
    for _ in 0..PODS {
        timed(&mut took, || serde_json::from_str::<ClusterPod>(&text).unwrap());
    }
    show("reading a pod", took);
}
