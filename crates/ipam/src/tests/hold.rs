//! Waits after errors: as long as the error needs to go away, longer each time, and never for ever.

use std::time::Duration;

use tideway_cloud::{CloudOp, ErrorKind};

use super::{cloud::error, world::secs};
use crate::{hold::Hold, rng::Rng};

const T: Duration = Duration::from_secs(1_000);

fn fail(hold: &mut Hold, kind: ErrorKind, rng: &mut Rng) -> Duration {
    let op = CloudOp::Describe {
        instance: "i-1".try_into().unwrap(),
        tags: std::collections::BTreeMap::new(),
    };
    hold.fail(T, &error(&op, kind), rng);
    hold.until(T).expect("a hold with an end").saturating_sub(T)
}

/// What is asked for too often fails for everybody; what is asked for too seldom leaves pods without an address.
#[test]
fn a_wait_fits_its_error_and_doubles_until_its_cap() {
    let kinds = [
        (ErrorKind::SubnetFull, 10, 300),
        (ErrorKind::Fragmented, 180, 900),
        (ErrorKind::NotFound, 1, 60),
        (ErrorKind::Denied("ecs:CreateNetworkInterface".into()), 60, 60),
        (ErrorKind::QuotaExceeded("ENIs".into()), 30, 600),
        (ErrorKind::Invalid, 30, 600),
        (ErrorKind::Throttled { retry_after: None }, 1, 60),
        (ErrorKind::Credentials, 1, 60),
        (ErrorKind::Conflict, 1, 60),
        (ErrorKind::Unavailable, 1, 60),
    ];
    let mut rng = Rng::new(1);
    for (kind, base, cap) in kinds {
        let mut hold = Hold::default();
        for attempt in 0..80 {
            let most = secs((base << attempt.min(10)).min(cap));
            let wait = fail(&mut hold, kind.clone(), &mut rng);
            assert!(wait >= most / 2 && wait <= most, "{kind:?}, {attempt}: {wait:?} of {most:?}");
        }
    }
}

#[test]
fn a_wait_that_the_cloud_names_is_kept() {
    let kind = ErrorKind::Throttled { retry_after: Some(secs(90)) };
    assert_eq!(fail(&mut Hold::default(), kind, &mut Rng::new(1)), secs(90));
}

#[test]
fn a_hold_is_over_at_its_end_and_forgets_everything_when_it_worked() {
    let mut hold = Hold::default();
    assert!(!hold.holds(T) && !hold.has_end() && hold.until(T).is_none());
    let mut rng = Rng::new(1);
    let end = T + fail(&mut hold, ErrorKind::SubnetFull, &mut rng);
    assert!(hold.has_end() && hold.elsewhere);
    assert!(hold.holds(end.saturating_sub(secs(1))));
    assert_eq!(hold.until(end.saturating_sub(secs(1))), Some(end));
    for later in [end, end + secs(1)] {
        assert!(!hold.holds(later));
        assert_eq!(hold.until(later), None);
    }
    for lasting in [false, true, true] {
        fail(&mut hold, ErrorKind::Unavailable, &mut rng);
        assert_eq!(hold.is_lasting(), lasting);
    }
    assert!(!hold.elsewhere);
    hold.clear();
    assert!(!hold.has_end() && hold.cause.is_none() && !hold.is_lasting());
}

#[test]
fn a_failed_preparation_is_tried_again_within_half_a_minute() {
    let (mut hold, mut rng) = (Hold::default(), Rng::new(1));
    fail(&mut hold, ErrorKind::SubnetFull, &mut rng);
    let cause =
        || error(&CloudOp::Delete { eni: "eni-1".try_into().unwrap() }, ErrorKind::Conflict);
    for attempt in 1..10 {
        hold.fail_text(T, (&cause()).into(), &mut rng);
        let most = secs((1 << attempt).min(30));
        let wait = hold.until(T).expect("a hold with an end").saturating_sub(T);
        assert!(wait >= most / 2 && wait <= most, "{attempt}: {wait:?} of {most:?}");
        assert!(!hold.elsewhere);
    }
}

/// The first numbers of `SplitMix64` with the seed 0. Tokens of calls are made of them: a token that comes again is answered
/// with the ENI of an earlier call.
#[test]
fn random_numbers_are_those_of_splitmix64() {
    let mut rng = Rng::new(0);
    let numbers = [rng.next(), rng.next(), rng.next()];
    assert_eq!(numbers, [0xe220_a839_7b1d_cdaf, 0x6e78_9e6a_a1b9_65f4, 0x06c4_5d18_8009_454f]);
}

#[test]
fn a_wait_around_a_time_is_between_three_and_five_quarters_of_it() {
    let mut rng = Rng::new(1);
    for _ in 0..100 {
        let wait = rng.around(secs(400));
        assert!(wait >= secs(300) && wait <= secs(500), "{wait:?}");
    }
}
