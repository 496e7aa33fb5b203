//! `make soak MINUTES=N`: pods come and go for so long, and at random the daemon, the runtime, the API server, the extender or
//! the cloud fail them. At the end all is drained, and the ledger of the cloud, the kernel and the journals agree.

mod chance;
mod statics;
mod tally;

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;
use tideway_e2e::{
    cluster::{Node, list, text},
    demo::{extender, lab_process},
    wait::{self, Look},
};

use crate::{
    bed::{Bed, SOON},
    pods::{is_ready, pod},
    say,
};

use chance::{Chance, Fault};
use tally::Tally;

/// How long it runs; without it, not at all.
pub(crate) const MINUTES: &str = "SOAK_MINUTES";
/// Repeats the faults of an earlier run.
const SEED: &str = "SOAK_SEED";
/// Pods a round and node; those of two rounds, and the addresses that cool, fit into two roomy ENIs.
const PODS: usize = 6;
/// Addresses of each family on an ENI then.
const ROOMY: u32 = 20;
/// Every so many rounds each node gets a pod with an ENI of its own instead.
const OWN_ENI: usize = 12;
/// Every so many rounds it says what memory the programs have.
const TELL: usize = 25;
/// A round goes on when half of its pods run, or after this: pods are also deleted while they start.
const ROUND: Duration = Duration::from_secs(20);
/// An ENI is given up by the shared pool, taken away, made and attached; a lost answer is read back after a minute.
const OWN_ENI_PATIENCE: Duration = Duration::from_mins(4);
/// The API server is away for so long.
const OUTAGE: Duration = Duration::from_secs(90);
/// From the last fault until everything is at rest: a lost answer is read back after a minute, and calls were throttled.
const REST: Duration = Duration::from_mins(5);
/// What a daemon's memory may have grown by.
const GROWTH_KIB: u64 = 16 * 1024;

/// Addresses of each family on an ENI, for whatever runs on this cluster.
pub(crate) fn addresses_per_eni() -> u32 {
    if std::env::var_os(MINUTES).is_some() { ROOMY } else { lab_process::ADDRESSES }
}

pub(crate) fn random_faults_for_many_minutes_lose_and_double_nothing(bed: &Bed) -> Result<()> {
    let minutes: u64 = std::env::var(MINUTES).unwrap_or_default().parse().context(MINUTES)?;
    let seed = match std::env::var(SEED) {
        Ok(seed) => seed.parse().context(SEED)?,
        Err(_) => u64::from(std::process::id()),
    };
    say(&format!("  {SEED}={seed}"));
    extender::start(&bed.cluster)?;
    bed.cluster.wait_extender()?;
    let mut soak =
        Soak { bed, chance: Chance::new(seed), tally: Tally::new(bed)?, round: 0, faults: 0 };
    let outcome = soak.until(Instant::now() + Duration::from_secs(60 * minutes));
    // Whatever came of it, the next scenario has everything as it was.
    bed.lab.clear_faults()?;
    outcome?;
    soak.at_rest()?;
    bed.cluster.roster().stop("extender", SOON)
}

struct Soak<'a> {
    bed: &'a Bed,
    chance: Chance,
    tally: Tally,
    round: usize,
    faults: usize,
}

