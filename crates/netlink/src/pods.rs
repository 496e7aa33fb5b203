//! Pods: ADD, DEL, CHECK, and which of them are alive.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use nix::errno::Errno;
use tideway_datapath::{
    NetOp, Place, Plumbed, View, check,
    naming::{host_link_name, ifb_name, parked_name},
    plan,
};
use tideway_model::{Attachment, AttachmentKey, IfName, Mac, Mode};

use crate::{
    Datapath, DatapathError,
    apply::{Job, reserved, socket},
    datapath::Inner,
    message,
    netns::Namespace,
    observe,
    pending::PendingLinks,
    socket::NetlinkSocket,
    sysctl,
};

/// How long an exclusive ADD waits for the ENI's link: a former pod's namespace may just be giving it back.
const ENI_WAIT: Duration = Duration::from_secs(10);
const ENI_POLL: Duration = Duration::from_millis(100);

impl Datapath {
    /// Plumbs a pod. Idempotent: a second ADD of the same attachment answers the same. Takes its own work back on failure.
    pub async fn add(&self, a: &Attachment) -> Result<Plumbed, DatapathError> {
        let started = Instant::now();
        loop {
            let attachment = a.clone();
            match self.blocking(move |inner| inner.add(&attachment)).await {
                Err(DatapathError::EniMissing { mac, .. }) => {
                    let waited = started.elapsed();
                    if waited >= ENI_WAIT {
                        return Err(DatapathError::EniMissing { mac, waited });
                    }
                    tokio::time::sleep(ENI_POLL).await;
                }
                done => return done,
            }
        }
    }

    /// Takes a pod's network away. Idempotent; a namespace that is gone is no error. When it returns, no packet reaches the
    /// pod by this node any more and an exclusive ENI is back on the host; links are deleted later.
    pub async fn del(&self, a: &Attachment) -> Result<(), DatapathError> {
        let attachment = a.clone();
        self.blocking(move |inner| inner.del(&attachment)).await
    }

    /// Takes an exclusive ENI out of the namespace in which a withdrawal that was cut short left it; whether it was there.
    /// The path is old and may name another namespace by now: nothing happens unless the ENI itself is in it.
    pub async fn take_back(&self, netns: &str, mac: Mac) -> Result<bool, DatapathError> {
        let netns = netns.to_owned();
        self.blocking(move |inner| inner.take_back(&netns, mac)).await
    }

    /// What of an attachment is not as it should be; empty: all is well.
    pub async fn check(&self, a: &Attachment) -> Result<Vec<String>, DatapathError> {
        let a = a.clone();
        self.blocking(move |inner| {
            let ns = Namespace::open_pod(&a.netns, &inner.ns)?;
            let pod = pod_view(&ns, &a)?;
            let host =
                inner.with_socket(|s| observe::view(s, &[]).map_err(socket("reading the host")))?;
            let found = check::attachment(&a, &inner.facts(), &host, &pod);
            Ok(found.iter().map(ToString::to_string).collect())
        })
        .await
    }

    /// The attachments of which the kernel still has the host link or the namespace. Fails when it cannot tell of one.
    pub async fn live(
        &self,
        attachments: &[Attachment],
    ) -> Result<BTreeSet<AttachmentKey>, DatapathError> {
        let all: Vec<(AttachmentKey, Mode, String)> =
            attachments.iter().map(|a| (a.key.clone(), a.mode, a.netns.clone())).collect();
        self.blocking(move |inner| {
            let links =
                inner.with_socket(|s| observe::links(s).map_err(socket("reading links")))?;
            let names: BTreeSet<IfName> = links.into_iter().map(|l| l.name).collect();
            let mut live = BTreeSet::new();
            for (key, mode, netns) in all {
                let linked = names.contains(&host_link_name(&key, mode));
                if linked || namespace_lives(&netns, &inner.ns)? {
                    live.insert(key);
                }
            }
            Ok(live)
        })
        .await
    }
}

/// Paths below `/proc` name a process, whose number may have come to another one: they prove nothing. Too few descriptors or
/// rights prove nothing either: only a path that is gone, or names something else, is a dead namespace.
fn namespace_lives(path: &str, host: &Namespace) -> Result<bool, DatapathError> {
    if path.starts_with("/proc/") {
        return Ok(false);
    }
    match Namespace::open_pod(path, host) {
        Ok(_lives) => Ok(true),
        Err(DatapathError::NamespaceGone { .. } | DatapathError::NamespaceRefused { .. }) => {
            Ok(false)
        }
        Err(unknown) => Err(unknown),
    }
}

impl Inner {
    pub(crate) fn add(&self, a: &Attachment) -> Result<Plumbed, DatapathError> {
        if reserved(&a.key.ifname) {
            return Err(DatapathError::NameTaken {
                ifname: a.key.ifname.clone(),
                path: a.netns.clone(),
            });
        }
        let pod = Namespace::open_pod(&a.netns, &self.ns)?;
        let links = [host_link_name(&a.key, a.mode), ifb_name(&a.key)];
        self.make_way(&links, &pod)?;
        if a.mode == Mode::Exclusive {
            self.guarded().taken(a.eni_mac);
        }
        let facts = self.facts();
        let ops = plan::add(a, &facts);
        self.job_with(Some((&pod, &a.netns)), |job| {
            let mut failed = job.run(&ops, true);
            if failed.iter().any(no_ipv6) && a.addresses.v6.is_some() {
                enable_ipv6(&pod, &a.netns)?;
                failed = job.run(&ops, true);
            }
            let Some(error) = failed.into_iter().next() else { return Ok(()) };
            if job.made {
                undo(job, a);
            }
            Err(name_path(error, &a.netns))
        })?;
        Ok(Plumbed::of(a, &facts))
    }

