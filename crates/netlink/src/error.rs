//! What can go wrong between us and the kernel. Every text says the cause and what to do.

use std::{io, net::IpAddr, time::Duration};

use tideway_model::{IfName, Mac};

/// A failure of the datapath.
#[derive(Debug, thiserror::Error)]
pub enum DatapathError {
    /// The pod's namespace does not exist (any more).
    #[error(
        "network namespace {path} is gone; the pod was removed meanwhile, nothing is left to do for it"
    )]
    NamespaceGone {
        /// Path that the runtime gave.
        path: String,
    },
    /// The path must not be plumbed.
    #[error(
        "network namespace {path} is refused: {why}; the runtime must pass the namespace of the pod's sandbox"
    )]
    NamespaceRefused {
        /// Path that the runtime gave.
        path: String,
        /// Reason.
        why: &'static str,
    },
    /// Entering, reading or opening a namespace failed.
    #[error(
        "network namespace {path}: {source}; is the daemon privileged (CAP_SYS_ADMIN) and does it share the host's /run/netns?"
    )]
    Namespace {
        /// Path.
        path: String,
        /// System error.
        #[source]
        source: io::Error,
    },
    /// No link has the MAC.
    #[error("no link with MAC {mac} in the host's namespace after {} ms; is the ENI attached, and did nobody else move it?", waited.as_millis())]
    EniMissing {
        /// MAC of the ENI.
        mac: Mac,
        /// How long it was waited for.
        waited: Duration,
    },
    /// The pod already has an interface of that name that is not ours.
    #[error(
        "interface {ifname} exists already in {path} and is not ours; another CNI plugin configured this pod, remove its configuration"
    )]
    NameTaken {
        /// Name.
        ifname: IfName,
        /// Namespace.
        path: String,
    },
    /// A route of somebody else stands where ours must be.
    #[error(
        "{what} cannot be set: a route of protocol {protocol} to the same destination exists; remove it or tell its owner to leave pod addresses alone"
    )]
    ForeignRoute {
        /// Our route.
        what: String,
        /// Its protocol number.
        protocol: u8,
    },
    /// The kernel refused an operation.
    #[error("the kernel refused \"{op}\": {errno}{}{hint}", detail.as_deref().map(|d| format!(" ({d})")).unwrap_or_default())]
    Kernel {
        /// The operation.
        op: String,
        /// Error of the kernel.
        errno: nix::errno::Errno,
        /// Text of the kernel, if it gave one.
        detail: Option<String>,
        /// What to do, if something special is known.
        hint: &'static str,
    },
    /// Netlink itself failed.
    #[error("netlink, {what}: {source}; the next attempt uses a new socket")]
    Socket {
        /// During what.
        what: &'static str,
        /// System error.
        #[source]
        source: io::Error,
    },
    /// A kernel setting could not be read or written.
    #[error("cannot set {key} to {value}: {source}; is /proc/sys writable for the daemon?")]
    Sysctl {
        /// Path below `/proc/sys`.
        key: String,
        /// Wanted value.
        value: String,
        /// System error.
        #[source]
        source: io::Error,
    },
    /// `nft` failed.
    #[error(
        "nftables: {cause}; `nft` (1.0 or newer) must be installed beside the daemon, and the kernel needs nf_tables with nat for the inet family (5.2)"
    )]
    Nft {
        /// What it said.
        cause: String,
    },
    /// Several parts of a teardown failed; all others are done.
    #[error("{} parts failed: {}", .0.len(), .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Several(Vec<DatapathError>),
    /// Addresses are not quiet yet.
    #[error(
        "addresses {addresses:?} are not quiet yet: {why}; they must not be given to another pod, ask again later"
    )]
    NotQuiet {
        /// The addresses.
        addresses: Vec<IpAddr>,
        /// What is left.
        why: String,
    },
    /// A setting that the datapath cannot work with.
    #[error("the host cannot be used: {0}")]
    Host(String),
    /// The worker that did it ended early.
    #[error(
        "the worker of this operation ended early ({0}); the operation may be half done, repeat it"
    )]
    Interrupted(String),
}

impl DatapathError {
    /// Collects the failures of a teardown.
    pub(crate) fn collect(mut failed: Vec<Self>) -> Result<(), Self> {
        match failed.len() {
            0 => Ok(()),
            1 => failed.pop().map_or(Ok(()), Err),
            _ => Err(Self::Several(failed)),
        }
    }

    /// Whether the pod's namespace was gone: for ADD a final answer, for DEL none at all.
    pub fn is_namespace_gone(&self) -> bool {
        matches!(self, Self::NamespaceGone { .. })
    }
}
