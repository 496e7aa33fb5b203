//! Permissions that the node's role lacks.
//!
//! A refusal is believed for some minutes: a call that RAM or IAM would refuse again is answered here with the same words and
//! not sent. So a missing permission costs a call every few minutes, is told once, and is noticed soon after it was granted.
//! Each ENI is asked for by itself: a policy may allow one and not another.

use std::{collections::BTreeMap, time::Duration};

use tideway_cloud::{CloudError, ErrorKind};
use tideway_model::EniId;

/// How long a refusal is believed.
const BELIEVED: Duration = Duration::from_mins(2);
/// How long one is remembered that nobody met again: its ENI is gone, and others come and go.
const REMEMBERED: Duration = Duration::from_hours(1);

/// What a call is about: the API's action, and the ENI that it changes.
pub type Subject<'a> = (&'static str, Option<&'a EniId>);

/// Refusals that stand, each with the end of the belief in it.
#[derive(Debug, Default)]
pub struct Denials(BTreeMap<(&'static str, Option<EniId>), (Duration, CloudError)>);

impl Denials {
    /// The refusal that a call would meet again.
    pub fn standing(&self, now: Duration, (action, eni): Subject<'_>) -> Option<&CloudError> {
        let (until, error) = self.0.get(&(action, eni.cloned()))?;
        (now < *until).then_some(error)
    }

    /// Notes how a call ended. True: a permission is missing that was not missing before.
    pub fn ended(
        &mut self,
        now: Duration,
        (action, eni): Subject<'_>,
        error: Option<&CloudError>,
    ) -> bool {
        let key = (action, eni.cloned());
        match error {
            Some(error) if matches!(error.kind, ErrorKind::Denied(_)) => {
                self.0.retain(|_, (until, _)| now < *until + REMEMBERED);
                self.0.insert(key, (now + BELIEVED, error.clone())).is_none()
            }
            // Throttled, failed or lost: nothing was said about permissions.
            Some(error) if error.is_retryable() => false,
            _ => {
                self.0.remove(&key);
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ATTACH: &str = "AttachNetworkInterface";

    fn error(kind: ErrorKind) -> CloudError {
        CloudError {
            action: ATTACH.to_owned(),
            kind,
            code: "Forbidden.RAM".to_owned(),
            message: "no".to_owned(),
            request_id: None,
        }
    }

    #[test]
    fn a_missing_permission_is_asked_for_every_few_minutes_and_told_once() {
        let (one, other) = ("eni-1".try_into().unwrap(), "eni-2".try_into().unwrap());
        let (one, other) = ((ATTACH, Some(&one)), (ATTACH, Some(&other)));
        let mut denials = Denials::default();
        let denied = error(ErrorKind::Denied("ecs:AttachNetworkInterface on it".into()));
        let mut sent = 0;
        // As the allocator tries: every half minute, for an hour.
        for t in (0..3600).step_by(30).map(Duration::from_secs) {
            if denials.standing(t, one).is_none() {
                sent += 1;
                assert_eq!(denials.ended(t, one, Some(&denied)), sent == 1, "told at {t:?}");
            }
        }
        assert_eq!(sent, 30);
        let t = Duration::from_hours(1);
        assert_eq!(denials.standing(t, other), None, "another ENI");
        // A cloud that fails does not grant anything; one that does it does.
        assert!(!denials.ended(t, one, Some(&error(ErrorKind::Unavailable))));
        assert!(!denials.ended(t, one, Some(&denied)), "told twice");
        assert!(denials.standing(t, one).is_some());
        assert!(!denials.ended(t, one, None));
        assert_eq!(denials.standing(t, one), None);
        assert!(denials.ended(t, one, Some(&denied)), "taken away again and not told");
    }

    #[test]
    fn refusals_of_enis_that_come_and_go_do_not_pile_up() {
        let mut denials = Denials::default();
        let denied = error(ErrorKind::Denied("ecs:AttachNetworkInterface on it".into()));
        for minute in 0..10_000 {
            let eni = format!("eni-{minute}").as_str().try_into().unwrap();
            let t = Duration::from_mins(minute);
            assert!(denials.ended(t, (ATTACH, Some(&eni)), Some(&denied)));
        }
        assert!(denials.0.len() < 100, "{} are kept", denials.0.len());
    }
}
