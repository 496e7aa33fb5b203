//! What ADD and DEL cost in this process. Asserts nothing: `cargo test -p tideway-netlink --test kernel -- --ignored --nocapture`.

use std::time::{Duration, Instant};

use crate::world::{World, shared_eni, skipped};

fn line(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at = |percent: usize| times[(times.len() - 1) * percent / 100].as_secs_f64() * 1e3;
    let (least, half, most) = (at(0), at(50), at(99));
    eprintln!("{what:28} min {least:7.3} p50 {half:7.3} p99 {most:7.3} ms  n {}", times.len());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn add_and_del() {
    if skipped("add_and_del") {
        return;
    }
    let world = World::new();
    let primary = world.node("n1", 1, &["10.0.0.1", "fd00:10::1"]);
    let mac = world.eni("n1", "eth1", 2, &[]);
    let datapath = world.datapath("n1", primary).await;
    datapath.prepare(&shared_eni(mac, &[])).await.unwrap();
    datapath.start();
    let pods: Vec<_> = (1..=200u8)
        .map(|i| {
            world.shared_pod(&format!("p{i}"), &[&format!("10.0.0.{i}"), &format!("fd00:10::{i}")])
        })
        .collect();
    for dual in [false, true] {
        let (mut adds, mut dels) = (Vec::new(), Vec::new());
        for pod in &pods {
            let mut pod = pod.clone();
            if !dual {
                pod.addresses.v6 = None;
            }
            let start = Instant::now();
            datapath.add(&pod).await.unwrap();
            adds.push(start.elapsed());
        }
        for pod in &pods {
            let start = Instant::now();
            datapath.del(pod).await.unwrap();
            dels.push(start.elapsed());
        }
        let family = if dual { "dual stack" } else { "IPv4" };
        line(&format!("ADD, {family}"), adds);
        line(&format!("DEL, {family}"), dels);
        let start = Instant::now();
        while datapath.pending_links() > 0 {
            tokio::task::yield_now().await;
        }
        eprintln!("links gone after               {:7.1} ms", start.elapsed().as_secs_f64() * 1e3);
    }
}
