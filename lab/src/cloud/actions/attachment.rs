//! Attach and Detach.

use serde_json::{Value, json};

use super::check_region;
use crate::cloud::clock::Millis;
use crate::cloud::error::ApiError;
use crate::cloud::operations::attachment::{self, Place};
use crate::cloud::params::Params;
use crate::cloud::vpc::Vpc;

fn no_trunk(params: &Params) -> Result<(), ApiError> {
    if params.get("TrunkNetworkInstanceId").is_some() {
        return Err(ApiError::invalid(
            "TrunkNetworkInstanceId",
            "this lab has no trunk interfaces",
        ));
    }
    Ok(())
}

/// `AttachNetworkInterface`.
pub fn attach(vpc: &mut Vpc, params: &Params, now: Millis) -> Result<Value, ApiError> {
    check_region(vpc, params, true)?;
    no_trunk(params)?;
    let place = Place { device: None, card: params.int("NetworkCardIndex")? };
    let (id, instance) = (params.need("NetworkInterfaceId")?, params.need("InstanceId")?);
    attachment::attach(vpc, id, instance, place, now)?;
    Ok(json!({}))
}

/// `DetachNetworkInterface`.
pub fn detach(vpc: &mut Vpc, params: &Params, now: Millis) -> Result<Value, ApiError> {
    check_region(vpc, params, true)?;
    no_trunk(params)?;
    let (id, instance) = (params.need("NetworkInterfaceId")?, params.need("InstanceId")?);
    attachment::detach(vpc, id, instance, now)?;
    Ok(json!({}))
}
