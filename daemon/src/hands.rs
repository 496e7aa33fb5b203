//! The hands of the allocator: executes its commands against kernel, cloud and kubelet, and tells it how they ended.
//!
//! Every command starts a task and returns at once, so the engine never waits. Around cloud operations the source → ENI map
//! is kept true: an address enters it before the allocator hears of it and leaves it before it is given back.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use ipnet::IpNet;
use tideway_cloud::{Cloud, CloudOp};
use tideway_ipam::{Command, DeviceState, EniBook, Event, SharedEni, Use};
use tideway_model::{EniId, InstanceId, Mode};
use tideway_netlink::{Datapath, HostLink, SharedEniNet};
use tokio::{
    runtime::Handle,
    sync::{Notify, mpsc, watch},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    clock,
    cloud_log::CloudLog,
    engine::{DelAnswer, EngineHandle, Executor, Message},
    holders::Holders,
    mapped::Mapped,
    pauses::Pauses,
    plumbed::Promised,
};

/// What is known of the shared ENIs on the host.
#[derive(Debug, Default)]
struct Shared {
    enis: BTreeMap<EniId, SharedEni>,
    /// Their links when they were seen last.
    links: BTreeMap<EniId, HostLink>,
    mapped: Mapped,
}

/// Everything that a command may need.
pub struct Tools<C> {
    /// The cloud.
    pub cloud: Arc<C>,
    /// The kernel.
    pub datapath: Arc<Datapath>,
    /// The engine.
    pub engine: EngineHandle,
    /// Promises.
    pub promised: Promised,
    /// Who holds which device.
    pub holders: Option<Holders>,
    /// The device plugin's list.
    pub devices: watch::Sender<Vec<DeviceState>>,
    /// Addresses that must become quiet; see [`crate::quiet`].
    pub quiet: mpsc::UnboundedSender<Vec<IpAddr>>,
    /// Calls and errors, for people; holds the limiter.
    pub log: CloudLog,
    /// This instance.
    pub instance: InstanceId,
    /// Tags of our ENIs.
    pub tags: BTreeMap<String, String>,
    /// Wakes the task that looks at the cloud.
    pub cloud_asked: Notify,
    /// Wakes the task that looks at what lives.
    pub living_asked: Notify,
    /// Cancelled when an uninstall is complete.
    pub uninstalled: CancellationToken,
    shared: Mutex<Shared>,
    /// Held while an ENI is retired: what comes second finds it done.
    retiring: tokio::sync::Mutex<()>,
}

impl<C> std::fmt::Debug for Tools<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tools").field("instance", &self.instance).finish_non_exhaustive()
    }
}

/// The executor: tools, and where tasks run.
#[derive(Debug)]
pub struct Hands<C> {
    tools: Arc<Tools<C>>,
    runtime: Handle,
    tasks: TaskTracker,
}

impl<C> Hands<C> {
    /// Hands that work on `runtime`.
    pub fn new(tools: Arc<Tools<C>>, runtime: Handle, tasks: TaskTracker) -> Self {
        Self { tools, runtime, tasks }
    }
}

/// Who this node is, and who cleans up behind it.
#[derive(Debug)]
pub struct Identity {
    /// This instance.
    pub instance: InstanceId,
    /// Tags of our ENIs.
    pub tags: BTreeMap<String, String>,
    /// Where addresses that must become quiet go.
    pub quiet: mpsc::UnboundedSender<Vec<IpAddr>>,
}

