//! The base of the host, repair at start, and leaving without a trace.

use std::collections::BTreeMap;

use tideway_datapath::{
    NetOp, Place, SharedEniNet, check,
    naming::{host_link_name, is_pod_link},
    nft as script, plan, repair, wanted,
};
use tideway_model::{Attachment, IfName};

use crate::{
    Datapath, DatapathError,
    apply::{in_host, socket},
    datapath::Inner,
    netns::Namespace,
    nft, observe,
    pending::PendingLinks,
    pods::{delete_group, pod_view},
};

impl Datapath {
    /// Lays the base: kernel settings, the rule to local pods, nftables. Idempotent; gives back what had drifted.
    pub async fn base(&self) -> Result<Vec<String>, DatapathError> {
        // Held so that no map change runs between a lost table and its repair.
        let mut maps = self.inner().maps.lock().await;
        let known = maps.clone().unwrap_or_default();
        let (reports, relaid) = self.blocking(move |inner| inner.base(&known)).await?;
        if relaid {
            *maps = None;
        }
        Ok(reports)
    }

    /// Brings the host to the wanted state: what is missing is put back, what is ours and unwanted goes, pods whose links
    /// are gone but whose namespace lives are plumbed anew. Gives back what was found. Foreign objects stay, except on the
    /// links of shared ENIs.
    pub async fn repair(
        &self,
        wanted: &[Attachment],
        enis: &[SharedEniNet],
    ) -> Result<Vec<String>, DatapathError> {
        let mut reports = self.base().await?;
        let addresses: BTreeMap<_, _> = enis
            .iter()
            .flat_map(|eni| eni.addresses.iter().map(|ip| (*ip, eni.table_slot)))
            .collect();
        *self.inner().maps.lock().await = None;
        let changed = self.change_maps(|maps| maps.clone_from(&addresses)).await?;
        if changed > 0 {
            reports.push(format!("{changed} addresses of the nftables maps were wrong"));
        }
        self.inner().guarded().replace(enis);
        let (wanted, enis) = (wanted.to_vec(), enis.to_vec());
        let found = self.blocking(move |inner| inner.repair(&wanted, &enis)).await?;
        reports.extend(found);
        Ok(reports)
    }

    /// Removes everything of ours from the host: pod links, routes, rules, the nftables table. ENIs stay where they are;
    /// those in pods must be taken out by DEL first.
    pub async fn uninstall(&self) -> Result<(), DatapathError> {
        self.inner().guarded().replace(&[]);
        let mut maps = self.inner().maps.lock().await;
        *maps = None;
        self.blocking(Inner::uninstall).await
    }
}

impl Inner {
    fn base(
        &self,
        known: &BTreeMap<std::net::IpAddr, u16>,
    ) -> Result<(Vec<String>, bool), DatapathError> {
        let facts = self.refresh_facts()?;
        let (nft_ops, ops): (Vec<NetOp>, Vec<NetOp>) =
            plan::base(&facts).into_iter().partition(|op| matches!(op, NetOp::Nft(_)));
        let mut reports = self.job(|job| {
            let view = observe::view(job.host, &[]).map_err(socket("reading the host"))?;
            let missing = check::missing(Place::Host, &wanted::base(&facts), &view);
            DatapathError::collect(job.run(&ops, false))?;
            let mut reports = std::mem::take(&mut job.reports);
            reports.extend(missing.iter().map(ToString::to_string));
            Ok(reports)
        })?;
        let mut relaid = false;
        for op in nft_ops {
            let NetOp::Nft(text) = op else { continue };
            if in_host(&self.ns, || nft::run(&text))?.is_err() {
                // A table of another shape, from an older release or another hand: laid anew, in one transaction.
                let anew = format!(
                    "add table inet {}\n{}{text}{}",
                    tideway_model::names::NFT_TABLE,
                    script::delete_table(),
                    script::map_change(&BTreeMap::new(), known)
                );
                in_host(&self.ns, || nft::run(&anew))??;
                relaid = true;
                reports.push("the nftables table had another shape and was laid anew".to_owned());
            }
        }
        Ok((reports, relaid))
    }

