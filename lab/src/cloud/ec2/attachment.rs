//! Attach and Detach.

use serde_json::{Value, json};

use super::codes::Failure;
use crate::cloud::cause::Cause;
use crate::cloud::clock::Millis;
use crate::cloud::operations::attachment::{self, Place};
use crate::cloud::params::Params;
use crate::cloud::resources::EniState;
use crate::cloud::vpc::Vpc;

/// `AttachNetworkInterface`.
pub fn attach(vpc: &mut Vpc, params: &Params, now: Millis) -> Result<Value, Failure> {
    let device = params.int("DeviceIndex")?;
    let device = device.ok_or_else(|| Cause::Missing("deviceIndex".to_owned()))?;
    let place = Place { device: Some(device), card: params.int("NetworkCardIndex")? };
    let (id, instance) = (params.need("NetworkInterfaceId")?, params.need("InstanceId")?);
    let made = attachment::attach(vpc, id, instance, place, now).map_err(in_use)?;
    Ok(json!({ "attachmentId": made.id, "networkCardIndex": made.card }))
}

/// An ENI that is attached somewhere has a code of its own.
fn in_use(cause: Cause) -> Failure {
    if let Cause::EniState { id, state: EniState::Attaching | EniState::InUse } = &cause {
        return Failure::bad("InvalidNetworkInterface.InUse", format!("Interface: [{id}] in use."));
    }
    cause.into()
}

/// `DetachNetworkInterface`. `Force` asks for what happens anyway.
pub fn detach(vpc: &mut Vpc, params: &Params, now: Millis) -> Result<Value, Failure> {
    let wanted = params.need("AttachmentId")?;
    let found = vpc
        .enis()
        .values()
        .find(|e| e.attachment.as_ref().is_some_and(|a| a.id == wanted))
        .ok_or_else(|| Cause::NoAttachment(wanted.to_owned()))?;
    let (id, instance) = (found.id.clone(), found.instance.clone().unwrap_or_default());
    attachment::detach(vpc, &id, &instance, now)?;
    Ok(json!({ "return": true }))
}
