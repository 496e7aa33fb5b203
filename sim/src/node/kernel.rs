//! The model kernel: namespaces, the links of pods in them, and conntrack.
//!
//! An address lives when a link of a pod has it, the link was not withdrawn, and its namespace exists. After a withdrawal
//! the link stays until its namespace goes or the worker deletes it.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::Duration,
};

use tideway_model::{Attachment, AttachmentKey, ContainerId, EniId, Mode};

/// The link of one attachment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// What was plumbed.
    pub attachment: Attachment,
    /// Withdrawn: deleted at the latest then.
    pub gone_by: Option<Duration>,
}

/// The kernel of the node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Kernel {
    /// Namespaces that exist.
    pub namespaces: BTreeSet<ContainerId>,
    /// Links of pods.
    pub links: BTreeMap<AttachmentKey, Link>,
    /// Addresses with conntrack entries.
    pub conntrack: BTreeSet<IpAddr>,
}

impl Kernel {
    /// The living owners of an address.
    pub fn owners(&self, ip: IpAddr) -> impl Iterator<Item = &AttachmentKey> {
        let lives = move |link: &Link| {
            link.gone_by.is_none() && link.attachment.addresses.iter().any(|own| own == ip)
        };
        self.links.iter().filter(move |(_, link)| lives(link)).map(|(key, _)| key)
    }

    /// Living links on an ENI.
    pub fn users(&self, eni: &EniId) -> impl Iterator<Item = &Link> {
        self.living().filter(move |link| link.attachment.eni == *eni)
    }

    /// All living links.
    pub fn living(&self) -> impl Iterator<Item = &Link> {
        self.links.values().filter(|link| link.gone_by.is_none())
    }

    /// Whether any link of a former or present owner has this address.
    pub fn is_linked(&self, ip: IpAddr) -> bool {
        self.links.values().any(|link| link.attachment.addresses.iter().any(|own| own == ip))
    }

    /// A pod's link with its addresses.
    pub fn plumb(&mut self, a: &Attachment) {
        self.conntrack.extend(a.addresses.iter());
        let link = Link { attachment: a.clone(), gone_by: None };
        self.links.insert(a.key.clone(), link);
    }

    /// Routes are withdrawn; the link goes later. Answers what lived until now.
    pub fn withdraw(&mut self, key: &AttachmentKey, gone_by: Duration) -> Option<Attachment> {
        let link = self.links.get_mut(key)?;
        let lived = link.gone_by.is_none();
        link.gone_by.get_or_insert(gone_by);
        lived.then(|| link.attachment.clone())
    }

    /// A namespace ends with what is in it. Answers what lived until now.
    pub fn end_namespace(&mut self, container: &ContainerId) -> Vec<Attachment> {
        self.namespaces.remove(container);
        let mut ended = Vec::new();
        self.links.retain(|key, link| {
            let goes = key.container == *container;
            if goes && link.gone_by.is_none() {
                ended.push(link.attachment.clone());
            }
            !goes
        });
        ended
    }

    /// The ENI left the instance: what was moved into a pod is gone with it.
    pub fn end_eni(&mut self, eni: &EniId) -> Vec<Attachment> {
        let mut ended = Vec::new();
        self.links.retain(|_key, link| {
            let a = &link.attachment;
            let goes = a.mode == Mode::Exclusive && a.eni == *eni;
            if goes && link.gone_by.is_none() {
                ended.push(a.clone());
            }
            !goes
        });
        ended
    }

    /// The worker deletes withdrawn links whose time has come.
    pub fn sweep(&mut self, now: Duration) {
        self.links.retain(|_key, link| link.gone_by.is_none_or(|by| by > now));
    }
}
