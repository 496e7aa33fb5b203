//! Cloud operations: one call each, and around it what keeps host and cloud in step.
//!
//! The source → ENI map stays true: an address enters it before the allocator hears of it and leaves it before it is given
//! back; a shared ENI's configuration leaves before its detach is sent. Attach and detach end when the cloud shows it.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use tideway_cloud::{
    Cloud, CloudError, CloudOp, EniFilter, EniStatus, EniView, ErrorKind, OpAnswer,
};
use tideway_ipam::{Event, Urgency, prefix_hosts};
use tideway_model::{EniId, InstanceId};

use crate::{clock, denials::Subject, hands::Tools};

/// The action that lists ENIs.
pub(crate) const LIST: Subject<'static> = (CloudOp::DESCRIBE, None);

/// Longest wait for a turn, and for the host to be ready, before a call is sent. After [`tideway_ipam::CALL_LIMIT`] the
/// allocator takes an operation for one of unknown outcome and decides by what it sees: a call that went out later would take
/// an address from whoever has it by then. Whatever an operation does has to fit in there.
pub(crate) const PATIENCE: Duration = Duration::from_secs(150);
/// First and later pauses between two questions whether an attach or detach has ended (they take 2–4 s).
const FIRST_POLL: Duration = Duration::from_millis(1500);
const POLL: Duration = Duration::from_secs(1);
/// After that an attach or detach counts as stuck; the allocator reads the state back later.
const STUCK: Duration = Duration::from_mins(1);
/// After that an ENI that never left its former state counts as one whose change has an unknown outcome.
const UNMOVED: Duration = Duration::from_secs(8);

impl<C: Cloud> Tools<C> {
    /// Waits for a turn and executes one operation.
    pub(crate) async fn operate(
        &self,
        op: &CloudOp,
        urgency: Urgency,
    ) -> Result<OpAnswer, CloudError> {
        let action = op.action();
        let late = clock::boot() + PATIENCE;
        let call = async {
            self.make_way(op).await.map_err(|e| local(action, &e))?;
            if clock::boot() > late {
                let text = "the host was not ready in time, so it was not sent";
                return Err(local(action, text));
            }
            self.send(op).await
        };
        let answer = self.log.call((action, op.eni()), urgency, PATIENCE, call).await?;
        let (eni, wanted, fallback) = match op {
            CloudOp::Attach { eni, .. } => (eni, EniStatus::InUse, EniStatus::Available),
            CloudOp::Detach { eni, .. } => (eni, EniStatus::Available, EniStatus::InUse),
            CloudOp::Create(_)
            | CloudOp::Delete { .. }
            | CloudOp::Assign { .. }
            | CloudOp::Unassign { .. }
            | CloudOp::AssignPrefixes { .. }
            | CloudOp::UnassignPrefixes { .. }
            | CloudOp::Describe { .. } => return Ok(answer),
        };
        let end = clock::boot() + STUCK;
        let settled = self.settle(eni, (wanted, fallback), (action, urgency), end).await;
        settled.inspect_err(|e| self.log.note(e)).map(|()| answer)
    }

    /// Host first: what is given back leaves the host before the cloud hears of it. An ENI that was detached behind our back
    /// never had our Detach, so Delete clears it too.
    async fn make_way(&self, op: &CloudOp) -> Result<(), String> {
        match op {
            CloudOp::Detach { eni, .. } | CloudOp::Delete { eni } => self.retire(eni).await,
            CloudOp::Unassign { eni, addresses } => self.unmap(eni, addresses).await,
            CloudOp::UnassignPrefixes { eni, prefixes } => self.unmap_within(eni, prefixes).await,
            CloudOp::Create(_)
            | CloudOp::Attach { .. }
            | CloudOp::Assign { .. }
            | CloudOp::AssignPrefixes { .. }
            | CloudOp::Describe { .. } => Ok(()),
        }
    }

    async fn send(&self, op: &CloudOp) -> Result<OpAnswer, CloudError> {
        match op {
            CloudOp::Create(request) => self.cloud.create(request).await.map(OpAnswer::Created),
            CloudOp::Attach { eni, instance } => {
                self.cloud.attach(eni, instance).await.map(|()| OpAnswer::Done)
            }
            CloudOp::Detach { eni, instance } => {
                self.cloud.detach(eni, instance).await.map(|()| OpAnswer::Done)
            }
            CloudOp::Delete { eni } => self.cloud.delete(eni).await.map(|()| OpAnswer::Done),
            CloudOp::Assign { eni, family, count, token } => {
                let got = self.cloud.assign(eni, *family, *count, token).await?;
                self.map_new(eni, &got).await;
                Ok(OpAnswer::Assigned(got))
            }
            CloudOp::Unassign { eni, addresses } => {
                self.cloud.unassign(eni, addresses).await.map(|()| OpAnswer::Done)
            }
            CloudOp::AssignPrefixes { eni, family, count, token } => {
                let got = self.cloud.assign_prefixes(eni, *family, *count, token).await?;
                let own: Vec<IpAddr> = got.iter().flat_map(prefix_hosts).collect();
                self.map_new(eni, &own).await;
                Ok(OpAnswer::AssignedPrefixes(got))
            }
            CloudOp::UnassignPrefixes { eni, prefixes } => {
                self.cloud.unassign_prefixes(eni, prefixes).await.map(|()| OpAnswer::Done)
            }
            CloudOp::Describe { instance, tags } => {
                self.everything(instance, tags).await.map(OpAnswer::Enis)
            }
        }
    }