    /// Deletes pending links of the same name or in the same namespace: they must not be met by the new pod.
    fn make_way(&self, links: &[IfName], pod: &Namespace) -> Result<(), DatapathError> {
        let taken = self.pending.take(links, pod.id());
        if taken.is_empty() {
            return Ok(());
        }
        let drops: Vec<NetOp> = taken
            .iter()
            .flat_map(|e| e.links.iter().map(|l| NetOp::DropLink(Place::Host, l.clone())))
            .collect();
        let done = self.job(|job| DatapathError::collect(job.run(&drops, false)));
        if done.is_err() {
            for entry in taken {
                self.pending.push(entry);
            }
        }
        done
    }

    pub(crate) fn del(&self, a: &Attachment) -> Result<(), DatapathError> {
        // The namespace is only entered for what must come out of it; its identity is kept for a following ADD.
        let pod = match Namespace::open_pod(&a.netns, &self.ns) {
            Ok(pod) => Some(pod),
            Err(DatapathError::NamespaceGone { .. } | DatapathError::NamespaceRefused { .. }) => {
                None
            }
            Err(error) if a.mode == Mode::Exclusive => return Err(error),
            Err(_) => None,
        };
        if a.mode == Mode::Exclusive {
            self.guarded().returned(a.eni_mac);
        }
        let netns = pod.as_ref().map(Namespace::id);
        let ops = plan::del(a);
        let inside = pod.as_ref().filter(|_| a.mode == Mode::Exclusive);
        self.job_with(inside.map(|ns| (ns, a.netns.as_str())), |job| {
            let failed = job.run(&ops, false);
            if !job.retired.is_empty() {
                self.pending.push(PendingLinks {
                    links: std::mem::take(&mut job.retired),
                    netns,
                    addresses: a.addresses.iter().collect(),
                    group: job.group,
                });
            }
            DatapathError::collect(failed)
        })
    }

    fn take_back(&self, netns: &str, mac: Mac) -> Result<bool, DatapathError> {
        let pod = match Namespace::open_pod(netns, &self.ns) {
            Ok(pod) => pod,
            Err(DatapathError::NamespaceGone { .. } | DatapathError::NamespaceRefused { .. }) => {
                return Ok(false);
            }
            Err(error) => return Err(error),
        };
        self.job_with(Some((&pod, netns)), |job| {
            let Some(eni) = job.pod_links()?.into_iter().find(|l| l.is_eni(mac)) else {
                return Ok(false);
            };
            self.guarded().returned(mac);
            let back = NetOp::ReturnEni { mac, ifname: eni.name, parked: parked_name(mac) };
            DatapathError::collect(job.run(&[back], false)).map(|()| true)
        })
    }
}

/// Reads the namespace of a pod.
pub(crate) fn pod_view(pod: &Namespace, a: &Attachment) -> Result<View, DatapathError> {
    let failed = |source| DatapathError::Namespace { path: a.netns.clone(), source };
    let mut inside = pod.within(NetlinkSocket::route).and_then(|s| s).map_err(failed)?;
    observe::view(&mut inside, &[]).map_err(socket("reading the pod"))
}

/// Takes back what a failed ADD made. Its own failures are only logged: the first error is the one to tell.
fn undo(job: &mut Job<'_>, a: &Attachment) {
    let mut ops = Vec::new();
    if a.mode == Mode::Exclusive {
        let (mac, ifname) = (a.eni_mac, a.key.ifname.clone());
        ops.push(NetOp::ReturnEni { mac, ifname, parked: parked_name(mac) });
    }
    ops.push(NetOp::DropLink(Place::Host, host_link_name(&a.key, a.mode)));
    if a.mode == Mode::Veth {
        ops.push(NetOp::DropLink(Place::Host, ifb_name(&a.key)));
    }
    for error in job.run(&ops, false) {
        tracing::warn!(%error, pod = %a.pod.key, "a failed ADD was not taken back whole");
    }
}

/// The kernel refuses IPv6 addresses where IPv6 is switched off, as some runtimes do for new namespaces.
fn no_ipv6(error: &DatapathError) -> bool {
    matches!(error, DatapathError::Kernel { errno: Errno::EACCES | Errno::EPERM, .. })
}

fn enable_ipv6(pod: &Namespace, path: &str) -> Result<(), DatapathError> {
    let write = || {
        ["all", "default"].iter().try_for_each(|which| {
            sysctl::set(&format!("net/ipv6/conf/{which}/disable_ipv6"), "0").map(|_old| ())
        })
    };
    let failed = |source| DatapathError::Namespace { path: path.to_owned(), source };
    pod.within(write).and_then(|done| done).map_err(failed)
}

fn name_path(error: DatapathError, netns: &str) -> DatapathError {
    if let DatapathError::NameTaken { ifname, .. } = error {
        return DatapathError::NameTaken { ifname, path: netns.to_owned() };
    }
    error
}

/// Deletes all links of a group at once.
pub(crate) fn delete_group(job: &mut Job<'_>, group: u32) -> Result<(), DatapathError> {
    let answer = job.host.one(message::del_group(group)).map_err(socket("deleting links"))?;
    match answer {
        Err(refused) if refused.errno != Errno::ENODEV => Err(DatapathError::Kernel {
            op: format!("delete the links of group {group:#x}"),
            errno: refused.errno,
            detail: refused.detail,
            hint: "",
        }),
        _ => Ok(()),
    }
}
