//! The judge of all other tests: books in which one thing is wrong do not pass for whole ones.

use tideway_cloud::CloudOp;
use tideway_model::{
    Attachment, EniState, Families, LeaseTerms, Mode, PodAddresses, SlotId, UnixMillis,
};

use super::{
    damaged::{attachment, eni, intent, keyed, own_eni, own_eni_pod, restored, shared_pod},
    simulated::{assign, ip, record},
    world::{World, facts, key, pod},
};
use crate::{
    CoolingRecord, DeviceState, Entry, IntentId, Ipam, LeaseRecord,
    eni::{Address, Held},
    requests::Granted,
};

/// A shared ENI with a pod, a rest and a call in work, and a pod's own ENI.
fn whole() -> Ipam {
    let entries = keyed([
        eni(record(1, &[1, 2, 3])),
        eni(own_eni(2, 4, 0)),
        attachment(shared_pod(1, 1)),
        attachment(Attachment { key: key("c2"), ..own_eni_pod(2, 4, 0) }),
        Entry::Cooling(CoolingRecord { ip: ip(2), eni: 1 }),
        intent(assign(1)),
    ]);
    let ipam = restored(facts(4, 5, Families::V4), entries).expect("whole books");
    assert_eq!(ipam.check(), Ok(()));
    ipam
}

fn noticed(words: &str, damage: impl FnOnce(&mut Ipam)) {
    let mut ipam = whole();
    damage(&mut ipam);
    let text = ipam.check().expect_err(words).to_string();
    assert!(text.contains(words), "{text}");
}

impl Ipam {
    fn address(&mut self, eni: u32, n: u8) -> &mut Address {
        self.enis.get_mut(&eni).and_then(|e| e.addresses.get_mut(&ip(n))).expect("it is there")
    }

    fn eni(&mut self, number: u32) -> &mut crate::eni::Eni {
        self.enis.get_mut(&number).expect("it is there")
    }

    fn lease(&mut self, name: &str, n: u8, until: Option<UnixMillis>) {
        let pod = pod(name, "u").key;
        let addresses = PodAddresses::from_ips([ip(n)]);
        let lease = LeaseRecord {
            pod: pod.clone(),
            eni: 1,
            addresses,
            terms: LeaseTerms::default(),
            until,
        };
        self.leases.map.insert(pod, lease);
    }
}

#[test]
fn an_address_with_two_enis_or_the_wrong_owner_is_noticed() {
    let new = || Address::new(Held::Reserved, true, std::time::Duration::ZERO);
    noticed("is on ENIs 1 and 2", |books| {
        books.eni(2).addresses.insert(ip(1), new());
    });
    for owner in ["nobody", "c1", "c2"] {
        noticed("which does not have it", |books| {
            books.address(1, 3).held = Held::Assigned(key(owner));
        });
    }
}

#[test]
fn a_promise_without_its_address_its_eni_or_its_mode_is_noticed() {
    noticed("is Some(Free", |books| {
        books.address(1, 1).held = Held::Free { since: std::time::Duration::ZERO };
    });
    noticed("has no ENI", |books| {
        books.address(1, 1).held = Held::Reserved;
        books.attachments.get_mut(&key("c1")).expect("c1").eni = 9;
    });
    noticed("disagree on the mode", |books| {
        books.attachments.get_mut(&key("c1")).expect("c1").attachment.mode = Mode::Exclusive;
    });
    noticed("waits and is granted", |books| wait(books, "c1", true));
    noticed("waits for nobody", |books| wait(books, "c3", false));
}

/// A request of this container waits, for somebody or nobody.
fn wait(books: &mut Ipam, container: &str, asks: bool) {
    let mut w = World::small();
    w.add(container, &pod("a", "u1"));
    let mut waiting = w.ipam.waiting.pop_front().expect("a cold node");
    if !asks {
        waiting.ids.clear();
    }
    books.waiting.push_back(waiting);
}

#[test]
fn an_eni_that_contradicts_itself_or_another_one_is_noticed() {
    noticed("is given back in part", |books| {
        books.eni(1).addresses.values_mut().for_each(|a| a.within = true);
        books.address(1, 3).held = Held::Releasing;
    });
    noticed("is in the books twice", |books| books.eni(2).id = books.eni(1).id.clone());
    noticed("ENI 2 has no identity", |books| books.eni(2).id = None);
    noticed("table slot 1 twice", |books| books.eni(2).table_slot = 1);
    noticed("is ready but not attached", |books| {
        books.eni(1).state = EniState::Ready;
        books.eni(1).attached = false;
    });
    noticed("ENI 1 has no table slot", |books| {
        books.eni(1).state = EniState::Ready;
        books.eni(1).table_slot = 0;
    });
    noticed("exclusive ENI 2 has 2 users", |books| {
        let third = Attachment { key: key("c3"), ..own_eni_pod(2, 5, 0) };
        let held = Held::Assigned(third.key.clone());
        let second = Address { held, ..books.address(2, 4).clone() };
        books.eni(2).addresses.insert(ip(5), second);
        books.attachments.insert(third.key.clone(), Granted::restored(third, 2));
    });
}

#[test]
fn a_call_that_its_eni_does_not_know_or_that_takes_what_is_used_is_noticed() {
    noticed("is not the one in work on its ENI", |books| books.eni(1).busy = None);
    noticed("is beyond the counter", |books| books.counters.intent = 9);
    noticed("waits for an intent that is not known", |books| {
        books.eni(2).busy = Some(IntentId(7));
    });
    noticed("is being unassigned and is Some(Assigned", |books| {
        let call = books.intents.get_mut(&IntentId(9)).expect("the call in work");
        let eni = call.record.op.eni().expect("it names its ENI").clone();
        call.record.op = CloudOp::Unassign { eni, addresses: vec![ip(1)] };
    });
}

#[test]
fn a_lease_whose_address_is_not_kept_for_it_is_noticed() {
    let end = Some(UnixMillis(1));
    noticed("is claimed by ns/db", |books| books.lease("db", 3, None));
    noticed("is claimed by ns/db", |books| books.lease("db", 1, None));
    noticed("waits for ns/db and is Some(Free", |books| books.lease("db", 3, end));
    noticed("and for another pod", |books| {
        books.address(1, 3).held = Held::Leased;
        books.lease("db", 3, end);
        books.lease("other", 3, end);
    });
    noticed("waits for nobody", |books| books.address(1, 3).held = Held::Leased);
}

#[test]
fn a_device_without_its_eni_or_its_health_is_noticed() {
    noticed("slot-1 and ENI 1 disagree", |books| {
        books.devices.map.get_mut(&SlotId(1)).expect("a device").eni = Some(1);
    });
    noticed("is held and listed unhealthy", |books| {
        books.devices.published = Some(vec![DeviceState { slot: SlotId(0), healthy: false }]);
    });
}
