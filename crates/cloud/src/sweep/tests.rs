use proptest::prelude::*;
use tideway_model::{Mac, UnixMillis};

use super::*;

const SETTLE: Duration = Duration::from_secs(30);
const AGE: Duration = Duration::from_mins(30);

fn rules() -> Rules {
    Rules { cluster: "c1".into(), settle: SETTLE, age_limit: AGE }
}

fn instance(id: &str) -> InstanceId {
    id.try_into().unwrap()
}

fn at(seconds: u64) -> Now {
    Now { boot: Duration::from_secs(seconds), wall: UnixMillis(1_800_000_000_000 + seconds * 1000) }
}

/// Left behind long ago by an instance that is gone.
fn leaked() -> EniView {
    let tags = [(TAG_CLUSTER, "c1"), (TAG_NODE, "i-gone"), (TAG_INTENT, "t1")];
    EniView {
        id: "eni-1".try_into().unwrap(),
        mac: Mac([2, 0, 0, 0, 0, 1]),
        status: EniStatus::Available,
        primary: false,
        instance: None,
        subnet: "vsw-1".try_into().unwrap(),
        security_groups: Vec::new(),
        primary_ip: None,
        addresses: Vec::new(),
        prefixes: Vec::new(),
        tags: tags.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
        created: Some(UnixMillis(1_700_000_000_000)),
    }
}

fn changed(change: impl FnOnce(&mut EniView)) -> EniView {
    let mut eni = leaked();
    change(&mut eni);
    eni
}

/// A look in which only the asker and these live.
fn look(seconds: u64, eni: EniView, living: &[&str]) -> Look {
    let living = living.iter().copied().chain(["i-me"]).map(instance).collect();
    Look::new(at(seconds), &instance("i-me"), vec![eni], living).unwrap()
}

fn stays(before: Option<&Look>, last: &Look) -> Option<Stay> {
    let verdict = judge(before, last, &rules());
    assert_eq!(verdict.delete.len() + verdict.stay.len(), 1, "every ENI has one verdict");
    verdict.stay.into_values().next()
}

#[test]
fn what_two_looks_show_as_left_behind_goes() {
    let (first, second) = (look(0, leaked(), &[]), look(30, leaked(), &[]));
    assert_eq!(stays(None, &first), Some(Stay::SeenOnce));
    assert_eq!(stays(Some(&first), &second), None);
}

#[test]
fn two_looks_that_are_too_close_are_one() {
    let (first, second) = (look(0, leaked(), &[]), look(29, leaked(), &[]));
    assert_eq!(stays(Some(&first), &second), Some(Stay::SeenOnce));
    assert_eq!(stays(Some(&second), &first), Some(Stay::SeenOnce), "in the wrong order");
}

#[test]
fn an_eni_stays_when_either_look_shows_a_reason() {
    let cases: Vec<(EniView, &[&str], Stay)> = vec![
        (changed(|e| drop(e.tags.insert(TAG_CLUSTER.into(), "c2".into()))), &[], Stay::Foreign),
        (changed(|e| drop(e.tags.remove(TAG_CLUSTER))), &[], Stay::Foreign),
        (changed(|e| e.status = EniStatus::Attaching), &[], Stay::Attached),
        (changed(|e| e.status = EniStatus::InUse), &[], Stay::Attached),
        (changed(|e| e.status = EniStatus::Detaching), &[], Stay::Attached),
        (changed(|e| e.status = EniStatus::Deleting), &[], Stay::Attached),
        (changed(|e| e.instance = Some(instance("i-other"))), &[], Stay::Attached),
        (changed(|e| e.primary = true), &[], Stay::Attached),
        (changed(|e| drop(e.tags.remove(TAG_NODE))), &[], Stay::TagsMissing),
        (changed(|e| drop(e.tags.insert(TAG_NODE.into(), "a b".into()))), &[], Stay::TagsMissing),
        (changed(|e| drop(e.tags.remove(TAG_INTENT))), &[], Stay::TagsMissing),
        (leaked(), &["i-gone"], Stay::InstanceLives),
        (changed(|e| e.created = None), &[], Stay::AgeUnknown),
        (changed(|e| e.created = Some(at(0).wall)), &[], Stay::Young),
        (changed(|e| e.created = Some(at(100_000).wall)), &[], Stay::Young),
    ];
    for (eni, living, why) in cases {
        let leaks = |seconds| look(seconds, leaked(), &[]);
        let has_reason = |seconds| look(seconds, eni.clone(), living);
        assert_eq!(stays(Some(&leaks(0)), &has_reason(60)), Some(why), "{eni:?}");
        assert_eq!(stays(Some(&has_reason(0)), &leaks(60)), Some(Stay::SeenOnce), "{eni:?}");
    }
}

