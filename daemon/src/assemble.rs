//! Puts the parts together: cloud, journal, allocator, kernel, engine. Used by the daemon and by `uninstall`.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    thread::JoinHandle,
    time::Duration,
};

use anyhow::{Context as _, bail};
use tideway_cloud::Cloud;
use tideway_ipam::{AddressState, Books, EniBook, Entry, Ipam, NodeFacts, Settings, Use};
use tideway_journal::{Journal as _, JournalError, LastingJournal, RedbJournal};
use tideway_model::{Attachment, Config, InstanceId, PrefixMode, names};
use tideway_netlink::{Datapath, DatapathSettings, SharedEniNet};
use tokio::{runtime::Handle, sync::Notify};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    clock,
    cloud_log::CloudLog,
    cloud_looks,
    engine::{Engine, EngineError, inbox},
    facts::{self, Facts},
    hands::{Hands, Identity, Tools},
    holders::Holders,
    ledger::Ledger,
    plumbed::Promised,
    quiet, rebuild,
    sources::{JOURNAL, SourceErrors},
    withdrawals,
};

/// Addresses that one assign may ask for (Alibaba Cloud: up to the type's limit; the cloud crate caps what a call takes).
const ASSIGN_BATCH: u16 = 49;

/// The running parts.
pub struct Parts<C> {
    /// Tools of the engine's hands.
    pub tools: Arc<Tools<C>>,
    /// Facts of the node.
    pub facts: Facts,
    /// The engine's thread.
    pub engine: JoinHandle<Result<(), EngineError>>,
    /// Tasks of the hands.
    pub tasks: TaskTracker,
    /// Notified after each commit.
    pub moved: Arc<Notify>,
}

impl<C> std::fmt::Debug for Parts<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parts").field("facts", &self.facts).finish_non_exhaustive()
    }
}

/// Where the facts of the last run are kept.
pub fn facts_file(config: &Config) -> PathBuf {
    Path::new(&config.paths.journal).with_file_name("node.json")
}

/// Where the journal's commits are counted beside its disk.
pub fn witness(config: &Config) -> PathBuf {
    Path::new(&config.paths.socket).with_file_name("commits")
}

/// Tags of every ENI that this node owns.
pub fn tags(config: &Config, instance: &InstanceId) -> BTreeMap<String, String> {
    BTreeMap::from([
        (names::TAG_CLUSTER.to_owned(), config.cluster.clone()),
        (names::TAG_NODE.to_owned(), instance.to_string()),
    ])
}

/// Builds and starts everything up to the engine. Without a journal, one is rebuilt.
pub async fn assemble<C: Cloud>(
    cloud: C,
    instance: InstanceId,
    config: &Config,
    mut opened: Option<LastingJournal>,
    holders: Option<Holders>,
    errors: &SourceErrors,
    cancel: CancellationToken,
) -> anyhow::Result<Parts<C>> {
    let path = Path::new(&config.paths.journal);
    let meter = errors.meter();
    let facts = facts::gather(&cloud, config, &instance, &facts_file(config)).await?;
    let datapath = Datapath::new(DatapathSettings {
        service_cidrs: config.pod.service_cidrs.clone(),
        host_stack_cidrs: config.pod.host_stack_cidrs.clone(),
        vpc_blocks: facts.vpc_blocks.clone(),
        external_snat: config.pod.external_snat,
        primary_mac: facts.primary_mac,
    })
    .await
    .context("the kernel of this node cannot be used")?;
    let datapath = Arc::new(datapath);
    if let Some(journal) = &mut opened
        && journal.load()?.is_empty()
    {
        refuse_strangers(&datapath, path).await?;
    }
    for drift in datapath.base().await.context("the node's routing could not be prepared")? {
        tracing::warn!(%drift, "the host differed from what pods need; set right");
        meter.drift("host");
    }
    let mut journal = if let Some(journal) = opened {
        journal
    } else {
        let runtime = crate::start::runtime_of(config);
        let sources = rebuild::Sources {
            cloud: &cloud,
            instance: &instance,
            datapath: &datapath,
            runtime: runtime.as_ref(),
            holders: holders.as_ref(),
            facts: &facts,
            config,
        };
        let living = sources.living().await.context("the journal cannot be rebuilt")?;
        anew(path, &witness(config), &instance, &living)?
    };
    let (withdrawals, kept) =
        withdrawals::sort(journal.load()?).map_err(|(key, e)| unreadable(&key, e))?;
    let entries = decode(kept)?;
    let ipam = Ipam::restore(settings(config), node_facts(&facts, config), seed(), entries)
        .context("the journal does not fit this node; if it was cloned with the image, start once with --rebuild-journal")?;
    let (handle, receiver) = inbox();
    let promised = Promised::default();
    let attachments: Vec<Attachment> = ipam.attachments().cloned().collect();
    for attachment in &attachments {
        promised.insert(attachment.clone());
    }
    let enis = shared_enis(&ipam.books(clock::now()), &facts, &datapath).await;
    let (quiet, asked) = tokio::sync::mpsc::unbounded_channel();
    let who = Identity { instance: instance.clone(), tags: tags(config, &instance), quiet };
    let log = CloudLog::new(meter.clone());
    let tools = Tools::new(Arc::new(cloud), datapath, handle, promised, holders, log, who);
    let tools = Arc::new(tools);
    let left = tools.resume(withdrawals.clone()).await;
    for repaired in tools
        .datapath
        .repair(&attachments, &enis)
        .await
        .context("the pods' routing could not be repaired")?
    {
        tracing::warn!(%repaired, "the kernel differed from the journal; set right");
        meter.drift("attachment");
    }
    tools.laid(enis);
    let tasks = TaskTracker::new();
    for one in left {
        let tools = Arc::clone(&tools);
        tasks.spawn(async move { tools.resume_later(one).await });
    }
    tasks.spawn(quiet::work(Arc::clone(&tools), asked, config.cooldown(), cancel.clone()));
    tasks.spawn(cloud_looks::work(Arc::clone(&tools), cancel));
    let hands = Hands::new(Arc::clone(&tools), Handle::current(), tasks.clone());
    let counted = meter.clone();
    let moved = Arc::new(Notify::new());
    let told = Arc::clone(&moved);
    let states = errors.clone();
    let committed = move |failed: Option<&JournalError>, took| {
        counted.commit(failed.is_none(), took);
        states.set(JOURNAL, failed.map(ToString::to_string));
        told.notify_one();
    };
    let ledger = Ledger::new(journal, Box::new(committed));
    let engine = Engine { ipam, ledger, executor: hands, withdrawals };
    let engine = engine.spawn(receiver).context("the engine's thread could not be started")?;
    Ok(Parts { tools, facts, engine, tasks, moved })
}

