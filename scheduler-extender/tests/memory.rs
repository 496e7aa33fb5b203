//! The books of a large cluster stay small. In a program of its own, since it measures the whole process.
#![expect(clippy::unwrap_used, reason = "tests end at the first surprise")]

use std::time::Duration;

use tideway_extender::{
    config::Config,
    decide::{Choice, Decider, List, PodFacts, Policy, Report, Wants},
};

const NODES: usize = 5000;
const PODS: usize = 150_000;

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|l| l.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn pod(number: usize, node: Option<usize>) -> PodFacts {
    PodFacts {
        uid: format!("{number:08x}-0000-4000-8000-{number:012x}").into(),
        namespace: format!("team-{}", number % 100),
        name: format!("service-{}-7d9c6bb5c-{number:05}", number % 1000),
        version: Some(u64::try_from(number).unwrap()),
        node: node.map(|n| format!("ip-10-0-{}-{}.region.compute.internal", n / 250, n % 250)),
        wants: Wants::of_pod(0, 0, false),
        ours: true,
        ..PodFacts::default()
    }
}

#[test]
fn five_thousand_nodes_and_a_hundred_and_fifty_thousand_pods_take_less_than_150_mib() {
    let before = resident_kib();
    let policy = Config::default().policy();
    let mut books = Decider::new(Policy { caution: Duration::ZERO, ..policy });
    let report = Report {
        ready: true,
        grows: true,
        zone: "zone-a".into(),
        shared_capacity: 60,
        shared_held: 40,
        subnets: (0..3).map(|s| (format!("vsw-{s}xxxxxxxxxxxxxxxxxxxx"), 4000)).collect(),
        ..Report::default()
    };
    let names: Vec<String> = (0..NODES).map(|n| pod(0, Some(n)).node.unwrap()).collect();
    books.reports_list(List::Begins);
    for name in &names {
        books.report(name, Some(report.clone()));
    }
    books.reports_list(List::Ends(Some(1)));
    // Twice: a new list after an outage must not leave anything behind.
    for _ in 0..2 {
        books.pods_list(Duration::ZERO, List::Begins);
        for number in 0..PODS {
            books.pod(Duration::ZERO, &pod(number, Some(number % NODES)));
        }
        books.pods_list(Duration::ZERO, List::Ends(Some(200_000)));
    }
    books.ready(Duration::ZERO);
    // Every pod that waits is refused or in flight.
    for number in PODS..PODS + 2000 {
        let asked = &names[(number * 500) % NODES..][..500];
        let choice = books.filter(Duration::from_secs(1), &pod(number, None), asked);
        assert!(matches!(choice, Choice::Nodes(_) | Choice::Nobody(_)));
    }
    let grown = (resident_kib() - before) / 1024;
    assert!(grown < 150, "{grown} MiB");
}
