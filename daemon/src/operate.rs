//! Cloud operations: one call each, and around it what keeps host and cloud in step.
//!
//! The source → ENI map stays true: an address enters it before the allocator hears of it and leaves it before it is given
//! back; a shared ENI's configuration leaves before its detach is sent. Attach and detach end when the cloud shows it.

use std::time::Duration;

use tideway_cloud::{Cloud, CloudError, CloudOp, EniFilter, EniStatus, ErrorKind, OpAnswer};
use tideway_ipam::{Event, Urgency};
use tideway_model::EniId;

use crate::{clock, hands::Tools};

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
        let call = self.log.turn(action_of(op), urgency).await;
        let result = self.call(op).await;
        self.log.ended(&call, &result);
        result
    }

    async fn call(&self, op: &CloudOp) -> Result<OpAnswer, CloudError> {
        match op {
            CloudOp::Create(request) => self.cloud.create(request).await.map(OpAnswer::Created),
            CloudOp::Attach { eni, instance } => {
                self.cloud.attach(eni, instance).await?;
                self.settle(eni, EniStatus::InUse, EniStatus::Available).await
            }
            CloudOp::Detach { eni, instance } => {
                self.retire(eni).await.map_err(|e| local("DetachNetworkInterface", &e))?;
                self.cloud.detach(eni, instance).await?;
                self.settle(eni, EniStatus::Available, EniStatus::InUse).await
            }
            CloudOp::Delete { eni } => {
                // One that was detached behind our back never had our Detach: its rules and addresses are still there.
                self.retire(eni).await.map_err(|e| local("DeleteNetworkInterface", &e))?;
                self.cloud.delete(eni).await.map(|()| OpAnswer::Done)
            }
            CloudOp::Assign { eni, family, count, token } => {
                let got = self.cloud.assign(eni, *family, *count, token).await?;
                if self.is_prepared(eni)
                    && let Err(e) = self.ensure_mapped(eni, &got).await
                {
                    tracing::warn!(%eni, error = %e, "new addresses are not in the source map yet; the first ADD tries again");
                }
                Ok(OpAnswer::Assigned(got))
            }
            CloudOp::Unassign { eni, addresses } => {
                self.unmap(eni, addresses)
                    .await
                    .map_err(|e| local("UnassignPrivateIpAddresses", &e))?;
                self.cloud.unassign(eni, addresses).await.map(|()| OpAnswer::Done)
            }
            CloudOp::Describe { instance, tags } => {
                let mut enis = self
                    .cloud
                    .enis(&EniFilter { instance: Some(instance.clone()), ..EniFilter::default() })
                    .await?;
                let tagged = self
                    .cloud
                    .enis(&EniFilter { tags: tags.clone(), ..EniFilter::default() })
                    .await?;
                for eni in tagged {
                    if !enis.iter().any(|known| known.id == eni.id) {
                        enis.push(eni);
                    }
                }
                Ok(OpAnswer::Enis(enis))
            }
        }
    }

    /// Waits until the cloud shows `wanted`. `fallback` after a while of anything else means that the change failed.
    async fn settle(
        &self,
        eni: &EniId,
        wanted: EniStatus,
        fallback: EniStatus,
    ) -> Result<OpAnswer, CloudError> {
        let end = clock::boot() + STUCK;
        tokio::time::sleep(FIRST_POLL).await;
        let mut moved = false;
        let mut still: Option<Duration> = None;
        loop {
            let filter = EniFilter { ids: vec![eni.clone()], ..EniFilter::default() };
            let call = self.log.turn("DescribeNetworkInterfaces", Urgency::Waiting).await;
            let seen = self.cloud.enis(&filter).await;
            self.log.ended(&call, &seen);
            let status = seen.ok().and_then(|list| list.first().map(|e| e.status));
            match status {
                Some(status) if status == wanted => return Ok(OpAnswer::Done),
                Some(status) if status == fallback && moved => {
                    let text = format!("{eni} fell back to {fallback:?}");
                    return Err(error(
                        "AttachNetworkInterface",
                        ErrorKind::Conflict,
                        "FellBack",
                        text,
                    ));
                }
                Some(status) if status == fallback => {
                    // Not begun yet, an old picture, or over before we looked: only the allocator's looks can tell.
                    let since = *still.get_or_insert_with(clock::boot);
                    if clock::boot() > since + UNMOVED {
                        let secs = UNMOVED.as_secs();
                        let text = format!("{eni} stayed {fallback:?} for {secs} s");
                        let action = "DescribeNetworkInterfaces";
                        return Err(error(action, ErrorKind::Unknown, "Unmoved", text));
                    }
                }
                Some(_changing) => {
                    moved = true;
                    still = None;
                }
                None => {}
            }
            if clock::boot() > end {
                let text = format!("{eni} did not become {wanted:?} within {} s", STUCK.as_secs());
                return Err(error("DescribeNetworkInterfaces", ErrorKind::Unknown, "Stuck", text));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Asks the cloud for everything of ours.
    pub async fn look_at_cloud(&self) -> Result<(), CloudError> {
        let begun = clock::boot();
        let op = CloudOp::Describe { instance: self.instance.clone(), tags: self.tags.clone() };
        if let OpAnswer::Enis(enis) = self.operate(&op, Urgency::Describe).await? {
            self.engine.tell(Event::CloudSeen { begun, enis });
        }
        Ok(())
    }
}

/// Name of the API action that an operation begins with, for counters and people.
fn action_of(op: &CloudOp) -> &'static str {
    match op {
        CloudOp::Create(_) => "CreateNetworkInterface",
        CloudOp::Attach { .. } => "AttachNetworkInterface",
        CloudOp::Detach { .. } => "DetachNetworkInterface",
        CloudOp::Delete { .. } => "DeleteNetworkInterface",
        CloudOp::Assign { family: tideway_model::Family::V4, .. } => "AssignPrivateIpAddresses",
        CloudOp::Assign { .. } => "AssignIpv6Addresses",
        CloudOp::Unassign { .. } => "UnassignPrivateIpAddresses",
        CloudOp::Describe { .. } => "DescribeNetworkInterfaces",
    }
}

fn local(action: &str, text: &str) -> CloudError {
    error(action, ErrorKind::Conflict, "HostNotReady", text.to_owned())
}

fn error(action: &str, kind: ErrorKind, code: &str, message: String) -> CloudError {
    CloudError { action: action.to_owned(), kind, code: code.to_owned(), message, request_id: None }
}
