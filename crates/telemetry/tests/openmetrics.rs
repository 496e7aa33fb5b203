//! What a scraper sees.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use tideway_telemetry::{Metrics, serve, serve_on};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Metrics in which every family has a sample.
fn used() -> Metrics {
    let metrics = Metrics::new("0.1.0");
    metrics.cni_request("ADD", 0, Duration::from_micros(1200));
    metrics.cni_request("ADD", 11, Duration::from_secs(90));
    metrics.cni_failure("ADD", "subnet_full");
    metrics.cni_request("DEL", 0, Duration::from_micros(300));
    metrics.set_addresses([("free", 3), ("assigned", 7)]);
    metrics.set_enis([("ready", 2)]);
    metrics.set_waiting_pods([("subnet_full", 1), ("denied", 0)]);
    metrics.cloud_call("AssignPrivateIpAddresses", "throttled", Duration::from_millis(300));
    metrics.limiter_wait("AssignPrivateIpAddresses", Duration::from_millis(20));
    metrics.set_pending_links(4);
    metrics.journal_commit(true, Duration::from_micros(290));
    metrics.journal_commit(false, Duration::from_millis(2));
    metrics.drift("route_missing");
    metrics.source_answered("runtime", false);
    metrics.source_answered("kernel", true);
    metrics.device_plugin_registered("aliyun/eni");
    metrics.node_network_writes(true, 3);
    metrics.set_sweep_holder(true);
    metrics.set_sweep_left([("young", 2)]);
    metrics.sweep_delete(true);
    metrics
}

#[derive(Debug, Default)]
struct Family {
    kind: String,
    help: String,
    unit: Option<String>,
    /// (suffix, labels in text, value)
    samples: Vec<(String, String, f64)>,
}

/// A strict reader of the text format of `OpenMetrics`, as far as counters, gauges, histograms and infos go.
fn parse(text: &str) -> BTreeMap<String, Family> {
    let body = text.strip_suffix("# EOF\n").expect("the text ends with # EOF");
    let mut families = BTreeMap::<String, Family>::new();
    let mut current = String::new();
    for line in body.lines() {
        if let Some(meta) = line.strip_prefix("# ") {
            let mut words = meta.splitn(3, ' ');
            let (what, name, rest) =
                (words.next().unwrap(), words.next().unwrap(), words.next().unwrap_or(""));
            if name != current {
                assert!(!families.contains_key(name), "{name} stands twice");
                name.clone_into(&mut current);
            }
            let family = families.entry(name.to_owned()).or_default();
            match what {
                "TYPE" => rest.clone_into(&mut family.kind),
                "HELP" => rest.clone_into(&mut family.help),
                "UNIT" => family.unit = Some(rest.to_owned()),
                other => panic!("unknown comment {other}"),
            }
            continue;
        }
        let (series, value) = line.rsplit_once(' ').unwrap();
        let (name, labels) = match series.split_once('{') {
            Some((name, labels)) => (name, labels.strip_suffix('}').unwrap()),
            None => (series, ""),
        };
        let suffix = name.strip_prefix(&current).unwrap_or_else(|| panic!("{name} in {current}"));
        let value = value.parse().unwrap();
        let family = families.get_mut(&current).unwrap();
        family.samples.push((suffix.to_owned(), labels.to_owned(), value));
    }
    families
}

