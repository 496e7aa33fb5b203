//! Faults on request. Each is limited by what it matches, by how often it may still strike and by time.

use serde::{Deserialize, Serialize};

use super::bucket::Bucket;
use super::clock::Millis;
use super::error::ApiError;
use super::profile::Profile;

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultKind {
    /// `Throttling.User` with `x-acs-retry-after`, `RequestLimitExceeded` on AWS (or `code`). With `bucket`, only what a
    /// token bucket does not let pass.
    Throttle,
    /// 500 `InternalError` (or `code`, such as `ServiceUnavailable`, on AWS `Unavailable`).
    ServerError,
    /// Refuses the signature and repeats in its message all that it was sent, security token and signature included.
    Echo,
    /// Any `code` with any `status`.
    Error,
    /// The caller's role lacks the permission: `Forbidden.RAM`, `UnauthorizedOperation` on AWS.
    Deny,
    /// The call takes effect, but the connection closes without an answer.
    LostAnswer,
    /// Describe calls answer what was true `ms` ago.
    StaleReads,
    /// Attach never ends while the fault lasts.
    StuckAttach,
    /// Attach ends in Available instead of `InUse`.
    FailedAttach,
    /// Detach never ends while the fault lasts.
    StuckDetach,
    /// The vSwitch `vswitch` (name or id; all when absent) gives no address.
    FullSubnet,
    /// `DescribeInstances` shows no instance, and that is no error: as to a role that may see none.
    HiddenInstances,
    /// The metadata service does not answer (connection closed), for `instance` or for all.
    MetadataDown,
    /// Calls take `ms` longer.
    Latency,
    /// The ENI `eni` is detached at once, without a call. Strikes when added.
    ForcedDetach,
    /// The ENI `eni` is meddled with in the guest (see the fabric). Strikes when added.
    Meddling,
}

/// A fault as it is ordered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FaultSpec {
    /// What goes wrong.
    pub kind: FaultKind,
    /// Only calls of this action.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
    /// Only this instance: as caller of an API, as client of the metadata service, as target of attach and detach.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// Only this ENI.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eni: Option<String>,
    /// Only this vSwitch (id or name).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vswitch: Option<String>,
    /// Matching calls to let pass first: 2 strikes the third one.
    #[serde(default)]
    pub skip: u32,
    /// Strikes before the fault is over; without it, until the time is up or it is cleared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u32>,
    /// Seconds until the fault is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<u32>,
    /// Error code instead of the usual one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// HTTP status instead of the usual one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Seconds for `x-acs-retry-after`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u32>,
    /// Milliseconds: age of stale reads, or added latency.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ms: Option<u64>,
    /// Matching calls that pass at once before the fault strikes; `refill` of them come back in a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bucket: Option<u32>,
    /// Calls that `bucket` lets pass in a second; none when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refill: Option<u32>,
}

impl FaultSpec {
    /// A fault of this kind that holds for everything until it is cleared.
    pub fn new(kind: FaultKind) -> Self {
        Self {
            kind,
            action: None,
            instance: None,
            eni: None,
            vswitch: None,
            skip: 0,
            count: None,
            seconds: None,
            code: None,
            status: None,
            retry_after: None,
            ms: None,
            bucket: None,
            refill: None,
        }
    }

    /// Limits the fault to one action.
    #[must_use]
    pub fn on(mut self, action: &str) -> Self {
        self.action = Some(action.to_owned());
        self
    }

    /// Limits the number of strikes.
    #[must_use]
    pub fn times(mut self, count: u32) -> Self {
        self.count = Some(count);
        self
    }
}

/// A fault in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Fault {
    /// Number for clearing it.
    pub id: u32,
    /// What was ordered; `skip` and `count` are what is left.
    pub spec: FaultSpec,
    /// When it ends by itself, milliseconds since the epoch.
    pub until: Option<Millis>,
    /// How often it struck.
    pub struck: u32,
    /// What its bucket still lets pass.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bucket: Option<Bucket>,
}

/// What a fault is asked about.
#[derive(Debug, Clone, Copy, Default)]
pub struct Occasion<'a> {
    /// Action of the call.
    pub action: &'a str,
    /// Caller or target instance (name).
    pub instance: &'a str,
    /// ENI.
    pub eni: &'a str,
    /// Id and name of the vSwitch.
    pub vswitch: (&'a str, &'a str),
}

/// All faults in force.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    active: Vec<Fault>,
    last_id: u32,
}

impl Faults {
    /// Puts a fault in force; answers its number.
    pub fn add(&mut self, spec: FaultSpec, now: Millis) -> u32 {
        self.last_id += 1;
        let until = spec.seconds.map(|s| now.saturating_add(u64::from(s) * 1000));
        let bucket = spec.bucket.map(|size| Bucket::new(size, spec.refill.unwrap_or(0), now));
        self.active.push(Fault { id: self.last_id, spec, until, struck: 0, bucket });
        self.last_id
    }

    /// Ends one fault, or all; answers how many ended.
    pub fn clear(&mut self, id: Option<u32>) -> usize {
        let before = self.active.len();
        self.active.retain(|fault| id.is_some_and(|id| fault.id != id));
        before - self.active.len()
    }

    /// Faults in force.
    pub fn list(&self, now: Millis) -> Vec<Fault> {
        self.active.iter().filter(|f| f.lives(now)).cloned().collect()
    }

