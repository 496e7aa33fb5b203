//! Objects of ours on the host that belong to nothing, found while pods come and go.
//!
//! The repair at the start removes them at one look, since nothing else is at work then. Later a look is old when it is taken:
//! an object goes only after two looks, with time between them, that nobody wants. What others made is never touched.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tideway_datapath::{NetOp, SharedEniNet, repair};
use tideway_model::{Attachment, IfName};

use crate::{Datapath, DatapathError, apply::socket, datapath::Inner, observe};

/// What the last look found.
#[derive(Debug, Default)]
pub(crate) struct Suspects(Mutex<Vec<NetOp>>);

impl Suspects {
    fn list(&self) -> MutexGuard<'_, Vec<NetOp>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes what a look has found; gives back what the one before had found too.
    fn confirm(&self, found: Vec<NetOp>) -> Vec<NetOp> {
        let mut list = self.list();
        let (again, new) = found.into_iter().partition(|op| list.contains(op));
        *list = new;
        again
    }
}

impl Datapath {
    /// One look, to be repeated after a while; gives back what was removed. `wanted` tells the attachments that are promised:
    /// it is asked before the look and after it, so that neither a pod that ends meanwhile nor one that comes is a stray.
    pub async fn remove_strays(
        &self,
        wanted: impl Fn() -> Vec<Attachment> + Send + 'static,
    ) -> Result<Vec<String>, DatapathError> {
        self.blocking(move |inner| inner.remove_strays(wanted)).await
    }
}

impl Inner {
    fn remove_strays(
        &self,
        wanted: impl Fn() -> Vec<Attachment>,
    ) -> Result<Vec<String>, DatapathError> {
        let _turn = self.eni_turn();
        let shared = self.guarded().shared();
        let mut attachments = wanted();
        let (links, view) = self.with_socket(|s| {
            let links = observe::links(s).map_err(socket("reading links"))?;
            Ok((links, observe::view(s, &[]).map_err(socket("reading the host"))?))
        })?;
        attachments.extend(wanted());
        let link_of = |eni: SharedEniNet| {
            let link = links.iter().find(|l| l.is_eni(eni.mac)).map(|l| l.name.clone());
            link.map(|link| (eni, link))
        };
        let enis: Vec<(SharedEniNet, IfName)> = shared.into_iter().filter_map(link_of).collect();
        let mut found = repair::strays(&attachments, &enis, &self.facts(), &view);
        // These have ended, and their worker is at them.
        found.retain(|op| !matches!(op, NetOp::RetireLinks(l) if self.pending.has_any(l)));
        let strays = self.suspects.confirm(found);
        if strays.is_empty() {
            return Ok(Vec::new());
        }
        let reports = strays.iter().map(ToString::to_string).collect();
        let failed = self.job(|job| {
            let failed = job.run(&strays, false);
            self.retire_now(&mut job.retired, job.group);
            Ok(failed)
        })?;
        DatapathError::collect(failed)?;
        Ok(reports)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_look_finds_stays_and_a_look_between_begins_anew() {
        let suspects = Suspects::default();
        let link = |name: &str| NetOp::RetireLinks(vec![IfName::try_from(name).unwrap()]);
        assert!(suspects.confirm(vec![link("a"), link("b")]).is_empty());
        assert_eq!(suspects.confirm(vec![link("b")]), [link("b")]);
        assert!(suspects.confirm(vec![link("a")]).is_empty(), "it was wanted in between");
        assert_eq!(suspects.confirm(vec![link("a")]), [link("a")]);
    }
}
