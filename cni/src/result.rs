//! The result of ADD in the words of each version.
//!
//! Up to 0.4.0 every address names its family (`version`); from 1.0.0 on it does not. `mtu` of an interface exists since
//! 1.1.0. Absent values are left out, as the specification's own types do.

use serde::Serialize;
use serde_json::Value;
use tideway_model::Cause;
use tideway_proto::node::AddReply;

use crate::{CniError, SpecVersion};

#[derive(Debug, Serialize)]
struct CniResult {
    #[serde(rename = "cniVersion")]
    cni_version: &'static str,
    interfaces: Vec<Interface>,
    ips: Vec<Ip>,
    routes: Vec<Route>,
    dns: Value,
}

#[derive(Debug, Serialize)]
struct Interface {
    name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    mac: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    mtu: Option<u32>,
    #[serde(skip_serializing_if = "String::is_empty")]
    sandbox: String,
}

#[derive(Debug, Serialize)]
struct Ip {
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<&'static str>,
    interface: u32,
    address: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    gateway: String,
}

#[derive(Debug, Serialize)]
struct Route {
    dst: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    gw: String,
}

/// Converts the daemon's answer. An answer without address, or with an address on no interface, is refused.
pub(crate) fn convert(
    reply: AddReply,
    version: SpecVersion,
    dns: Option<&Value>,
) -> Result<Value, CniError> {
    let refused = |cause: &str| {
        CniError::new(
            Cause::VersionsDiffer,
            format!("tidewayd answered {cause}"),
            "tidewayd and tideway-cni do not fit together: install both of one version",
        )
    };
    if reply.ips.is_empty() {
        return Err(refused("without an address"));
    }
    let known = u32::try_from(reply.interfaces.len()).unwrap_or(u32::MAX);
    if reply.ips.iter().any(|ip| ip.interface >= known) {
        return Err(refused("with an address on an interface that it does not name"));
    }
    let interfaces = reply
        .interfaces
        .into_iter()
        .map(|it| Interface {
            name: it.name,
            mac: it.mac,
            mtu: (version >= SpecVersion::V1_1_0 && it.mtu > 0).then_some(it.mtu),
            sandbox: it.sandbox,
        })
        .collect();
    let ips = reply
        .ips
        .into_iter()
        .map(|it| Ip {
            version: (version < SpecVersion::V1_0_0)
                .then(|| if it.address.contains(':') { "6" } else { "4" }),
            interface: it.interface,
            address: it.address,
            gateway: it.gateway,
        })
        .collect();
    let routes = reply.routes.into_iter().map(|it| Route { dst: it.dst, gw: it.gw }).collect();
    let result = CniResult {
        cni_version: version.as_str(),
        interfaces,
        ips,
        routes,
        dns: dns.cloned().unwrap_or_else(|| Value::Object(serde_json::Map::new())),
    };
    serde_json::to_value(result).map_err(|error| refused(&format!("what is no JSON: {error}")))
}
