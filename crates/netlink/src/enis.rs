//! Shared ENIs: made ready, fed with addresses, retired before they are detached.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    time::{Duration, Instant},
};

use tideway_datapath::{
    SharedEniNet, facts::MAX_TABLE_SLOT, nft as script, plan, repair::foreign_on,
};
use tideway_model::{IfName, Mac};

use crate::{
    Datapath, DatapathError,
    apply::{in_host, socket},
    datapath::Inner,
    nft,
    observe::{self, FoundLink},
};

/// How long [`Datapath::prepare`] waits for the link of an ENI that was just attached.
const LINK_WAIT: Duration = Duration::from_secs(10);
const LINK_POLL: Duration = Duration::from_millis(100);
const LOOKING: &str = "looking for ENIs";

/// A link of the host, as it was when it was seen. Names are given again at once, to the next ENI too; the kernel counts
/// indices up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostLink {
    /// What it is called.
    pub name: IfName,
    /// Its number.
    pub index: u32,
}

impl HostLink {
    fn of(mac: Mac, links: &[FoundLink]) -> Option<Self> {
        let link = links.iter().find(|link| link.is_eni(mac))?;
        Some(Self { name: link.name.clone(), index: link.index })
    }
}

impl Datapath {
    /// Makes a shared ENI ready: link up without foreign addresses, own table and rules, its addresses in the map.
    /// Waits up to 10 s for the link, and gives it back. Idempotent.
    pub async fn prepare(&self, eni: &SharedEniNet) -> Result<HostLink, DatapathError> {
        check_slot(eni.table_slot)?;
        let started = Instant::now();
        while self.link_of(eni.mac).await?.is_none() {
            let waited = started.elapsed();
            if waited >= LINK_WAIT {
                return Err(DatapathError::EniMissing { mac: eni.mac, waited });
            }
            tokio::time::sleep(LINK_POLL).await;
        }
        let net = eni.clone();
        let work = move |inner: &Inner| {
            let facts = inner.facts();
            let _turn = inner.eni_turn();
            inner.job(|job| {
                let missing = DatapathError::EniMissing { mac: net.mac, waited: Duration::ZERO };
                let links = observe::links(job.host).map_err(socket(LOOKING))?;
                let link = HostLink::of(net.mac, &links).ok_or(missing)?;
                let view = observe::view(job.host, std::slice::from_ref(&link.name));
                let view = view.map_err(socket("reading the host"))?;
                let mut ops = foreign_on(&link.name, &view);
                for op in &ops {
                    tracing::warn!(eni = %net.id, "{op}");
                }
                ops.extend(plan::prepare(&net, &link.name, &facts));
                DatapathError::collect(job.run(&ops, false))?;
                // Within the turn: a look at strays in between would take its rules for those of the slot's former ENI.
                inner.guarded().keep(net);
                Ok(link)
            })
        };
        let link = self.blocking(work).await?;
        self.map(eni.table_slot, &eni.addresses, &[]).await?;
        Ok(link)
    }

    /// Puts addresses into the map source → ENI, and takes others out, in one transaction.
    pub async fn map(
        &self,
        table_slot: u16,
        add: &[IpAddr],
        remove: &[IpAddr],
    ) -> Result<(), DatapathError> {
        check_slot(table_slot)?;
        self.change_maps(|maps| {
            for ip in remove {
                if maps.get(ip) == Some(&table_slot) {
                    maps.remove(ip);
                }
            }
            maps.extend(add.iter().map(|ip| (*ip, table_slot)));
        })
        .await
        .map(|_changed| ())
    }

    /// Takes a shared ENI out of use, before it is detached: what leads to its table leaves the map, rules and table go, the
    /// link goes down. Addresses that were its own and lead to another ENI by now stay. An ENI whose link is gone already is no
    /// error.
    pub async fn retire(&self, mac: Mac, table_slot: u16) -> Result<(), DatapathError> {
        check_slot(table_slot)?;
        self.inner().guarded().forget(table_slot);
        self.change_maps(|maps| maps.retain(|_ip, slot| *slot != table_slot)).await?;
        self.blocking(move |inner| {
            let _turn = inner.eni_turn();
            inner.job(|job| {
                let links = observe::links(job.host).map_err(socket(LOOKING))?;
                let link = HostLink::of(mac, &links).map(|link| link.name);
                let view = observe::view(job.host, &[]).map_err(socket("reading the host"))?;
                let ops = plan::retire(table_slot, &view, link.as_ref());
                DatapathError::collect(job.run(&ops, false))
            })
        })
        .await
    }

    /// The host's link with a MAC, if it is there.
    pub async fn link_of(&self, mac: Mac) -> Result<Option<HostLink>, DatapathError> {
        self.links_of(vec![mac]).await.map(|mut found| found.remove(&mac))
    }

    /// The host's links with these MACs, of those that are there. One look, however many they are.
    pub async fn links_of(&self, macs: Vec<Mac>) -> Result<BTreeMap<Mac, HostLink>, DatapathError> {
        let links = self
            .blocking(|inner| inner.with_socket(|s| observe::links(s).map_err(socket(LOOKING))))
            .await?;
        Ok(macs.into_iter().filter_map(|mac| Some((mac, HostLink::of(mac, &links)?))).collect())
    }

    /// Changes the maps. If the kernel refuses, they are read anew and the change is tried once more: somebody else may
    /// have changed or removed the table. Gives back the number of addresses that changed.
    pub(crate) async fn change_maps(
        &self,
        change: impl Fn(&mut BTreeMap<IpAddr, u16>) + Send,
    ) -> Result<usize, DatapathError> {
        let mut known = self.inner().maps.lock().await;
        let mut failed = None;
        for _attempt in 0..2 {
            let now = match known.take() {
                Some(now) => now,
                None => self.read_maps().await?,
            };
            let mut wanted = now.clone();
            change(&mut wanted);
            let text = script::map_change(&now, &wanted);
            let added = wanted.iter().filter(|(ip, slot)| now.get(ip) != Some(slot)).count();
            let changed = added + now.keys().filter(|ip| !wanted.contains_key(ip)).count();
            if text.is_empty() {
                *known = Some(wanted);
                return Ok(0);
            }
            match self.blocking(move |inner| in_host(&inner.ns, || nft::run(&text))?).await {
                Ok(()) => {
                    *known = Some(wanted);
                    return Ok(changed);
                }
                Err(error) => failed = Some(error),
            }
        }
        failed.map_or(Ok(0), Err)
    }

    /// Reads the maps; without our table, the base is laid first.
    async fn read_maps(&self) -> Result<BTreeMap<IpAddr, u16>, DatapathError> {
        self.blocking(|inner| {
            in_host(&inner.ns, || match nft::maps()? {
                Some(maps) => Ok(maps),
                None => nft::run(&script::base(&inner.facts())).map(|()| BTreeMap::new()),
            })?
        })
        .await
    }
}

fn check_slot(slot: u16) -> Result<(), DatapathError> {
    if (1..=MAX_TABLE_SLOT).contains(&slot) {
        return Ok(());
    }
    Err(DatapathError::Host(format!("table slot {slot} is not within 1..={MAX_TABLE_SLOT}")))
}