impl Soak<'_> {
    fn until(&mut self, end: Instant) -> Result<()> {
        while Instant::now() < end {
            self.round += 1;
            if self.round.is_multiple_of(OWN_ENI) {
                self.own_enis()?;
            } else {
                self.shared()?;
            }
            self.bed.is_accounted()?;
            self.tally.take(self.bed);
            if self.round.is_multiple_of(TELL) {
                say(&format!("  round {}: KiB {:?}", self.round, tally::memory(self.bed)?));
            }
            if let Some(fault) = self.chance.fault() {
                self.faults += 1;
                let about = format!("round {}: {fault:?}", self.round);
                say(&format!("  {about}"));
                self.fail(fault).context(about)?;
            }
        }
        Ok(())
    }

    /// Pods of a round on both nodes; then those of the round before go, in whatever state.
    fn shared(&self) -> Result<()> {
        let nodes = self.bed.nodes();
        let names = |round: usize| (0..PODS).map(move |number| format!("soak-{round}-{number}"));
        let mut pods = Vec::new();
        for (node, side) in nodes.iter().zip(["a", "b"]) {
            pods.extend(names(self.round).map(|name| pod(&format!("{name}-{side}"), node, false)));
        }
        self.bed.create(&pods)?;
        let began = Instant::now();
        let prefix = format!("soak-{}-", self.round);
        wait::until("the round's pods", 2 * ROUND, || {
            let alive = self.alive()?;
            let of_round = |p: &&Value| text(p, "/metadata/name").starts_with(&prefix);
            let ready = alive.iter().filter(of_round).filter(|p| is_ready(p)).count();
            let enough = ready >= PODS || began.elapsed() >= ROUND;
            Ok(if enough { Look::Seen(()) } else { Look::NotYet(format!("{ready} ready")) })
        })?;
        self.delete(|name| !name.starts_with(&prefix))
    }

    /// One pod with its own ENI on each node, alone.
    fn own_enis(&self) -> Result<()> {
        self.delete(|_| true)?;
        let nodes = self.bed.nodes();
        let name = |node: &Node<'_>| format!("own-{}-{}", self.round, node.name());
        let pods: Vec<Value> = nodes.iter().map(|node| pod(&name(node), node, true)).collect();
        self.bed.create(&pods)?;
        for node in &nodes {
            let runs =
                self.bed.pod_until(&name(node), "runs on its ENI", OWN_ENI_PATIENCE, is_ready);
            runs.or_else(|error| {
                let (name, shown) = (node.name(), self.bed.show(node)?);
                let told = self.bed.kubectl()?.get(&format!("nodenetworks/{name}"))?;
                Err(error.context(format!("{name} shows {shown} and tells the scheduler {told}")))
            })?;
        }
        self.delete(|_| true)
    }

    /// Pods that nobody has deleted. No two that have an address have the same.
    fn alive(&self) -> Result<Vec<Value>> {
        let pods = self.bed.kubectl()?.get("pods")?;
        let alive: Vec<Value> = list(&pods, "/items")
            .iter()
            .filter(|p| text(p, "/metadata/deletionTimestamp").is_empty())
            .cloned()
            .collect();
        if alive.iter().any(|p| !text(p, "/status/podIP").is_empty()) {
            Bed::all_differ(&alive)?;
        }
        if let Some(pod) = alive.iter().find(|p| text(p, "/status/phase") == "Failed") {
            bail!("a pod failed: {pod}");
        }
        Ok(alive)
    }

    fn delete(&self, which: impl Fn(&str) -> bool) -> Result<()> {
        let alive = self.alive()?;
        let names: Vec<&str> =
            alive.iter().map(|p| text(p, "/metadata/name")).filter(|name| which(name)).collect();
        if names.is_empty() {
            return Ok(());
        }
        let delete = ["delete", "pods", "--wait=false", "--ignore-not-found"];
        self.bed.kubectl()?.run(delete.into_iter().chain(names)).map(drop)
    }

    fn fail(&mut self, fault: Fault) -> Result<()> {
        let bed = self.bed;
        let roster = bed.cluster.roster();
        let [first, second] = bed.nodes();
        let node = |second_one: bool| if second_one { &second } else { &first };
        match fault {
            Fault::DaemonKilled(which) => {
                self.tally.take(bed);
                bed.kill(node(which), "tidewayd")?;
                bed.start_daemon(node(which), "")?;
                self.tally.begins_anew(node(which));
                bed.show(node(which)).map(drop)
            }
            Fault::RuntimeKilled(which) => {
                bed.kill(node(which), "containerd")?;
                node(which).start_containerd()?;
                bed.cluster.wait_ready()
            }
            Fault::ExtenderKilled => {
                // The scheduler goes on without it for a round.
                roster.kill("extender")?;
                let outcome = self.shared();
                bed.cluster.start_extender()?;
                outcome?;
                bed.cluster.wait_extender()
            }
            Fault::ApiServerAway => {
                roster.kill("apiserver")?;
                let outcome = self.without_api_server();
                bed.cluster.start_api_server()?;
                outcome?;
                bed.cluster.wait_ready()?;
                // By now the API shows them; they go from there with their files.
                statics::clear(bed)
            }
            Fault::Cloud(json) => bed.lab.add_fault(json),
        }
    }

    /// The daemons go on, even one that starts in the dark, and so do pods that need no API server.
    fn without_api_server(&mut self) -> Result<()> {
        let [node, _] = self.bed.nodes();
        self.tally.take(self.bed);
        self.bed.kill(&node, "tidewayd")?;
        self.bed.start_daemon(&node, "")?;
        self.tally.begins_anew(&node);
        let end = Instant::now() + OUTAGE;
        while Instant::now() < end {
            self.round += 1;
            statics::round(self.bed, self.round)?;
            self.bed.is_accounted()?;
        }
        Ok(())
    }

    /// Everything is drained: the kernel has what the books of the empty pools ask for, these come back from the journals
    /// alone, and the cloud has neither more nor less.
    fn at_rest(&mut self) -> Result<()> {
        self.delete(|_| true)?;
        wait::until("all is drained", REST, || {
            let mut left = Vec::new();
            for node in self.bed.nodes() {
                left.extend(unrest(&self.bed.show(&node)?));
            }
            left.extend(self.alive()?.iter().map(|p| text(p, "/metadata/name").to_owned()));
            Ok(if left.is_empty() { Look::Seen(()) } else { Look::NotYet(left.join("\n")) })
        })?;
        self.tally.take(self.bed);
        let memory = tally::memory(self.bed)?;
        self.bed.empty()?;
        let mut books = Vec::new();
        for node in self.bed.nodes() {
            let before = addresses(&self.bed.show(&node)?);
            self.bed.kill(&node, "tidewayd")?;
            self.bed.start_daemon(&node, "")?;
            let after = addresses(&self.bed.show(&node)?);
            ensure!(before == after, "{}: {before:?} came back as {after:?}", node.name());
            books.extend(after);
        }
        books.sort();
        let held = self.bed.lab.secondary_addresses()?;
        ensure!(books == held, "books {books:?}, cloud {held:?}");
        let calls = self.bed.lab.calls()?.total;
        self.tally.report(self.round, self.faults, calls, &memory);
        for (program, kib) in &memory {
            let began = self.tally.began.get(program).copied().unwrap_or(u64::MAX);
            ensure!(
                *kib <= began.saturating_add(GROWTH_KIB),
                "{program} has grown from {began} to {kib} KiB"
            );
        }
        Ok(())
    }
}