#[test]
fn an_eni_that_came_between_the_looks_has_been_seen_once() {
    let other = changed(|e| e.id = "eni-2".try_into().unwrap());
    assert_eq!(stays(Some(&look(0, other, &[])), &look(60, leaked(), &[])), Some(Stay::SeenOnce));
}

#[test]
fn an_answer_that_hides_the_asker_is_no_look() {
    let hidden = Look::new(at(0), &instance("i-me"), vec![leaked()], BTreeSet::new());
    let text = hidden.unwrap_err().to_string();
    assert!(text.contains("i-me") && text.contains("DescribeInstances"), "{text}");
}

#[test]
fn only_owners_that_can_be_asked_for_are_asked_for() {
    let nobodys = changed(|e| drop(e.tags.remove(TAG_NODE)));
    assert_eq!(owners(&[leaked(), leaked(), nobodys]), BTreeSet::from([instance("i-gone")]));
}

#[test]
fn words_of_metrics_differ() {
    let words: BTreeSet<_> = Stay::ALL.iter().map(|why| why.word()).collect();
    assert_eq!(words.len(), Stay::ALL.len());
}

/// Any ENI, more often one that is nearly left behind.
fn any_eni() -> impl Strategy<Value = EniView> {
    let rare = || prop::bool::weighted(0.15);
    let flaws = (rare(), rare(), rare(), rare(), rare(), rare(), rare());
    (0..4u8, 0..3u8, 0..7_200u64, flaws).prop_map(|(n, owner, age, flaw)| {
        changed(|eni| {
            eni.id = format!("eni-{n}").as_str().try_into().unwrap();
            eni.tags.insert(TAG_NODE.into(), format!("i-{owner}"));
            // Between two hours before the first look and that look.
            eni.created = Some(UnixMillis(at(0).wall.0 - age * 1000));
            let (foreign, no_node, no_intent, attached, primary, ageless, moving) = flaw;
            if foreign {
                eni.tags.insert(TAG_CLUSTER.into(), "c2".into());
            }
            if no_node {
                eni.tags.remove(TAG_NODE);
            }
            if no_intent {
                eni.tags.remove(TAG_INTENT);
            }
            if attached {
                eni.instance = Some(instance("i-0"));
            }
            eni.primary = primary;
            if ageless {
                eni.created = None;
            }
            if moving {
                eni.status = EniStatus::Attaching;
            }
        })
    })
}

fn any_look() -> impl Strategy<Value = (u64, Look)> {
    let living = prop::collection::btree_set(0..3u8, 0..3);
    (0..600u64, prop::collection::vec(any_eni(), 0..5), living).prop_map(
        |(second, enis, living)| {
            let living = living.into_iter().map(|n| instance(&format!("i-{n}")));
            let living = living.chain([instance("i-me")]).collect();
            (second, Look::new(at(second), &instance("i-me"), enis, living).unwrap())
        },
    )
}

/// The promise in its own words, for one look.
fn is_left_behind(id: &EniId, look: &Look) -> bool {
    let Some(eni) = look.enis.get(id) else { return false };
    let tag = |key| eni.tags.get(key).map(String::as_str);
    let old = |created: UnixMillis| created.0 + 1_800_000 <= look.begun.wall.0;
    eni.status == EniStatus::Available
        && eni.instance.is_none()
        && !eni.primary
        && tag(TAG_CLUSTER) == Some("c1")
        && tag(TAG_INTENT).is_some()
        && tag(TAG_NODE).is_some_and(|node| !look.living.iter().any(|i| i.as_str() == node))
        && eni.created.is_some_and(old)
}

proptest! {
    #[test]
    fn exactly_what_two_looks_apart_show_as_left_behind_goes((a, first) in any_look(), (b, last) in any_look()) {
        let verdict = judge(Some(&first), &last, &rules());
        for id in last.enis.keys() {
            let goes = b >= a + 30 && is_left_behind(id, &first) && is_left_behind(id, &last);
            prop_assert_eq!(verdict.delete.contains(id), goes, "{} {:?}", id, verdict);
            prop_assert_eq!(verdict.stay.contains_key(id), !goes);
        }
        prop_assert_eq!(verdict.delete.len() + verdict.stay.len(), last.enis.len());
        prop_assert!(judge(None, &last, &rules()).delete.is_empty());
    }
}
