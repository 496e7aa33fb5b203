//! Where ENIs are attached: instance, network card, device index, and the attachment's id.
//!
//! EC2 wants a free device index to attach and the attachment's id to detach, and tells both in every describe. What was
//! shown is remembered, so that an attach or detach costs no describe of its own. The memory may be wrong (reads trail the
//! changes, people change things by hand); a call that fails forgets it, and the next one looks first.

use std::collections::{BTreeMap, BTreeSet};

use tideway_model::{EniId, InstanceId};

/// A place on an instance. Device indexes are counted on each network card.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Network card.
    pub card: i32,
    /// Device index; 0 on card 0 is the primary ENI.
    pub device: i32,
}

/// An attachment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attachment {
    /// Its id; none while the attach is on its way.
    pub id: Option<String>,
    /// Instance.
    pub instance: InstanceId,
    /// Where.
    pub place: Place,
}

/// Most ENIs of each network card, by the card's index.
pub type Cards = Vec<u16>;

/// What is known of the places of instances.
#[derive(Debug, Default)]
pub struct Places {
    attachments: BTreeMap<EniId, Attachment>,
    /// ENIs that we attached and no list has shown since: a list that lacks them is older.
    fresh: BTreeSet<EniId>,
    /// Instances of which every attachment is known.
    complete: BTreeSet<InstanceId>,
    types: BTreeMap<InstanceId, String>,
    cards: BTreeMap<String, Cards>,
}

impl Places {
    /// A describe showed an ENI, attached or not.
    pub fn shown(&mut self, eni: &EniId, attachment: Option<Attachment>) {
        match attachment {
            Some(attachment) => {
                self.fresh.remove(eni);
                self.attachments.insert(eni.clone(), attachment);
            }
            // Older than our attach, or the attach failed: then the place counts as taken until the next look.
            None if self.fresh.contains(eni) => {}
            None => {
                self.attachments.remove(eni);
            }
        }
    }

    /// A describe showed every ENI of an instance: these.
    pub fn shown_all(&mut self, instance: &InstanceId, enis: &BTreeSet<EniId>) {
        let fresh = &self.fresh;
        self.attachments.retain(|eni, attachment| {
            attachment.instance != *instance || enis.contains(eni) || fresh.contains(eni)
        });
        self.complete.insert(instance.clone());
    }

    /// The type of an instance.
    pub fn is_of_type(&mut self, instance: &InstanceId, instance_type: &str) {
        self.types.insert(instance.clone(), instance_type.to_owned());
    }

    /// The network cards of a type.
    pub fn type_has(&mut self, instance_type: &str, cards: Cards) {
        self.cards.insert(instance_type.to_owned(), cards);
    }

    /// Nobody tells the network cards of an instance: it counts as one with one card.
    pub fn assume_one_card(&mut self, instance: &InstanceId) {
        let name = self.types.entry(instance.clone()).or_default();
        self.cards.insert(name.clone(), vec![u16::MAX]);
    }

    /// The type of an instance, as far as known.
    pub fn type_of(&self, instance: &InstanceId) -> Option<&String> {
        self.types.get(instance)
    }

    /// Whether the network cards of an instance are known.
    pub fn knows_cards(&self, instance: &InstanceId) -> bool {
        self.types.get(instance).is_some_and(|t| self.cards.contains_key(t))
    }

    /// Takes a free place for an ENI: the lowest device index of the first card with room. None when the attachments of the
    /// instance are not all known, or every place seems taken.
    pub fn take(&mut self, instance: &InstanceId, eni: &EniId) -> Option<Place> {
        if !self.complete.contains(instance) {
            return None;
        }
        let taken: BTreeSet<Place> = self
            .attachments
            .values()
            .filter(|a| a.instance == *instance)
            .map(|a| a.place)
            .collect();
        let one: &[u16] = &[u16::MAX];
        let cards = self.types.get(instance).and_then(|t| self.cards.get(t));
        let on_card = |(card, room): (i32, &u16)| {
            let used = taken.iter().filter(|p| p.card == card).count();
            if used >= usize::from(*room) {
                return None;
            }
            // Index 0 is the primary ENI's on the first card; on the others it stays free, as the documentation has it.
            let last = if card == 0 { room.saturating_sub(1) } else { *room };
            (1..=i32::from(last)).map(|device| Place { card, device }).find(|p| !taken.contains(p))
        };
        let place = (0..).zip(cards.map_or(one, Vec::as_slice)).find_map(on_card)?;
        self.reserve(instance, eni, place);
        Some(place)
    }

