//! [`Datapath`]: one node's network, as the daemon holds it.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use ipnet::IpNet;
use tideway_datapath::{
    HostFacts, LinkFacts, View,
    naming::{self, is_pod_link},
    wanted::is_kernel_address,
};
use tideway_model::{AttachmentKey, IfName, Mac, Mode};

use crate::{
    DatapathError,
    apply::{Job, in_host, socket},
    guard::{self, Guarded},
    message,
    netns::Namespace,
    observe,
    pending::{GRACE, Pending},
    socket::NetlinkSocket,
    strays::Suspects,
};

/// What the datapath is told by the configuration and the cloud.
#[derive(Debug, Clone)]
pub struct DatapathSettings {
    /// Service ranges of the cluster: exclusive pods reach them through the host.
    pub service_cidrs: Vec<IpNet>,
    /// Further ranges that exclusive pods reach through the host.
    pub host_stack_cidrs: Vec<IpNet>,
    /// Blocks of the VPC.
    pub vpc_blocks: Vec<IpNet>,
    /// Whether the VPC translates what leaves it; otherwise shared pods leave it with the node's address.
    pub external_snat: bool,
    /// MAC of the primary ENI, by which its link is found.
    pub primary_mac: Mac,
}

/// Handle on a node's datapath; clones share everything.
#[derive(Debug, Clone)]
pub struct Datapath(Arc<Inner>);

/// Sockets that are kept open for later jobs.
const SPARE_SOCKETS: usize = 8;

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) ns: Namespace,
    settings: DatapathSettings,
    facts: Mutex<Arc<HostFacts>>,
    sockets: Mutex<Vec<NetlinkSocket>>,
    pub(crate) pending: Pending,
    pub(crate) guarded: Mutex<Guarded>,
    pub(crate) suspects: Suspects,
    /// Held while the objects of shared ENIs are compared and changed: the watch must not put back what is being retired.
    pub(crate) eni_work: Mutex<()>,
    /// What the nftables maps hold; `None` until it was read. The lock also makes `nft` runs follow one another.
    pub(crate) maps: tokio::sync::Mutex<Option<BTreeMap<IpAddr, u16>>>,
}

impl Datapath {
    /// Reads the host's facts in the caller's network namespace, which becomes the host's.
    ///
    /// Fails when no link has the primary MAC. Must run inside a tokio runtime: see [`Datapath::start`].
    #[expect(clippy::unused_async, reason = "must run inside a runtime, and may come to wait")]
    pub async fn new(settings: DatapathSettings) -> Result<Self, DatapathError> {
        let ns = Namespace::current().map_err(|source| DatapathError::Namespace {
            path: "of the daemon".to_owned(),
            source,
        })?;
        let this = Self::in_namespace(settings, ns)?;
        this.start();
        Ok(this)
    }

    /// As [`Datapath::new`], for a host that is not the caller's namespace, and nothing happens in the background before
    /// [`Datapath::start`].
    pub fn in_namespace(settings: DatapathSettings, ns: Namespace) -> Result<Self, DatapathError> {
        let opened = in_host(&ns, NetlinkSocket::route)?;
        let mut first = opened.map_err(socket("opening a socket"))?;
        let facts = read_facts(&mut first, &settings)?;
        let inner = Arc::new(Inner {
            ns,
            settings,
            facts: Mutex::new(Arc::new(facts)),
            sockets: Mutex::new(vec![first]),
            pending: Pending::default(),
            guarded: Mutex::default(),
            suspects: Suspects::default(),
            eni_work: Mutex::default(),
            maps: tokio::sync::Mutex::new(None),
        });
        Ok(Self(inner))
    }

    /// Starts, once, what works in the background and ends with the datapath: the worker for pending links and the watch
    /// over ENIs. Must run inside a tokio runtime.
    pub fn start(&self) {
        tokio::spawn(delete_pending(Arc::downgrade(&self.0)));
        tokio::spawn(guard::watch(Arc::downgrade(&self.0)));
    }

    /// Name of the host end of an attachment: follows from its identity.
    pub fn host_link_name(key: &AttachmentKey, mode: Mode) -> IfName {
        naming::host_link_name(key, mode)
    }

    /// Links of former pods that the kernel still had at the last look.
    pub fn pending_links(&self) -> usize {
        self.0.pending.len()
    }

    /// The same after a look at the kernel: most links go with their namespace, and nobody tells us.
    pub async fn count_pending_links(&self) -> usize {
        if self.pending_links() > 0
            && let Err(error) = self.blocking(Inner::forget_gone).await
        {
            tracing::debug!(%error, "pending links are counted as before");
        }
        self.pending_links()
    }

    /// The host as it was read last.
    pub fn facts(&self) -> Arc<HostFacts> {
        self.0.facts()
    }

    /// Everything that the kernel shows of the host, in the words of the plans.
    pub async fn observe(&self) -> Result<View, DatapathError> {
        self.blocking(|inner| {
            inner.with_socket(|s| observe::view(s, &[]).map_err(socket("reading the host")))
        })
        .await
    }

    /// Links of pods that the host has, whoever remembers the pods.
    pub async fn pod_links(&self) -> Result<Vec<IfName>, DatapathError> {
        let view = self.observe().await?;
        Ok(view.links.into_keys().filter(is_pod_link).collect())
    }

    pub(crate) fn inner(&self) -> &Arc<Inner> {
        &self.0
    }

    /// Runs kernel work on a blocking thread. It goes on to its end even if the caller goes away.
    pub(crate) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> Result<T, DatapathError> + Send + 'static,
    ) -> Result<T, DatapathError> {
        let inner = Arc::clone(&self.0);
        match tokio::task::spawn_blocking(move || work(&inner)).await {
            Ok(done) => done,
            Err(error) => Err(DatapathError::Interrupted(error.to_string())),
        }
    }
}

