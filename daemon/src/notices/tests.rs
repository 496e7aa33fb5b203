use super::*;
use tideway_ipam::WaitingBook;
use tideway_model::{Attachment, AttachmentKey, Bandwidth, Mode, PodAddresses, PodKey};

const NOON: Duration = Duration::from_hours(12);

fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn pod(number: usize) -> PodRef {
    let key = PodKey::new("ns", &format!("p-{number:03}")).unwrap();
    PodRef { key, uid: Some(format!("u{number}").try_into().unwrap()) }
}

fn key(number: usize) -> AttachmentKey {
    AttachmentKey {
        container: format!("c{number}").try_into().unwrap(),
        ifname: "eth0".try_into().unwrap(),
    }
}

fn full() -> Why {
    Why::new(Cause::SubnetFull, "vsw-1 is full")
}

/// So many pods, all waiting since `since`.
fn waiting(pods: usize, since: Duration, why: &Why) -> Books {
    let waits = |n| WaitingBook { pod: pod(n), key: key(n), since, why: why.clone() };
    Books { waiting: (0..pods).map(waits).collect(), ..Books::default() }
}

fn served(number: usize) -> Books {
    let attachment = Attachment {
        key: key(number),
        pod: pod(number),
        netns: "/run/netns/x".to_owned(),
        mode: Mode::Veth,
        eni: "eni-1".try_into().unwrap(),
        eni_mac: "02:00:00:00:00:01".parse().unwrap(),
        addresses: PodAddresses::from_ips([]),
        mtu: 1500,
        bandwidth: Bandwidth::default(),
        exclusive: None,
    };
    Books { attachments: vec![attachment], ..Books::default() }
}

/// Says all that is to be said.
fn say(notices: &mut Notices, now: Duration) -> Vec<Notice> {
    let mut said = Vec::new();
    while let Some(notice) = notices.next(now) {
        notices.said(now, &notice);
        said.push(notice);
    }
    said
}

#[test]
fn two_hundred_waiting_pods_do_not_make_two_hundred_events() {
    let mut notices = Notices::default();
    let books = waiting(200, NOON, &full());
    let (mut of_pods, mut of_node) = (0_u32, 0);
    for tick in (10..=70).step_by(5) {
        notices.look(NOON + s(tick), &books);
        for notice in say(&mut notices, NOON + s(tick)) {
            let counter = if notice.pod.is_some() { &mut of_pods } else { &mut of_node };
            *counter += 1;
        }
    }
    assert_eq!((of_pods, of_node), (BURST + 2, 1), "in the first minute");
    for tick in (75..=3600).step_by(5) {
        notices.look(NOON + s(tick), &books);
        of_pods += u32::try_from(say(&mut notices, NOON + s(tick)).len()).unwrap();
    }
    assert!(of_pods <= BURST + 120 + 12, "{of_pods} in an hour");
}

#[test]
fn the_node_tells_how_many_pods_wait_for_what_when_they_are_too_many_for_events_of_their_own() {
    let mut notices = Notices::default();
    let mut books = waiting(30, NOON, &full());
    for waiting in books.waiting.iter_mut().take(5) {
        waiting.why = Why::new(Cause::Denied, "vpc:Assign is missing");
    }
    notices.look(NOON + s(10), &books);
    let said = say(&mut notices, NOON + s(10));
    let (last, of_pods) = said.split_last().unwrap();
    assert_eq!(u32::try_from(of_pods.len()), Ok(BURST));
    assert_eq!((last.pod.as_ref(), last.reason), (None, "PodsWaitForNetwork"));
    let text =
        "30 pods of this node wait or fail: 25 subnet_full, 5 denied. One of them: vsw-1 is full";
    assert!(last.message.starts_with(text), "{}", last.message);
}

#[test]
fn few_pods_have_no_event_on_the_node() {
    let mut notices = Notices::default();
    for minute in 0..60 {
        let now = NOON + s(60 * minute + 10);
        notices.look(now, &waiting(8, NOON, &full()));
        let said = say(&mut notices, now);
        assert!(said.iter().all(|notice| notice.pod.is_some()), "{said:?}");
    }
}

