//! What a journal's entries say of themselves and of each other, beyond the books' invariants (see `check`).
//!
//! The invariants speak of one moment. Entries that were damaged or changed by hand can keep them and break them later: an
//! ENI that is being deleted although a pod has its address is fine until it is gone. What no step of the allocator leaves
//! behind is therefore refused at once, before anything acts on it.

use ipnet::IpNet;
use tideway_cloud::CloudOp;
use tideway_model::{Attachment, EniId, EniState};

use crate::{
    eni::{Eni, Held},
    progress::TABLE_SLOTS,
    record::{Counters, EniRecord},
    view::Use,
};

/// The half of the numbers: no node counts so far, and from there on none is given twice.
pub(crate) const LAST: Counters = Counters { intent: u64::MAX / 2, eni: u32::MAX / 2 };

fn require(is_so: bool, otherwise: &str) -> Result<(), String> {
    if is_so { Ok(()) } else { Err(otherwise.to_owned()) }
}

impl EniRecord {
    pub(crate) fn is_sound(&self, primary: &EniId) -> Result<(), String> {
        let going = match self.state {
            EniState::Creating | EniState::Attaching | EniState::Ready => false,
            EniState::Draining | EniState::Detaching | EniState::Deleting | EniState::Failed(_) => {
                true
            }
        };
        let unborn = self.state == EniState::Creating;
        require(self.id.as_ref() != Some(primary), "it is the primary ENI, which is never ours")?;
        require(self.id.is_none() == unborn, "its state and its identity disagree")?;
        require(self.id.is_some() == self.mac.is_some(), "its identity and its MAC disagree")?;
        require(self.leaving || !going, "it is being given back and is not leaving")?;
        match self.usage {
            Use::Shared => {
                let has_table = (1..=TABLE_SLOTS).contains(&self.table_slot);
                require(going || has_table, "it is shared and has no valid table slot")
            }
            Use::Exclusive(_) => Ok(()),
        }
    }
}

impl Eni {
    /// Whether a pod can have this.
    pub(crate) fn can_carry(&self, a: &Attachment) -> Result<(), String> {
        let usage = a.exclusive.as_ref().map_or(Use::Shared, |x| Use::Exclusive(x.slot));
        let stays = match self.state {
            EniState::Attaching | EniState::Ready => self.attached,
            EniState::Failed(_) => true,
            EniState::Creating | EniState::Draining | EniState::Detaching | EniState::Deleting => {
                false
            }
        };
        require(usage == self.usage, "the pod and its ENI disagree on the device")?;
        require(stays, "its ENI is not attached, or being given back")
    }

    /// Whether nothing stays of what the books have in this block. A single address there would become a part of the prefix
    /// with the next look that shows it.
    fn leaves_whole(&self, prefix: &IpNet) -> bool {
        let mut own = self.addresses.range(prefix.network()..=prefix.broadcast());
        own.all(|(_ip, a)| a.within && a.held == Held::Releasing)
    }

    /// Whether this is the change that is in work on it.
    pub(crate) fn can_be_in(&self, op: &CloudOp) -> Result<(), String> {
        let on = matches!(self.state, EniState::Attaching | EniState::Ready);
        let fits = match op {
            CloudOp::Create(_) => self.state == EniState::Creating,
            CloudOp::Attach { .. } => self.state == EniState::Attaching,
            CloudOp::Assign { .. } | CloudOp::Unassign { .. } | CloudOp::AssignPrefixes { .. } => {
                on
            }
            CloudOp::UnassignPrefixes { prefixes, .. } => {
                let leave = prefixes.iter().all(|p| self.leaves_whole(p));
                require(leave, "something stays of a prefix that it gives back")?;
                on
            }
            CloudOp::Detach { .. } => self.state == EniState::Detaching,
            CloudOp::Delete { .. } => self.state == EniState::Deleting,
            CloudOp::Describe { .. } => false,
        };
        require(self.busy.is_none(), "its ENI has another call in work")?;
        require(fits && op.eni() == self.id.as_ref(), "the call does not fit its ENI's state")
    }
}