impl Inner {
    pub(crate) fn facts(&self) -> Arc<HostFacts> {
        Arc::clone(&self.facts_lock())
    }

    fn facts_lock(&self) -> MutexGuard<'_, Arc<HostFacts>> {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the host's facts again: names and addresses change.
    pub(crate) fn refresh_facts(&self) -> Result<Arc<HostFacts>, DatapathError> {
        let facts = self.with_socket(|s| read_facts(s, &self.settings))?;
        let facts = Arc::new(facts);
        *self.facts_lock() = Arc::clone(&facts);
        Ok(facts)
    }

    fn spare(&self) -> MutexGuard<'_, Vec<NetlinkSocket>> {
        self.sockets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lends a socket in the host's namespace. After an error of netlink itself the socket is not used again.
    pub(crate) fn with_socket<T>(
        &self,
        work: impl FnOnce(&mut NetlinkSocket) -> Result<T, DatapathError>,
    ) -> Result<T, DatapathError> {
        let opening = socket("opening a socket");
        let kept = self.spare().pop();
        let mut lent = match kept {
            Some(kept) => kept,
            None => in_host(&self.ns, NetlinkSocket::route)?.map_err(opening)?,
        };
        let done = work(&mut lent);
        let broken = match &done {
            Err(DatapathError::Several(all)) => {
                all.iter().any(|e| matches!(e, DatapathError::Socket { .. }))
            }
            Err(error) => matches!(error, DatapathError::Socket { .. }),
            Ok(_) => false,
        };
        let mut spare = self.spare();
        if !broken && spare.len() < SPARE_SOCKETS {
            spare.push(lent);
        }
        done
    }

    /// A job on the host.
    pub(crate) fn job<T>(
        &self,
        work: impl FnOnce(&mut Job<'_>) -> Result<T, DatapathError>,
    ) -> Result<T, DatapathError> {
        self.job_with(None, work)
    }

    /// A job on the host and in a pod's namespace, which is entered once to open a socket for this job alone.
    pub(crate) fn job_with<T>(
        &self,
        pod: Option<(&Namespace, &str)>,
        work: impl FnOnce(&mut Job<'_>) -> Result<T, DatapathError>,
    ) -> Result<T, DatapathError> {
        self.with_socket(|socket| {
            let mut job = Job::new(socket, &self.ns);
            job.group = self.pending.group();
            if let Some((pod, path)) = pod {
                job.enter(pod, path)?;
            }
            work(&mut job)
        })
    }

    /// Deletes the links whose turn it is and forgets those that are gone.
    fn sweep(&self) -> Result<(), DatapathError> {
        let resting = self.pending.resting();
        if self.pending.has_group(resting) {
            // ENODEV: the runtime was faster with all of them.
            let answer = self.with_socket(|s| {
                s.one(message::del_group(resting)).map_err(socket("deleting links"))
            })?;
            if let Err(refused) = answer {
                tracing::debug!(errno = %refused.errno, "group of pending links");
            }
        }
        self.forget_gone()?;
        self.pending.turn();
        Ok(())
    }

    /// Compares the pending links with the kernel.
    pub(crate) fn forget_gone(&self) -> Result<(), DatapathError> {
        let (known, names) = self.pending.names();
        let alive =
            self.with_socket(|s| observe::existing(s, names).map_err(socket("reading links")))?;
        self.pending.keep_only(&alive, known);
        Ok(())
    }
}

/// The worker for pending links: sleeps until there are some, then works until there are none.
async fn delete_pending(inner: Weak<Inner>) {
    loop {
        let Some(strong) = inner.upgrade() else { return };
        let mut count = strong.pending.watch();
        drop(strong);
        // Ends with an error when the datapath is dropped.
        if count.wait_for(|n| *n > 0).await.is_err() {
            return;
        }
        tokio::time::sleep(GRACE).await;
        let Some(strong) = inner.upgrade() else { return };
        match tokio::task::spawn_blocking(move || strong.sweep()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "pending links stay for another turn"),
            Err(error) => tracing::error!(%error, "the sweep of pending links ended early"),
        }
    }
}

fn read_facts(
    socket: &mut NetlinkSocket,
    settings: &DatapathSettings,
) -> Result<HostFacts, DatapathError> {
    let mac = settings.primary_mac;
    let links = observe::links(socket).map_err(self::socket("reading links"))?;
    let primary = links.into_iter().find(|l| l.is_eni(mac)).ok_or_else(|| {
        DatapathError::Host(format!(
            "no link has the MAC {mac} of the primary ENI; does the daemon run in the host's network namespace?"
        ))
    })?;
    let view = observe::view(socket, &[]).map_err(self::socket("reading addresses"))?;
    let mut facts = LinkFacts { ifname: primary.name, mac, ipv4: Vec::new(), ipv6: Vec::new() };
    for address in view.addresses.iter().filter(|a| a.link == facts.ifname) {
        match address.net.addr() {
            IpAddr::V4(ip) => facts.ipv4.push(ip),
            IpAddr::V6(ip) if !is_kernel_address(&address.net) => facts.ipv6.push(ip),
            IpAddr::V6(_) => {}
        }
    }
    let v4 = facts.ipv4.iter().copied().map(IpAddr::V4);
    let node_ips = v4.chain(facts.ipv6.iter().copied().map(IpAddr::V6)).collect();
    Ok(HostFacts {
        node_ips,
        primary: facts,
        service_cidrs: settings.service_cidrs.clone(),
        host_stack_cidrs: settings.host_stack_cidrs.clone(),
        vpc_blocks: settings.vpc_blocks.clone(),
        external_snat: settings.external_snat,
    })
}