impl<C: Cloud> Tools<C> {
    /// Collects the tools.
    pub fn new(
        cloud: Arc<C>,
        datapath: Arc<Datapath>,
        engine: EngineHandle,
        promised: Promised,
        holders: Option<Holders>,
        log: CloudLog,
        who: Identity,
    ) -> Self {
        Self {
            cloud,
            datapath,
            engine,
            promised,
            holders,
            devices: watch::Sender::new(Vec::new()),
            quiet: who.quiet,
            log,
            instance: who.instance,
            tags: who.tags,
            cloud_asked: Notify::new(),
            living_asked: Notify::new(),
            uninstalled: CancellationToken::new(),
            shared: Mutex::default(),
            retiring: tokio::sync::Mutex::default(),
        }
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this shared ENI is prepared on the host.
    pub(crate) fn is_prepared(&self, eni: &EniId) -> bool {
        self.shared().enis.contains_key(eni)
    }

    /// Sees to it that pods with these addresses of this ENI leave by it. Cheap when the map has them already. What is new to
    /// the map may have been another node's a moment ago, or ours before it was given back: what conntrack remembers of it is
    /// flushed, or the next pod's packets would follow the former one's flows.
    pub async fn ensure_mapped(&self, eni: &EniId, addresses: &[IpAddr]) -> Result<(), String> {
        let (slot, missing) = {
            let shared = self.shared();
            let Some(known) = shared.enis.get(eni) else {
                return Err(format!("the shared ENI {eni} is not prepared on this host"));
            };
            let missing = shared.mapped.missing(known.table_slot, addresses);
            (known.table_slot, missing)
        };
        if missing.is_empty() {
            return Ok(());
        }
        self.datapath.flush_conntrack(&missing).await.map_err(|e| e.to_string())?;
        self.datapath.map(slot, &missing, &[]).await.map_err(|e| e.to_string())?;
        self.shared().mapped.put(slot, &missing);
        Ok(())
    }

    pub(crate) async fn unmap(&self, eni: &EniId, addresses: &[IpAddr]) -> Result<(), String> {
        let slot = {
            let mut shared = self.shared();
            shared.mapped.remove(addresses);
            shared.enis.get(eni).map(|known| known.table_slot)
        };
        let Some(slot) = slot else { return Ok(()) };
        self.datapath.map(slot, &[], addresses).await.map_err(|e| e.to_string())
    }

    /// As [`Self::unmap`], for every address of these prefixes that is in the map.
    pub(crate) async fn unmap_within(&self, eni: &EniId, nets: &[IpNet]) -> Result<(), String> {
        let addresses = self.shared().mapped.within(nets);
        self.unmap(eni, &addresses).await
    }

    /// Why no pod can be plumbed on a shared ENI now; none: it can. The ENI may have been detached behind our back, and a
    /// pod with its address would be cut off. One lookup by index; only a miss asks for all links, since links get renamed.
    pub async fn unusable(&self, eni: &EniId) -> Option<String> {
        let (mac, link) = {
            let shared = self.shared();
            let Some(known) = shared.enis.get(eni) else {
                return Some(format!("{eni} is not prepared on this host yet"));
            };
            (known.mac, shared.links.get(eni).cloned())
        };
        if link.is_some_and(|link| is_there(&link)) {
            return None;
        }
        match self.datapath.link_of(mac).await {
            Ok(None) => {
                Some(format!("{eni} is not on this host any more: somebody detached or deleted it"))
            }
            Ok(Some(link)) => {
                self.shared().links.insert(eni.clone(), link);
                None
            }
            // What cannot be asked is no proof of absence.
            Err(_unknown) => None,
        }
    }

    /// Remembers shared ENIs that the repair at the start has put in order: pods are served before the allocator asks for
    /// their preparation again.
    pub fn laid(&self, enis: Vec<SharedEniNet>) {
        let mut shared = self.shared();
        for net in enis {
            shared.mapped.put(net.table_slot, &net.addresses);
            let eni = SharedEni {
                id: net.id.clone(),
                mac: net.mac,
                table_slot: net.table_slot,
                subnet: net.subnet,
                addresses: net.addresses,
            };
            shared.enis.insert(net.id, eni);
        }
    }

    /// Prepares a shared ENI on the host and remembers it. Addresses new to the map are flushed as in [`Self::ensure_mapped`],
    /// but never those of living pods.
    pub async fn prepare(&self, eni: &SharedEni) -> Result<(), String> {
        // Its slot may be one of an ENI that is no more; whoever retires that one later must not take this one's rules.
        let former = |other: &&SharedEni| other.table_slot == eni.table_slot && other.id != eni.id;
        let former = self.shared().enis.values().find(former).map(|other| other.id.clone());
        if let Some(former) = former {
            self.retire(&former).await?;
        }
        let mut new = self.shared().mapped.missing(eni.table_slot, &eni.addresses);
        let promised = self.promised.all();
        new.retain(|ip| !promised.iter().any(|a| a.addresses.iter().any(|own| own == *ip)));
        self.datapath.flush_conntrack(&new).await.map_err(|e| e.to_string())?;
        let link = self.datapath.prepare(&net_of(eni)).await.map_err(|e| e.to_string())?;
        let mut shared = self.shared();
        shared.links.insert(eni.id.clone(), link);
        shared.mapped.put(eni.table_slot, &eni.addresses);
        shared.enis.insert(eni.id.clone(), eni.clone());
        Ok(())
    }

    pub(crate) async fn retire(&self, eni: &EniId) -> Result<(), String> {
        let _one = self.retiring.lock().await;
        let known = self.shared().enis.get(eni).cloned();
        let Some(known) = known else { return Ok(()) };
        self.datapath.retire(known.mac, known.table_slot).await.map_err(|e| e.to_string())?;
        let mut shared = self.shared();
        shared.mapped.forget(known.table_slot);
        shared.enis.remove(eni);
        shared.links.remove(eni);
        Ok(())
    }

    async fn run(&self, command: Command) {
        match command {
            Command::Cloud { intent, op, urgency } => {
                let result = self.operate(&op, urgency).await;
                if let Err(e) = &result {
                    CloudLog::warn(e, "cloud operation failed");
                }
                let attached = matches!(op, CloudOp::Attach { .. }) && result.is_ok();
                self.engine.tell(Event::CloudDone { intent, result });
                if attached {
                    self.name_idle().await;
                }
            }
            Command::Prepare(eni) => {
                let result = self.prepare(&eni).await;
                if let Err(e) = &result {
                    tracing::warn!(eni = %eni.id, error = %e, "a shared ENI could not be prepared");
                }
                self.engine.tell(Event::EniPrepared { eni: eni.id.clone(), result });
            }
            Command::Retire(eni) => {
                let mut pauses = Pauses::default();
                while let Err(e) = self.retire(&eni).await {
                    tracing::warn!(%eni, error = %e, "what is left of an ENI cannot be removed from the host; trying again");
                    tokio::time::sleep(pauses.next(clock::jitter())).await;
                }
            }
            Command::LookAtCloud => self.cloud_asked.notify_one(),
            Command::LookAtDevices => {
                self.ask_holders().await;
            }
            Command::Uninstalled => self.uninstalled.cancel(),
            Command::Grant { .. }
            | Command::Refuse { .. }
            | Command::Unknown { .. }
            | Command::Unplumb { .. }
            | Command::Quiesce { .. }
            | Command::Devices(_) => {}
        }
    }

    /// Names the attached ENIs that wait for their exclusive pod: they are kept bare and down, whatever DHCP clients do.
    pub async fn name_idle(&self) {
        let Some(books) = self.engine.books().await else { return };
        let held: BTreeSet<&EniId> = books.attachments.iter().map(|a| &a.eni).collect();
        let waits = |eni: &&EniBook| {
            matches!(eni.usage, Use::Exclusive(_))
                && eni.id.as_ref().is_some_and(|id| !held.contains(id))
        };
        self.datapath.idle(books.enis.iter().filter(waits).filter_map(|eni| eni.mac).collect());
    }

    async fn withdraw(&self, attachment: &tideway_model::Attachment) {
        let guard = self.promised.lock(&attachment.key).await;
        let mut pauses = Pauses::default();
        while let Err(e) = self.datapath.del(attachment).await {
            tracing::error!(pod = %attachment.pod.key, error = %e, "a pod's network could not be withdrawn; trying again");
            tokio::time::sleep(pauses.next(clock::jitter())).await;
        }
        drop(guard);
    }
}

impl<C: Cloud> Executor for Hands<C> {
    fn execute(&self, command: Command, answer: Option<DelAnswer>) {
        let tools = Arc::clone(&self.tools);
        match command {
            // One that was granted before stands since then, or was found impossible and is about to end.
            Command::Grant { again: true, .. } => {}
            Command::Grant { attachment, again: false, .. } => tools.promised.insert(*attachment),
            Command::Devices(list) => {
                tools.devices.send_replace(list);
            }
            Command::Quiesce { addresses } => {
                if tools.quiet.send(addresses).is_err() {
                    tracing::debug!(
                        "stopping: cooling addresses are looked at after the next start"
                    );
                }
            }
            Command::Unplumb { attachment, .. } => {
                tools.promised.remove(&attachment.key);
                let done = tools.promised.withdrawing(attachment.addresses.iter());
                self.tasks.spawn_on(
                    async move {
                        tools.withdraw(&attachment).await;
                        done.cancel();
                        // Before the answer: what the runtime does next finds it ended.
                        if attachment.mode == Mode::Exclusive {
                            tools.engine.send(Message::Withdrawn(attachment.key));
                        }
                        if let Some(answer) = answer {
                            answer.give();
                        }
                    },
                    &self.runtime,
                );
            }
            other @ (Command::Refuse { .. }
            | Command::Unknown { .. }
            | Command::Cloud { .. }
            | Command::Prepare(_)
            | Command::Retire(_)
            | Command::LookAtCloud
            | Command::LookAtDevices
            | Command::Uninstalled) => {
                self.tasks.spawn_on(async move { tools.run(other).await }, &self.runtime);
            }
        }
    }
}

/// Whether the host, in whose namespace the daemon runs, still has this very link.
fn is_there(link: &HostLink) -> bool {
    nix::net::if_::if_indextoname(link.index)
        .is_ok_and(|name| name.as_bytes() == link.name.as_str().as_bytes())
}

/// The datapath's words for a shared ENI.
pub fn net_of(eni: &SharedEni) -> SharedEniNet {
    SharedEniNet {
        id: eni.id.clone(),
        mac: eni.mac,
        table_slot: eni.table_slot,
        subnet: eni.subnet.clone(),
        addresses: eni.addresses.clone(),
    }
}