    /// What the cloud has just given to an ENI enters the source map before the allocator hears of it.
    async fn map_new(&self, eni: &EniId, addresses: &[IpAddr]) {
        if self.is_prepared(eni)
            && let Err(e) = self.ensure_mapped(eni, addresses).await
        {
            tracing::warn!(%eni, error = %e, "new addresses are not in the source map yet; the first ADD tries again");
        }
    }

    /// What is attached to the instance, and what else has our tags.
    async fn everything(
        &self,
        instance: &InstanceId,
        tags: &BTreeMap<String, String>,
    ) -> Result<Vec<EniView>, CloudError> {
        let attached = EniFilter { instance: Some(instance.clone()), ..EniFilter::default() };
        let mut enis = self.cloud.enis(&attached).await?;
        let tagged = EniFilter { tags: tags.clone(), ..EniFilter::default() };
        for eni in self.cloud.enis(&tagged).await? {
            if !enis.iter().any(|known| known.id == eni.id) {
                enis.push(eni);
            }
        }
        Ok(enis)
    }

    /// Waits until the cloud shows `wanted`. What else it shows proves nothing: one that seems to have fallen back may be an
    /// old picture, or its change not begun. All that is told then is that the outcome is unknown, and the allocator's looks
    /// decide.
    async fn settle(
        &self,
        eni: &EniId,
        (wanted, fallback): (EniStatus, EniStatus),
        (action, urgency): (&'static str, Urgency),
        end: Duration,
    ) -> Result<(), CloudError> {
        let unknown = |code, text: String| error(action, ErrorKind::Unknown, code, text);
        let filter = EniFilter { ids: vec![eni.clone()], ..EniFilter::default() };
        tokio::time::sleep(FIRST_POLL).await;
        let mut moved = false;
        let mut still: Option<Duration> = None;
        loop {
            let left = end.saturating_sub(clock::boot());
            let seen = self.log.call(LIST, urgency, left, self.cloud.enis(&filter)).await;
            let status = seen.ok().and_then(|list| list.first().map(|e| e.status));
            match status {
                Some(status) if status == wanted => return Ok(()),
                Some(status) if status == fallback && moved => {
                    return Err(unknown("FellBack", format!("{eni} fell back to {fallback:?}")));
                }
                Some(status) if status == fallback => {
                    let since = *still.get_or_insert_with(clock::boot);
                    if clock::boot() > since + UNMOVED {
                        let secs = UNMOVED.as_secs();
                        let text = format!("{eni} stayed {fallback:?} for {secs} s");
                        return Err(unknown("Unmoved", text));
                    }
                }
                Some(_changing) => {
                    moved = true;
                    still = None;
                }
                None => {}
            }
            if clock::boot() > end {
                let secs = STUCK.as_secs();
                let text = format!("{eni} did not become {wanted:?} within {secs} s");
                return Err(unknown("Stuck", text));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Asks the cloud for everything of ours.
    pub async fn look_at_cloud(&self) -> Result<(), CloudError> {
        let look = async {
            // A question is as old as its sending, however long it waited for its turn.
            let begun = clock::boot();
            let enis = self.everything(&self.instance, &self.tags).await?;
            self.engine.tell(Event::CloudSeen { begun, enis });
            Ok(())
        };
        self.log.call(LIST, Urgency::Describe, PATIENCE, look).await
    }
}

/// The failure of a call that was not sent, because its intent could not be recorded.
pub(crate) fn not_recorded(op: &CloudOp, cause: &str) -> CloudError {
    let text = format!("not sent, since it could not be recorded: {cause}");
    error(op.action(), ErrorKind::Unavailable, "NotRecorded", text)
}

fn local(action: &str, text: &str) -> CloudError {
    error(action, ErrorKind::Conflict, "HostNotReady", text.to_owned())
}

fn error(action: &str, kind: ErrorKind, code: &str, message: String) -> CloudError {
    CloudError { action: action.to_owned(), kind, code: code.to_owned(), message, request_id: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A call with what it may have to fetch before: credentials, a connection.
    const CALL: Duration = Duration::from_secs(30);

    #[test]
    fn an_operation_ends_before_the_allocator_takes_its_outcome_for_unknown() {
        let call_limits = [
            #[cfg(feature = "aliyun")]
            tideway_cloud_aliyun::Timeouts::default().call,
            #[cfg(feature = "aws")]
            tideway_cloud_aws::Timeouts::default().call,
        ];
        assert!(call_limits.iter().all(|limit| *limit + Duration::from_secs(10) <= CALL));
        // The wait for its turn, the call, the questions after it, and one of them begun in the last moment.
        let longest = PATIENCE + CALL + STUCK + POLL + CALL;
        assert!(longest < tideway_ipam::CALL_LIMIT, "{longest:?}");
    }
}