#[test]
fn a_pod_that_fails_again_and_again_has_one_event_that_counts() {
    let mut notices = Notices::default();
    let mut said = Vec::new();
    for second in 0..600 {
        let now = NOON + s(second);
        notices.failed(now, &pod(1), full());
        said.extend(say(&mut notices, now));
    }
    let counts: Vec<u32> = said.iter().map(|notice| notice.count).collect();
    assert_eq!(counts, [1, 301]);
    assert!(said.iter().all(|notice| notice.reason == "SubnetFull" && notice.warning));
}

#[test]
fn an_event_says_what_is_known_what_the_daemon_does_and_what_a_person_should_do() {
    let mut notices = Notices::default();
    notices.failed(NOON, &pod(1), full());
    let said = notices.next(NOON).unwrap();
    assert_eq!(said.pod, Some(pod(1)));
    for part in ["vsw-1 is full [subnet_full].", "asks the other subnets", "add a subnet"] {
        assert!(said.message.contains(part), "{}", said.message);
    }
    notices.failed(NOON, &pod(2), Why::new(Cause::NoDevice, Cause::NoDevice.person()));
    notices.said(NOON, &said);
    let said = notices.next(NOON).unwrap();
    assert_eq!(said.message.matches(Cause::NoDevice.person()).count(), 1, "{}", said.message);
}

#[test]
fn a_short_wait_is_no_news() {
    let mut notices = Notices::default();
    notices.look(NOON + s(9), &waiting(1, NOON, &full()));
    assert_eq!(notices.next(NOON + s(9)), None);
    notices.look(NOON + s(10), &waiting(1, NOON, &full()));
    assert_eq!(say(&mut notices, NOON + s(10)).len(), 1);
}

#[test]
fn what_is_over_before_it_could_be_said_is_not_said() {
    let mut notices = Notices::default();
    notices.failed(NOON, &pod(1), full());
    assert!(!notices.is_quiet(NOON));
    notices.look(NOON + s(1), &served(1));
    assert!(notices.is_quiet(NOON + s(1)));
    assert_eq!(notices.next(NOON + s(1)), None, "it has its network");
    notices.failed(NOON, &pod(2), full());
    assert_eq!(notices.next(NOON + CURRENT), None, "nobody has tried again");
    for cause in [Cause::SandboxDeleted, Cause::Overtaken, Cause::Stopping] {
        notices.failed(NOON + CURRENT, &pod(3), Why::new(cause, "x"));
    }
    assert_eq!(notices.next(NOON + CURRENT), None, "it is going");
}

#[test]
fn a_pod_that_fails_anew_after_it_ran_does_not_repeat_its_event_at_once() {
    let mut notices = Notices::default();
    for second in (0..240).step_by(2) {
        notices.failed(NOON + s(second), &pod(1), full());
        let said = say(&mut notices, NOON + s(second));
        assert_eq!(said.len(), usize::from(second == 0), "at {second} s");
        notices.look(NOON + s(second + 1), &served(1));
    }
}

#[test]
fn what_the_api_server_did_not_answer_is_said_when_it_does() {
    let mut notices = Notices::default();
    for second in (10..3600).step_by(30) {
        notices.look(NOON + s(second), &waiting(3, NOON, &full()));
        assert!(notices.next(NOON + s(second)).is_some(), "tried, and never said");
    }
    let now = NOON + s(3600);
    notices.look(now, &waiting(3, NOON, &full()));
    assert_eq!(say(&mut notices, now).len(), 3);
}

#[test]
fn a_flood_of_pods_that_come_and_go_is_forgotten_again() {
    let mut notices = Notices::default();
    for number in 0..2 * MOST {
        notices.failed(NOON, &pod(number), full());
    }
    assert_eq!(notices.pods.len(), MOST);
    notices.look(NOON + MEMORY, &Books::default());
    assert!(notices.pods.is_empty());
}