    /// Whether a fault of this kind strikes now; counts the strike.
    pub fn strike(&mut self, kind: FaultKind, on: Occasion<'_>, now: Millis) -> Option<FaultSpec> {
        let fault = self
            .active
            .iter_mut()
            .find(|f| f.spec.kind == kind && f.lives(now) && f.spec.matches(on))?;
        if fault.spec.skip > 0 {
            fault.spec.skip -= 1;
            return None;
        }
        if fault.bucket.as_mut().is_some_and(|bucket| bucket.take(now)) {
            return None;
        }
        if let Some(count) = &mut fault.spec.count {
            *count = count.saturating_sub(1);
        }
        fault.struck += 1;
        let spec = fault.spec.clone();
        self.active.retain(|f| f.lives(now));
        Some(spec)
    }

    /// Whether such a fault is in force, without counting: for states that last.
    pub fn holds(&self, kind: FaultKind, on: Occasion<'_>, now: Millis) -> Option<&FaultSpec> {
        self.active
            .iter()
            .find(|f| f.spec.kind == kind && f.lives(now) && f.spec.matches(on))
            .map(|f| &f.spec)
    }

    /// The error that a call must get instead of its effect.
    pub fn refusal(
        &mut self,
        on: Occasion<'_>,
        now: Millis,
        profile: &Profile,
    ) -> Option<ApiError> {
        if let Some(spec) = self.strike(FaultKind::Throttle, on, now) {
            let (status, code, message) = profile.throttled;
            let mut error = spec.error(status, code, message);
            error.retry_after = profile.retry_after.then(|| spec.retry_after.unwrap_or(1));
            return Some(error);
        }
        if let Some(spec) = self.strike(FaultKind::ServerError, on, now) {
            let status = if spec.code.as_deref() == Some(profile.unavailable) { 503 } else { 500 };
            return Some(spec.error(
                status,
                "InternalError",
                "The request processing has failed due to some unknown error.",
            ));
        }
        let spec = self.strike(FaultKind::Error, on, now)?;
        let mut error = spec.error(400, "InternalError", "An error was ordered for this call.");
        error.retry_after = spec.retry_after;
        Some(error)
    }
}

impl Fault {
    fn lives(&self, now: Millis) -> bool {
        self.until.is_none_or(|until| now < until) && self.spec.count != Some(0)
    }
}

impl FaultSpec {
    fn matches(&self, on: Occasion<'_>) -> bool {
        let fits = |wanted: &Option<String>, found: &[&str]| {
            wanted.as_deref().is_none_or(|wanted| found.contains(&wanted))
        };
        fits(&self.action, &[on.action])
            && fits(&self.instance, &[on.instance])
            && fits(&self.eni, &[on.eni])
            && fits(&self.vswitch, &[on.vswitch.0, on.vswitch.1])
    }

    fn error(&self, status: u16, code: &str, message: &str) -> ApiError {
        ApiError::new(self.status.unwrap_or(status), self.code.as_deref().unwrap_or(code), message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cloud::profile;

    fn call(action: &str) -> Occasion<'_> {
        Occasion { action, ..Occasion::default() }
    }

    fn refusal(faults: &mut Faults, action: &str, now: Millis) -> Option<ApiError> {
        faults.refusal(call(action), now, &profile::ALIYUN)
    }

    #[test]
    fn error_strikes_the_third_call_of_its_action_and_then_is_over() {
        let mut faults = Faults::default();
        let mut spec = FaultSpec::new(FaultKind::Error).on("AttachNetworkInterface").times(1);
        spec.skip = 2;
        spec.code = Some("Operation.Conflict".to_owned());
        faults.add(spec, 0);
        let mut codes = Vec::new();
        for _ in 0..4 {
            assert_eq!(refusal(&mut faults, "DescribeVpcs", 1), None);
            codes.push(refusal(&mut faults, "AttachNetworkInterface", 1).map(|e| e.code));
        }
        assert_eq!(codes, [None, None, Some("Operation.Conflict".to_owned()), None]);
        assert_eq!(faults.list(1), []);
    }

    #[test]
    fn fault_ends_by_time_and_by_clearing() {
        let mut faults = Faults::default();
        let mut spec = FaultSpec::new(FaultKind::Throttle);
        spec.seconds = Some(2);
        faults.add(spec, 1000);
        let error = refusal(&mut faults, "X", 2999).unwrap();
        assert_eq!((error.code.as_str(), error.retry_after), ("Throttling.User", Some(1)));
        assert_eq!(refusal(&mut faults, "X", 3000), None);
        let id = faults.add(FaultSpec::new(FaultKind::ServerError), 0);
        assert_eq!(faults.clear(Some(id)), 1);
        assert_eq!(refusal(&mut faults, "X", 3000), None);
    }

    #[test]
    fn bucket_lets_pass_what_it_holds_and_then_throttles_as_the_cloud_does() {
        let mut faults = Faults::default();
        let spec = FaultSpec { bucket: Some(2), ..FaultSpec::new(FaultKind::Throttle) };
        faults.add(FaultSpec { refill: Some(1), ..spec }, 0);
        let mut codes = |now: Millis| {
            let refused = faults.refusal(call("X"), now, &profile::AWS);
            refused.map(|e| (e.status, e.code, e.retry_after))
        };
        assert_eq!((codes(0), codes(0)), (None, None));
        let limited = Some((503, "RequestLimitExceeded".to_owned(), None));
        assert_eq!(codes(0), limited);
        assert_eq!((codes(1000), codes(1000)), (None, limited));
    }

    #[test]
    fn ordered_json_is_read_and_unknown_keys_are_refused() {
        let spec: FaultSpec =
            serde_json::from_str(r#"{"kind":"stale-reads","ms":3000,"seconds":10}"#).unwrap();
        assert_eq!((spec.kind, spec.ms), (FaultKind::StaleReads, Some(3000)));
        let error =
            serde_json::from_str::<FaultSpec>(r#"{"kind":"throttle","often":1}"#).unwrap_err();
        assert!(error.to_string().contains("often"), "{error}");
    }
}
