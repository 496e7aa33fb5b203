//! Describe of ENIs.

use serde_json::{Value, json};

use super::codes::Failure;
use super::filter::{Filters, of_tags};
use super::paging::page;
use super::shape;
use crate::cloud::cause::Cause;
use crate::cloud::params::Params;
use crate::cloud::resources::Eni;
use crate::cloud::vpc::{EniView, Vpc};

/// The values of an ENI for a filter.
fn field(vpc: &Vpc, eni: &Eni, name: &str) -> Option<Vec<String>> {
    let one = |value: &str| Some(vec![value.to_owned()]);
    let attachment = |value: fn(&Eni) -> Option<String>| {
        Some(eni.attachment.is_some().then(|| value(eni)).flatten().into_iter().collect())
    };
    match name {
        "network-interface-id" => one(&eni.id),
        "subnet-id" => one(&eni.vswitch),
        "vpc-id" => one(&vpc.id),
        "owner-id" => one(&vpc.owner),
        "description" => one(&eni.description),
        "mac-address" => one(&eni.mac_text()),
        "status" => one(shape::status(eni.state)),
        "interface-type" => one("interface"),
        "requester-managed" => one("false"),
        "source-dest-check" => one(&eni.source_dest_check.to_string()),
        "group-id" => Some(eni.groups.clone()),
        "group-name" => {
            let names = eni.groups.iter().filter_map(|id| vpc.groups.get(id));
            Some(names.map(|g| g.name.clone()).collect())
        }
        "availability-zone" => {
            Some(vpc.vswitches.get(&eni.vswitch).map(|v| v.zone.clone()).into_iter().collect())
        }
        "private-ip-address" => Some(eni.v4.first().map(ToString::to_string).into_iter().collect()),
        "addresses.private-ip-address" => Some(eni.v4.iter().map(ToString::to_string).collect()),
        "addresses.primary" => {
            Some(eni.v4.iter().enumerate().map(|(n, _)| (n == 0).to_string()).collect())
        }
        "ipv6-addresses.ipv6-address" => Some(eni.v6.iter().map(ToString::to_string).collect()),
        "attachment.attachment-id" => attachment(|e| e.attachment.as_ref().map(|a| a.id.clone())),
        "attachment.device-index" => {
            attachment(|e| e.attachment.as_ref().map(|a| a.device.to_string()))
        }
        "attachment.instance-id" => attachment(|e| e.instance.clone()),
        "attachment.status" => attachment(|e| Some(shape::attachment_status(e.state).to_owned())),
        "attachment.delete-on-termination" => attachment(|e| Some(e.delete_on_release.to_string())),
        _ => of_tags(&eni.tags, name),
    }
}

/// `DescribeNetworkInterfaces`. An id that the view does not have is an error, also of an ENI that is only too new.
pub fn list(vpc: &Vpc, params: &Params, view: &EniView) -> Result<Value, Failure> {
    let ids = params.list("NetworkInterfaceId");
    if let Some(id) = ids.iter().find(|id| !view.contains_key(*id)) {
        return Err(Cause::NoEni(id.clone()).into());
    }
    let filters = Filters::read(params)?;
    let mut found: Vec<(u32, &Eni)> = Vec::new();
    for eni in view.values() {
        if filters.take(|name| field(vpc, eni, name))? && (ids.is_empty() || ids.contains(&eni.id))
        {
            found.push((eni.index, eni));
        }
    }
    found.sort_by_key(|(index, _)| *index);
    let (enis, mut out) = page(found, params, "NetworkInterfaceId", 1000)?;
    let items = enis.into_iter().map(|eni| shape::eni(vpc, eni, shape::status(eni.state)));
    out.insert("networkInterfaceSet".to_owned(), items.collect());
    Ok(Value::Object(out))
}

/// `DescribeNetworkInterfaceAttribute`: one attribute.
pub fn attribute(vpc: &Vpc, params: &Params, view: &EniView) -> Result<Value, Failure> {
    let id = params.need("NetworkInterfaceId")?;
    let eni = view.get(id).ok_or_else(|| Cause::NoEni(id.to_owned()))?;
    let (name, value) = match params.need("Attribute")? {
        "description" => ("description", json!({ "value": eni.description })),
        "groupSet" => ("groupSet", shape::groups(vpc, &eni.groups)),
        "sourceDestCheck" => ("sourceDestCheck", json!({ "value": eni.source_dest_check })),
        "attachment" => ("attachment", json!(shape::attachment(vpc, eni))),
        other => return Err(Failure::value(format!("The attribute '{other}' is not known"))),
    };
    Ok(json!({ "networkInterfaceId": id, (name): value }))
}