    fn repair(
        &self,
        wanted: &[Attachment],
        enis: &[SharedEniNet],
    ) -> Result<Vec<String>, DatapathError> {
        let facts = self.facts();
        // A look of the watch that began with the former list must not put back what is removed here.
        let turn = self.eni_turn();
        let links = self.with_socket(|s| observe::links(s).map_err(socket("reading links")))?;
        let mut reports = Vec::new();
        let mut present: Vec<(SharedEniNet, IfName)> = Vec::new();
        for eni in enis {
            match links.iter().find(|l| l.is_eni(eni.mac)) {
                Some(link) => present.push((eni.clone(), link.name.clone())),
                None => {
                    reports.push(format!("ENI {} ({}) has no link on the host", eni.id, eni.mac));
                }
            }
        }
        let names: Vec<IfName> = present.iter().map(|(_, name)| name.clone()).collect();
        let view =
            self.with_socket(|s| observe::view(s, &names).map_err(socket("reading the host")))?;
        let host = repair::host(wanted, &present, &facts, &view);
        reports.extend(host.reports);
        let failed = self.job(|job| {
            let mut ops: Vec<NetOp> = Vec::new();
            for (eni, link) in &present {
                let settings = plan::prepare(eni, link, &facts).into_iter();
                ops.extend(
                    settings.filter(|op| matches!(op, NetOp::Sysctl { .. } | NetOp::LinkUp(..))),
                );
            }
            ops.extend(host.ops);
            for a in wanted {
                let name = host_link_name(&a.key, a.mode);
                if let Some(link) = links.iter().find(|l| l.name == name) {
                    job.keep(link)?;
                }
            }
            let failed = job.run(&ops, false);
            reports.append(&mut job.reports);
            self.retire_now(&mut job.retired, job.group);
            Ok(failed)
        })?;
        drop(turn);
        for a in wanted {
            match self.repair_pod(a, host.remake.contains(&a.key)) {
                Ok(found) => reports.extend(found),
                Err(error) if error.is_namespace_gone() => {
                    reports.push(format!("the namespace of {} is gone", a.pod.key));
                }
                // One pod's trouble, such as an ENI that others took away, keeps no other pod from being served.
                Err(error) => reports.push(format!("{} is not repaired: {error}", a.pod.key)),
            }
        }
        DatapathError::collect(failed)?;
        Ok(reports)
    }

    /// Unwanted links without a known owner are deleted by the worker like those of a DEL.
    pub(crate) fn retire_now(&self, links: &mut Vec<IfName>, group: u32) {
        if !links.is_empty() {
            let links = std::mem::take(links);
            self.pending.push(PendingLinks { links, netns: None, addresses: Vec::new(), group });
        }
    }

    fn repair_pod(&self, a: &Attachment, remake: bool) -> Result<Vec<String>, DatapathError> {
        let ns = Namespace::open_pod(&a.netns, &self.ns)?;
        if !remake {
            let pod = pod_view(&ns, a)?;
            let found = repair::pod(a, &self.facts(), &pod);
            if found.remake.is_empty() {
                if !found.ops.is_empty() {
                    self.job_with(Some((&ns, &a.netns)), |job| {
                        DatapathError::collect(job.run(&found.ops, false))
                    })?;
                }
                return Ok(found.reports);
            }
        }
        self.add(a)?;
        Ok(vec![format!("{} was plumbed anew", a.pod.key)])
    }

    fn uninstall(&self) -> Result<(), DatapathError> {
        let _turn = self.eni_turn();
        let view =
            self.with_socket(|s| observe::view(s, &[]).map_err(socket("reading the host")))?;
        let mut ops: Vec<NetOp> = view.rules.iter().map(|r| NetOp::DropRule(*r)).collect();
        ops.extend(view.routes.iter().map(|r| NetOp::DropRoute(Place::Host, r.clone())));
        let links: Vec<IfName> = view.links.into_keys().filter(is_pod_link).collect();
        ops.push(NetOp::RetireLinks(links));
        let mut failed = self.job(|job| {
            let mut failed = job.run(&ops, false);
            failed.extend(delete_group(job, job.group).err());
            failed.extend(delete_group(job, self.pending.resting()).err());
            Ok(failed)
        })?;
        failed.extend(self.forget_gone().err());
        let gone = in_host(&self.ns, || match nft::maps()? {
            Some(_) => nft::run(&script::delete_table()),
            None => Ok(()),
        })?;
        failed.extend(gone.err());
        DatapathError::collect(failed)
    }
}
