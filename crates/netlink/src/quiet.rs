//! When an address may be given to another pod: its former pod's links are gone and so are its conntrack entries.

use std::{collections::BTreeSet, net::IpAddr, time::Duration};

use crate::{
    Datapath, DatapathError,
    apply::{in_host, socket},
    conntrack,
    datapath::Inner,
    observe,
    socket::NetlinkSocket,
};

/// Twice the longest life of a pending link, and room for a slow deletion.
const QUIET_WAIT: Duration = Duration::from_secs(15);
/// Time between two looks at the kernel.
const LOOK: Duration = Duration::from_millis(250);

impl Datapath {
    /// Returns when the links of these addresses are gone and their conntrack entries are flushed. Fails after 15 s, and
    /// when an address is still routed to a pod.
    pub async fn quiesce(&self, addresses: &[IpAddr]) -> Result<(), DatapathError> {
        let all: BTreeSet<IpAddr> = addresses.iter().copied().collect();
        let waited = tokio::time::timeout(QUIET_WAIT, self.links_gone(&all)).await;
        let not_quiet =
            |why: String| DatapathError::NotQuiet { addresses: addresses.to_vec(), why };
        match waited {
            Ok(done) => done?,
            Err(_elapsed) => {
                let links = self.inner().pending.links_of(&all);
                let links: Vec<&str> = links.iter().map(tideway_model::IfName::as_str).collect();
                return Err(not_quiet(format!("links {} are still there", links.join(", "))));
            }
        }
        let asked = all.clone();
        let routed = self
            .blocking(move |inner| {
                inner.with_socket(|s| observe::routed(s, &asked).map_err(socket("reading routes")))
            })
            .await?;
        if !routed.is_empty() {
            let routed: Vec<_> = routed.iter().map(ToString::to_string).collect();
            return Err(not_quiet(format!("the host still has routes to {}", routed.join(", "))));
        }
        self.flush_conntrack(addresses).await
    }

    async fn links_gone(&self, addresses: &BTreeSet<IpAddr>) -> Result<(), DatapathError> {
        let mut changes = self.inner().pending.watch();
        let mut next = tokio::time::Instant::now();
        while !self.inner().pending.links_of(addresses).is_empty() {
            // Every pod that comes or goes changes the list: only the clock is a reason to ask the kernel.
            if tokio::time::timeout_at(next, changes.changed()).await.is_err() {
                self.blocking(Inner::forget_gone).await?;
                next = tokio::time::Instant::now() + LOOK;
            }
        }
        Ok(())
    }

    /// Removes the conntrack entries in which one of the addresses takes part.
    pub async fn flush_conntrack(&self, addresses: &[IpAddr]) -> Result<(), DatapathError> {
        let addresses: BTreeSet<IpAddr> = addresses.iter().copied().collect();
        if addresses.is_empty() {
            return Ok(());
        }
        self.blocking(move |inner| {
            let opened = in_host(&inner.ns, NetlinkSocket::netfilter)?;
            let mut netfilter = opened.map_err(socket("opening conntrack"))?;
            let removed = conntrack::flush(&mut netfilter, &addresses);
            let removed = removed.map_err(socket("flushing conntrack"))?;
            tracing::debug!(removed, addresses = addresses.len(), "conntrack flushed");
            Ok(())
        })
        .await
    }
}
