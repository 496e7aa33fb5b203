//! The result that a runtime hands back (`prevResult`), as far as CHECK relies on it.

use std::net::IpAddr;

use serde_json::Value;

use crate::{CniError, args::Container, code};

/// CHECK: the result must be one of ours for this container, or there is nothing to compare. What it says is then compared
/// by the daemon, which knows what it gave.
pub(crate) fn verify(previous: Option<&Value>, container: &Container) -> Result<(), CniError> {
    let refused = |cause: &str| {
        CniError::new(
            code::INVALID_CONFIG,
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
    let readable = |ip: &Value| {
        let cidr = text(ip, "address");
        cidr.split_once('/').is_some_and(|(ip, prefix)| {
            ip.parse::<IpAddr>().is_ok() && prefix.parse::<u8>().is_ok()
        })
    };
    if ips.iter().all(readable) {
        Ok(())
    } else {
        Err(refused("with a prevResult whose address is none"))
    }
}