/// What a daemon shows that a pool without pods has only for a while.
fn unrest(shown: &Value) -> Vec<String> {
    let is_ready = |eni: &Value| text(eni, "/state").eq_ignore_ascii_case("ready");
    let enis = list(shown, "/enis").iter();
    let pods = list(shown, "/pods").iter().chain(list(shown, "/waiting"));
    let busy = enis.clone().filter(|eni| !is_ready(eni)).chain(pods);
    let mut left: Vec<String> = busy.map(ToString::to_string).collect();
    let of_pool = enis.flat_map(|eni| list(eni, "/addresses"));
    let (free, others): (Vec<&Value>, Vec<&Value>) =
        of_pool.partition(|address| text(address, "/state") == "free");
    left.extend(others.iter().map(ToString::to_string));
    let v6 = free.iter().filter(|address| text(address, "/ip").contains(':')).count();
    let v4 = free.len() - v6;
    let mark =
        |key| shown.pointer(key).and_then(Value::as_u64).and_then(|n| usize::try_from(n).ok());
    let marks = mark("/pool/low").zip(mark("/pool/high"));
    if v4 != v6 || marks.is_none_or(|(low, high)| !(low..=high).contains(&v4)) {
        left.push(format!("{v4} free IPv4 and {v6} free IPv6 addresses"));
    }
    left
}

/// ENIs and their addresses as a daemon shows them, in order.
fn addresses(shown: &Value) -> Vec<(String, String)> {
    let mut all: Vec<(String, String)> = list(shown, "/enis")
        .iter()
        .flat_map(|eni| {
            let of = |a: &Value| (text(eni, "/id").to_owned(), text(a, "/ip").to_owned());
            list(eni, "/addresses").iter().map(of).collect::<Vec<_>>()
        })
        .collect();
    all.sort();
    all
}
