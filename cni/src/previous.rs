//! The result that a runtime hands back (`prevResult`), as far as CHECK relies on it.

use std::net::IpAddr;

use serde_json::Value;
use tideway_model::Cause;

use crate::{CniError, args::Container};

/// CHECK: the result must be one of ours for this container, or there is nothing to compare. Gives back its addresses (CIDR
/// notation), which the daemon compares with what it gave.
pub(crate) fn verify(
    previous: Option<&Value>,
    container: &Container,
) -> Result<Vec<String>, CniError> {
    let refused = |cause: &str| {
        CniError::new(
            Cause::RuntimeRequest,
            format!("CHECK {cause}"),
            "the runtime must pass the result of the container's ADD as prevResult",
        )
    };
    let previous = previous.ok_or_else(|| refused("without prevResult"))?;
    let list = |key: &str| previous.get(key).and_then(Value::as_array);
    let text = |value: &Value, key: &str| {
        value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let interface = list("interfaces").into_iter().flatten().any(|it| {
        text(it, "name") == container.ifname.as_str() && text(it, "sandbox") == container.netns
    });
    if !interface {
        return Err(refused("with a prevResult that names no such interface in this namespace"));
    }
    let ips = list("ips").filter(|ips| !ips.is_empty());
    let ips = ips.ok_or_else(|| refused("with a prevResult without addresses"))?;
    let readable = |cidr: &String| {
        cidr.split_once('/').is_some_and(|(ip, prefix)| {
            ip.parse::<IpAddr>().is_ok() && prefix.parse::<u8>().is_ok()
        })
    };
    let cidrs: Vec<String> = ips.iter().map(|ip| text(ip, "address")).collect();
    if cidrs.iter().all(readable) {
        Ok(cidrs)
    } else {
        Err(refused("with a prevResult whose address is none"))
    }
}
