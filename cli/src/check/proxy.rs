//! kube-proxy's `clusterCIDR`: pods have addresses of the VPC, and what is outside counts as foreign and is masqueraded. And how
//! late it syncs ([`super::rest`]).

use ipnet::IpNet;
use serde::Deserialize;
use tideway_kubeapi::NodeView;

use super::{Finding, rest::Pace};

const CHECK: &str = "kube-proxy";

/// What kube-proxy goes by, and where it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Proxy {
    /// For people.
    pub(super) from: String,
    /// Comma-separated blocks; empty when unset.
    pub(super) cluster_cidr: String,
    /// How it tells local pods; empty: by `cluster_cidr`.
    pub(super) detect: String,
    /// How late it syncs.
    pub(super) pace: Pace,
}

/// The part of `KubeProxyConfiguration` that we read.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Configuration {
    #[serde(rename = "clusterCIDR")]
    cluster_cidr: Option<String>,
    detect_local_mode: Option<String>,
    mode: Option<String>,
    iptables: Option<Periods>,
    ipvs: Option<Periods>,
    nftables: Option<Periods>,
}

/// What each mode has a section of its own for. Go's durations, such as `1m30s`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Periods {
    sync_period: Option<String>,
    min_sync_period: Option<String>,
}

impl Proxy {
    /// From a configuration file's text.
    pub(super) fn of_file(from: String, text: &str) -> Result<Self, String> {
        let c: Configuration =
            serde_saphyr::from_str(text).map_err(|e| format!("{from} cannot be read: {e}"))?;
        let (mode, periods) = match c.mode.as_deref() {
            Some("ipvs") => ("ipvs", c.ipvs),
            Some("nftables") => ("nftables", c.nftables),
            _ => ("iptables", c.iptables),
        };
        let Periods { sync_period, min_sync_period } = periods.unwrap_or_default();
        let pace = Pace::new(mode, min_sync_period.as_deref(), sync_period.as_deref());
        Ok(Self {
            pace: pace.map_err(|e| format!("{from}: {e}"))?,
            from,
            cluster_cidr: c.cluster_cidr.unwrap_or_default(),
            detect: c.detect_local_mode.unwrap_or_default(),
        })
    }

    /// From a command line without `--config`.
    pub(super) fn of_flags(from: String, arguments: &[String]) -> Result<Self, String> {
        let value = |name: &str| flag(arguments, name).unwrap_or_default();
        let mode = match value("--proxy-mode").as_str() {
            "ipvs" => "ipvs",
            "nftables" => "nftables",
            _ => "iptables",
        };
        let period = |name: &str| flag(arguments, &format!("--{mode}-{name}"));
        let (min, full) = (period("min-sync-period"), period("sync-period"));
        let pace = Pace::new(mode, min.as_deref(), full.as_deref());
        Ok(Self {
            pace: pace.map_err(|e| format!("{from}: {e}"))?,
            from,
            cluster_cidr: value("--cluster-cidr"),
            detect: value("--detect-local-mode"),
        })
    }
}

/// Value of `--name VALUE` or `--name=VALUE`.
pub(super) fn flag(arguments: &[String], name: &str) -> Option<String> {
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        if argument == name {
            return rest.next().cloned();
        }
        if let Some(value) = argument.strip_prefix(name).and_then(|r| r.strip_prefix('=')) {
            return Some(value.to_owned());
        }
    }
    None
}

/// From the `ConfigMap` of a kubeadm cluster.
pub(super) fn of_config_map(view: &NodeView) -> Option<Result<Proxy, String>> {
    let text = view.proxy_config.as_ref()?;
    Some(Proxy::of_file("ConfigMap kube-system/kube-proxy".into(), text))
}