/// A journal that knows nothing belongs to a node without pods, or it was lost. The kernel tells which, before the repair
/// takes what nobody wants for dead and cuts living pods off.
async fn refuse_strangers(datapath: &Datapath, path: &Path) -> anyhow::Result<()> {
    let links = datapath.pod_links().await.context("the kernel could not be read")?;
    let Some(first) = links.first() else { return Ok(()) };
    bail!(
        "journal {}: it knows nothing, but {} links of pods ({first}, …) are on this host: the file was lost, and going on without it would cut them off; put it back, or start once with --rebuild-journal, which reads cloud, runtime and kernel instead",
        path.display(),
        links.len()
    )
}

/// A new journal that knows these pods; the old one is kept aside.
fn anew(
    path: &Path,
    witness: &Path,
    instance: &InstanceId,
    living: &[Entry],
) -> anyhow::Result<LastingJournal> {
    let records = living
        .iter()
        .map(|entry| Ok((entry.key(), Some(serde_json::to_vec(entry)?))))
        .collect::<Result<Vec<_>, serde_json::Error>>()?;
    let aside = RedbJournal::rebuild(path)?;
    let records_found = records.len();
    tracing::warn!(
        ?aside,
        records_found,
        "the journal was rebuilt from cloud, runtime and kernel; the old one is kept aside"
    );
    let mut journal = LastingJournal::open(path, instance.as_str(), witness)?;
    journal.commit(&records)?;
    Ok(journal)
}

/// The shared ENIs of the journal whose links are here, so that a restart leaves the traffic of their pods alone.
async fn shared_enis(books: &Books, facts: &Facts, datapath: &Datapath) -> Vec<SharedEniNet> {
    let net = |eni: &EniBook| {
        Some(SharedEniNet {
            id: eni.id.clone()?,
            mac: eni.mac?,
            table_slot: eni.table_slot,
            subnet: facts.subnet(&eni.subnet)?.clone(),
            // An Unassign may be on its way, and nobody takes the address out of the map after it.
            addresses: eni
                .addresses
                .iter()
                .filter(|(_, state)| !matches!(state, AddressState::Releasing))
                .map(|(ip, _)| *ip)
                .collect(),
        })
    };
    let shared = books.enis.iter().filter(|eni| eni.usage == Use::Shared);
    let mut here: Vec<_> = shared.filter_map(net).collect();
    let links = datapath.links_of(here.iter().map(|eni| eni.mac).collect()).await;
    let links = links.unwrap_or_default();
    here.retain(|eni| links.contains_key(&eni.mac));
    here
}

fn decode(raw: Vec<(String, Vec<u8>)>) -> anyhow::Result<Vec<(String, Entry)>> {
    raw.into_iter()
        .map(|(key, bytes)| {
            let entry = serde_json::from_slice(&bytes).map_err(|e| unreadable(&key, e))?;
            Ok((key, entry))
        })
        .collect()
}

fn unreadable(key: &str, cause: serde_json::Error) -> anyhow::Error {
    anyhow::Error::new(cause).context(format!(
        "journal entry {key:?} cannot be read: it may be of a newer version; install that version, or start once with --rebuild-journal"
    ))
}

fn settings(config: &Config) -> Settings {
    let seconds = |s: u32| Duration::from_secs(s.into());
    Settings {
        low: config.pool.low,
        high: config.pool.high,
        cooldown: config.cooldown(),
        settle: seconds(config.pool.settle_seconds),
        late_effect: seconds(config.pool.late_effect_seconds),
        min_shared: config.shared.min_enis,
        max_shared: config.shared.max_enis,
        use_primary_address: config.cloud.provider.pods_use_primary_addresses(),
        create_secondary_max: ASSIGN_BATCH,
        lease_ttl: seconds(config.leases.ttl_seconds),
        lease_max: config.leases.max,
        assign_batch: ASSIGN_BATCH,
        prefixes: config.pool.prefix_mode == PrefixMode::Preferred,
    }
}

fn node_facts(facts: &Facts, config: &Config) -> NodeFacts {
    NodeFacts {
        instance: facts.instance.clone(),
        limits: facts.limits,
        families: config.families,
        subnets: facts.subnets.clone(),
        former_subnets: facts.former_subnets.clone(),
        security_groups: facts.security_groups.clone(),
        tags: tags(config, &facts.instance),
        primary_eni: facts.primary_eni.clone(),
        mtu: config.pod.mtu,
    }
}

/// A different seed for every run: tokens must not repeat.
fn seed() -> u64 {
    let now = clock::now();
    let boot = u64::try_from(now.boot.as_nanos()).unwrap_or(u64::MAX);
    now.wall.0.rotate_left(24) ^ boot ^ (u64::from(std::process::id()) << 40)
}
