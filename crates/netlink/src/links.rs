//! Links that appear in a pod and leave it: veth pairs, and whole ENIs that move between the namespaces.

use std::time::Duration;

use nix::errno::Errno;
use tideway_datapath::{NetOp, Place, VethPair};
use tideway_model::{IfName, Mac};

use crate::{
    DatapathError,
    apply::{Job, gone, index_in, refused_error, socket},
    message, observe,
};

impl Job<'_> {
    pub(crate) fn veth(&mut self, op: &NetOp, pair: &VethPair) -> Result<(), DatapathError> {
        let Some((pod, _)) = &self.pod else { return Err(gone(op)) };
        let requests = [message::veth(pair, pod), message::get_link(&pair.host)];
        let mut answers = self.host.batch(&requests).map_err(socket("creating a veth pair"))?;
        let host = answers.pop().as_ref().and_then(index_in);
        match answers.pop() {
            Some(Err(refused)) if refused.errno == Errno::EEXIST => {
                if self.adopt(pair)? {
                    return Ok(());
                }
                let again = self.host.batch(&requests).map_err(socket("creating a veth pair"))?;
                if let Some(Err(refused)) = again.into_iter().next() {
                    return Err(refused_error(op, refused));
                }
            }
            Some(Err(refused)) => return Err(refused_error(op, refused)),
            _ => {
                if let Some(index) = host {
                    self.index.insert((Place::Host, pair.host.clone()), index);
                }
            }
        }
        self.made = true;
        Ok(())
    }

    /// Decides what an existing link means: our pair from an earlier ADD is kept, half a pair of ours is deleted, an
    /// interface of somebody else in the pod is an error.
    fn adopt(&mut self, pair: &VethPair) -> Result<bool, DatapathError> {
        let host = observe::links(self.host).map_err(socket("reading links"))?;
        let host = host.into_iter().find(|l| l.name == pair.host);
        let inside = self.pod_links()?.into_iter().find(|l| l.name == pair.pod);
        let ours = inside.as_ref().is_some_and(|l| l.state.mac == Some(pair.pod_mac));
        if let (true, Some(kept)) = (ours, &host) {
            self.keep(kept)?;
            return Ok(true);
        }
        if inside.is_some() && !ours {
            return Err(DatapathError::NameTaken {
                ifname: pair.pod.clone(),
                path: "the pod's namespace".to_owned(),
            });
        }
        if let Some(half) = host {
            self.host
                .one(message::del_link(half.index))
                .map_err(socket("deleting half a pair"))?
                .unwrap_or_default();
        }
        Ok(false)
    }

    /// Takes a link that is wanted out of the group of those that wait for deletion, where a DEL before a crash may have
    /// left it.
    pub(crate) fn keep(&mut self, link: &observe::FoundLink) -> Result<(), DatapathError> {
        if link.group != 0 {
            let answer = self.host.one(message::set_group(link.index, 0));
            answer.map_err(socket("keeping a link"))?.map_err(|refused| {
                refused_error(&NetOp::RetireLinks(vec![link.name.clone()]), refused)
            })?;
        }
        Ok(())
    }

    pub(crate) fn pod_links(&mut self) -> Result<Vec<observe::FoundLink>, DatapathError> {
        match self.socket(Place::Pod) {
            Some(pod) => observe::links(pod).map_err(socket("reading the pod's links")),
            None => Ok(Vec::new()),
        }
    }

    pub(crate) fn take_eni(
        &mut self,
        op: &NetOp,
        mac: Mac,
        ifname: &IfName,
        mtu: u32,
    ) -> Result<(), DatapathError> {
        let Some((pod, _)) = &self.pod else { return Err(gone(op)) };
        let found = observe::links(self.host).map_err(socket("looking for the ENI"))?;
        if let Some(eni) = found.into_iter().find(|l| l.is_eni(mac)) {
            let moved = self.host.one(message::move_link(eni.index, pod, ifname));
            moved.map_err(socket("moving the ENI"))?.map_err(|refused| {
                if refused.errno == Errno::EEXIST {
                    DatapathError::NameTaken {
                        ifname: ifname.clone(),
                        path: "the pod's namespace".to_owned(),
                    }
                } else {
                    refused_error(op, refused)
                }
            })?;
            self.made = true;
        }
        let missing = DatapathError::EniMissing { mac, waited: Duration::ZERO };
        let inside = self.pod_links()?.into_iter().find(|l| l.is_eni(mac) && l.name == *ifname);
        let inside = inside.ok_or(missing)?;
        self.index.insert((Place::Pod, ifname.clone()), inside.index);
        if inside.state.mtu != mtu
            && let Some(pod) = self.socket(Place::Pod)
        {
            let answer =
                pod.one(message::set_mtu(inside.index, mtu)).map_err(socket("setting the MTU"))?;
            answer.map_err(|refused| refused_error(op, refused))?;
        }
        Ok(())
    }

    pub(crate) fn return_eni(
        &mut self,
        op: &NetOp,
        mac: Mac,
        ifname: &IfName,
        parked: &IfName,
    ) -> Result<(), DatapathError> {
        if self.pod.is_none() {
            return Ok(());
        }
        let on_host = observe::links(self.host).map_err(socket("looking for the ENI"))?;
        if on_host.iter().any(|l| l.is_eni(mac)) {
            return Ok(());
        }
        let inside = self.pod_links()?;
        // A pod may have changed the MAC; then the name tells, since the host does not have the ENI.
        let eni = inside.iter().find(|l| l.is_eni(mac));
        let Some(eni) = eni.or_else(|| inside.iter().find(|l| l.name == *ifname && !l.stacked))
        else {
            return Ok(());
        };
        let mut requests = vec![message::set_up(eni.index, false)];
        if eni.state.mac != Some(mac) {
            requests.push(message::set_mac(eni.index, mac));
        }
        requests.push(message::move_link(eni.index, self.host_ns, parked));
        let Some(pod) = self.socket(Place::Pod) else { return Ok(()) };
        let answers = pod.batch(&requests).map_err(socket("returning the ENI"))?;
        match answers.into_iter().last() {
            Some(Err(refused)) => Err(refused_error(op, refused)),
            _ => Ok(()),
        }
    }
}