/// Compares with the VPC.
pub(super) fn cluster_cidr(proxy: Option<Result<Proxy, String>>, blocks: &[String]) -> Finding {
    let proxy = match proxy {
        None => {
            return Finding::warn(
                CHECK,
                "not checked: no kube-proxy runs here and the API server shows no configuration of one",
                "if Services are done by another program, tell it that pods have addresses of the VPC",
            );
        }
        Some(Err(why)) => return Finding::warn(CHECK, why, "its clusterCIDR is not checked"),
        Some(Ok(proxy)) => proxy,
    };
    let from = &proxy.from;
    if !proxy.detect.is_empty() && proxy.detect != "ClusterCIDR" {
        return Finding::ok(CHECK, format!("tells pods by {} ({from})", proxy.detect));
    }
    if proxy.cluster_cidr.is_empty() {
        return Finding::warn(
            CHECK,
            format!("clusterCIDR is unset ({from}): it cannot tell pods from others"),
            &format!("set it to the VPC's blocks: {}", blocks.join(",")),
        );
    }
    if blocks.is_empty() {
        return Finding::warn(
            CHECK,
            "not checked: tidewayd does not tell the VPC's blocks",
            "start it",
        );
    }
    let known: Vec<IpNet> =
        proxy.cluster_cidr.split(',').filter_map(|c| c.trim().parse().ok()).collect();
    let inside = |block: &&String| {
        block.parse::<IpNet>().is_ok_and(|b| known.iter().any(|k| k.contains(&b)))
    };
    let outside: Vec<&str> = blocks.iter().filter(|b| !inside(b)).map(String::as_str).collect();
    let has = &proxy.cluster_cidr;
    if outside.is_empty() {
        return Finding::ok(CHECK, format!("clusterCIDR {has} holds the VPC ({from})"));
    }
    Finding::fail(
        CHECK,
        format!(
            "clusterCIDR {has} does not hold {} ({from}): pods count as foreign and their Service traffic is masqueraded",
            outside.join(", ")
        ),
        &format!("set clusterCIDR to {}", blocks.join(",")),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Grade;

    fn found(text: &str) -> Finding {
        let blocks = ["10.0.0.0/16".to_owned(), "fd00:10::/56".to_owned()];
        cluster_cidr(Some(Proxy::of_file("f".into(), text)), &blocks)
    }

    #[test]
    fn a_block_of_the_vpc_that_is_outside_fails_and_is_named() {
        assert_eq!(found("clusterCIDR: \"10.0.0.0/16,fd00:10::/56\"\n").grade, Grade::Ok);
        assert_eq!(found("clusterCIDR: 10.0.0.0/8,fd00::/8\nmode: nftables\n").grade, Grade::Ok);
        let other = found("clusterCIDR: 10.244.0.0/16,fd00:10::/56\n");
        assert_eq!(other.grade, Grade::Fail);
        assert!(other.says.contains("does not hold 10.0.0.0/16 (f)"), "{other:?}");
        assert!(other.remedy.contains("10.0.0.0/16,fd00:10::/56"), "{other:?}");
    }

    #[test]
    fn unset_is_a_warning_and_fine_with_another_way_of_telling() {
        assert_eq!(found("mode: iptables\n").grade, Grade::Warn);
        assert_eq!(found("detectLocalMode: InterfaceNamePrefix\n").grade, Grade::Ok);
        assert_eq!(found("clusterCIDR: null\ndetectLocalMode: ClusterCIDR\n").grade, Grade::Warn);
    }

    #[test]
    fn no_proxy_and_one_that_cannot_be_read_are_warnings() {
        assert_eq!(cluster_cidr(None, &[]).grade, Grade::Warn);
        assert_eq!(found("clusterCIDR: [").grade, Grade::Warn);
        let view = NodeView {
            proxy_config: Some("clusterCIDR: 10.9.0.0/16".into()),
            ..NodeView::default()
        };
        let map = of_config_map(&view).unwrap().unwrap();
        assert_eq!(map.cluster_cidr, "10.9.0.0/16");
        assert_eq!(of_config_map(&NodeView::default()), None);
        assert_eq!(cluster_cidr(Some(Ok(map)), &[]).grade, Grade::Warn);
    }

    #[test]
    fn flags_are_read_in_both_forms() {
        let words = |t: &str| t.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let of = |text: &str| Proxy::of_flags("p".into(), &words(text)).unwrap();
        let one = of("--cluster-cidr=10.1.0.0/16 --v=2");
        let two = of("--cluster-cidr 10.1.0.0/16");
        assert_eq!((&one, one.cluster_cidr.as_str()), (&two, "10.1.0.0/16"));
        assert_eq!(flag(&words("--cluster-cidr-x=1"), "--cluster-cidr"), None);
    }
}