    fn reserve(&mut self, instance: &InstanceId, eni: &EniId, place: Place) {
        let attachment = Attachment { id: None, instance: instance.clone(), place };
        self.attachments.insert(eni.clone(), attachment);
        self.fresh.insert(eni.clone());
    }

    /// An attach succeeded.
    pub fn attached(&mut self, eni: &EniId, id: &str) {
        if let Some(attachment) = self.attachments.get_mut(eni) {
            attachment.id = Some(id.to_owned());
        }
    }

    /// The attachment of an ENI, as far as known.
    pub fn attachment(&self, eni: &EniId) -> Option<&Attachment> {
        self.attachments.get(eni)
    }

    /// A call about this ENI and instance did not go as the memory had it.
    pub fn forget(&mut self, eni: &EniId, instance: &InstanceId) {
        self.attachments.remove(eni);
        self.fresh.remove(eni);
        self.complete.remove(instance);
    }

    /// Every place seems taken: what no list has confirmed is dropped.
    pub fn forget_fresh(&mut self, instance: &InstanceId) {
        let fresh = std::mem::take(&mut self.fresh);
        self.attachments.retain(|eni, a| a.instance != *instance || !fresh.contains(eni));
        self.complete.remove(instance);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn eni(n: u16) -> EniId {
        EniId::try_from(format!("eni-{n}")).unwrap()
    }

    fn i() -> InstanceId {
        InstanceId::try_from("i-1").unwrap()
    }

    fn at(card: i32, device: i32) -> Attachment {
        Attachment {
            id: Some(format!("eni-attach-{card}{device}")),
            instance: i(),
            place: Place { card, device },
        }
    }

    fn with_primary() -> Places {
        let mut places = Places::default();
        places.shown(&eni(0), Some(at(0, 0)));
        places.shown_all(&i(), &[eni(0)].into());
        places
    }

    #[test]
    fn a_place_is_free_only_when_every_attachment_is_known() {
        let mut places = Places::default();
        places.shown(&eni(0), Some(at(0, 0)));
        assert_eq!(places.take(&i(), &eni(1)), None);
        let mut places = with_primary();
        places.shown(&eni(7), Some(at(0, 1)));
        assert_eq!(places.take(&i(), &eni(1)), Some(Place { card: 0, device: 2 }));
        assert_eq!(places.take(&i(), &eni(2)), Some(Place { card: 0, device: 3 }));
    }

    #[test]
    fn an_old_list_does_not_free_the_place_of_an_eni_that_was_just_attached() {
        let mut places = with_primary();
        places.take(&i(), &eni(1)).unwrap();
        places.attached(&eni(1), "eni-attach-1");
        // Neither the list of the instance nor the ENI itself shows it yet.
        places.shown_all(&i(), &[eni(0)].into());
        places.shown(&eni(1), None);
        assert_eq!(places.attachment(&eni(1)).unwrap().id.as_deref(), Some("eni-attach-1"));
        assert_eq!(places.take(&i(), &eni(2)), Some(Place { card: 0, device: 2 }));
        // Once shown, a list without it means that it has gone.
        places.shown(&eni(1), Some(at(0, 1)));
        places.shown_all(&i(), &[eni(0), eni(2)].into());
        assert_eq!(places.take(&i(), &eni(3)), Some(Place { card: 0, device: 1 }));
    }

    #[test]
    fn a_failed_attach_leaves_no_place_taken_and_makes_the_next_one_look() {
        let mut places = with_primary();
        places.take(&i(), &eni(1)).unwrap();
        places.forget(&eni(1), &i());
        assert_eq!(places.take(&i(), &eni(1)), None);
        places.shown_all(&i(), &[eni(0)].into());
        assert_eq!(places.take(&i(), &eni(1)), Some(Place { card: 0, device: 1 }));
    }

    #[test]
    fn a_full_card_sends_the_next_eni_to_the_next_card() {
        let mut places = with_primary();
        places.is_of_type(&i(), "p4d.24xlarge");
        places.type_has("p4d.24xlarge", vec![2, 2]);
        let all: Vec<_> = (1..5).map(|n| places.take(&i(), &eni(n))).collect();
        let place = |card, device| Some(Place { card, device });
        assert_eq!(all, [place(0, 1), place(1, 1), place(1, 2), None]);
        places.forget_fresh(&i());
        places.shown_all(&i(), &[eni(0)].into());
        assert_eq!(places.take(&i(), &eni(5)), place(0, 1));
    }
}