#[test]
fn names_types_and_units_are_those_that_promtool_asks_for() {
    let families = parse(&used().render());
    assert_eq!(families.len(), 21, "{:?}", families.keys());
    for (name, family) in &families {
        assert!(name.starts_with("tideway_"), "{name}");
        assert!(name.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{name}");
        assert!(!family.help.is_empty(), "{name} has no help");
        assert!(!family.samples.is_empty(), "{name} was never counted by this test");
        let expected: &[&str] = match family.kind.as_str() {
            "counter" => &["_total"],
            "gauge" => &[""],
            "info" => &["_info"],
            "histogram" => &["_bucket", "_sum", "_count"],
            other => panic!("{name} is of type {other}"),
        };
        for (suffix, ..) in &family.samples {
            assert!(expected.contains(&suffix.as_str()), "{name}{suffix}");
        }
        if family.kind == "histogram" {
            assert!(name.ends_with("_seconds"), "{name}");
            assert_eq!(family.unit.as_deref(), Some("seconds"));
        }
        for wrong in ["_total", "_count", "_sum", "_bucket", "_info"] {
            assert!(!name.ends_with(wrong), "{name} ends with a reserved suffix");
        }
        let series: BTreeSet<_> = family.samples.iter().map(|(s, l, _)| (s, l)).collect();
        assert_eq!(series.len(), family.samples.len(), "a series of {name} stands twice");
    }
}

#[test]
fn a_wait_beyond_the_last_bucket_is_still_counted() {
    let families = parse(&used().render());
    let adds: Vec<_> = families["tideway_cni_request_duration_seconds"]
        .samples
        .iter()
        .filter(|(_, labels, _)| labels.contains("verb=\"ADD\""))
        .collect();
    let buckets: Vec<f64> =
        adds.iter().filter(|(s, ..)| s == "_bucket").map(|(.., value)| *value).collect();
    assert!(buckets.is_sorted(), "{buckets:?}");
    assert_eq!(buckets[buckets.len() - 2..], [1.0, 2.0], "60 s and +Inf");
    let count = adds.iter().find(|(s, ..)| s == "_count").unwrap().2;
    assert_eq!(count.to_bits(), 2f64.to_bits());
}

#[test]
fn a_source_that_is_down_shows_beside_one_that_answers() {
    let text = used().render();
    for line in [
        "tideway_source_up{source=\"runtime\"} 0",
        "tideway_source_up{source=\"kernel\"} 1",
        "tideway_source_errors_total{source=\"runtime\"} 1",
        "tideway_source_errors_total{source=\"kernel\"} 0",
        "tideway_cni_requests_total{verb=\"ADD\",code=\"11\"} 1",
        "tideway_pool_addresses{state=\"free\"} 3",
        "tideway_waiting_pods{cause=\"subnet_full\"} 1",
        "tideway_build_info{version=\"0.1.0\"} 1",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
}

async fn get(address: SocketAddr, path: &str) -> (u16, String, String) {
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let request = hyper::Request::get(path).header("host", "localhost").body(Empty::<Bytes>::new());
    let answer = sender.send_request(request.unwrap()).await.unwrap();
    let status = answer.status().as_u16();
    let kind = answer.headers().get("content-type").map_or("", |v| v.to_str().unwrap()).to_owned();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    (status, kind, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn readiness_follows_the_daemon_and_says_why_it_is_not_ready() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (ready, asked) = watch::channel(Err::<(), _>("the journal is being read".to_owned()));
    let cancel = CancellationToken::new();
    let question = move || {
        let asked = asked.clone();
        async move { asked.borrow().clone() }
    };
    let server = tokio::spawn(serve_on(listener, used(), question, cancel.clone()));

    let (status, _, text) = get(address, "/readyz").await;
    assert_eq!((status, text.as_str()), (503, "not ready: the journal is being read\n"));
    assert_eq!(get(address, "/healthz").await.0, 200);
    ready.send(Ok(())).unwrap();
    assert_eq!(get(address, "/readyz").await.0, 200);
    let (status, kind, text) = get(address, "/metrics").await;
    assert_eq!(status, 200);
    assert!(kind.starts_with("application/openmetrics-text"), "{kind}");
    parse(&text);
    assert_eq!(get(address, "/nowhere").await.0, 404);

    // A client that keeps its connection open does not keep the server.
    let idle = TcpStream::connect(address).await.unwrap();
    cancel.cancel();
    tokio::time::timeout(Duration::from_secs(5), server).await.expect("it ends").unwrap();
    drop(idle);
}

#[tokio::test]
async fn a_port_that_the_old_daemon_still_holds_is_taken_over_when_it_ends() {
    let old = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = old.local_addr().unwrap();
    let cancel = CancellationToken::new();
    let ready = || async { Ok(()) };
    let server = tokio::spawn(serve(address, used(), ready, cancel.clone()));
    tokio::task::yield_now().await;
    drop(old);
    let connected = async {
        while TcpStream::connect(address).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), connected).await.expect("it listens");
    assert_eq!(get(address, "/readyz").await.0, 200);
    cancel.cancel();
    server.await.unwrap();
}
