//! An address must rest longer than kube-proxies take to forget its former pod.
//!
//! The conntrack entries of clients lie on the clients' nodes, where only their kube-proxy ends them: when it syncs after the
//! endpoint is gone. That is `minSyncPeriod` after the change at the latest, and when that sync fails, `syncPeriod` later.
//! The endpoint goes when the pod begins to end, before its address begins to rest. What is read here is the configuration of
//! this node; a cluster gives all of its nodes the same.

use jiff::SignedDuration;
use tideway_model::config::PoolConfig;

use super::{Finding, proxy::Proxy};

const CHECK: &str = "cooldown";

/// How late a kube-proxy syncs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pace {
    /// `iptables`, `ipvs` or `nftables`: the section that says it.
    mode: &'static str,
    /// After a change.
    min: SignedDuration,
    /// After a sync that failed.
    full: SignedDuration,
}

impl Pace {
    /// From Go's durations; what is unset or 0 is kube-proxy's default.
    pub(super) fn new(
        mode: &'static str,
        min: Option<&str>,
        full: Option<&str>,
    ) -> Result<Self, String> {
        Ok(Self {
            mode,
            min: period("minSyncPeriod", min, 1)?,
            full: period("syncPeriod", full, 30)?,
        })
    }
}

fn period(name: &str, text: Option<&str>, default: i64) -> Result<SignedDuration, String> {
    let told = match text {
        None | Some("" | "0") => SignedDuration::ZERO,
        Some(text) => {
            text.parse().map_err(|e| format!("{name} {text:?} is no duration such as 30s: {e}"))?
        }
    };
    Ok(if told.is_zero() { SignedDuration::from_secs(default) } else { told })
}

/// Compares with the pool's cooldown.
pub(super) fn cooldown(proxy: &Proxy, pool: &PoolConfig) -> Finding {
    let (Pace { mode, min, full }, from) = (&proxy.pace, &proxy.from);
    let seconds = pool.cooldown_seconds;
    let rest = SignedDuration::from_secs(seconds.into());
    let meanwhile =
        "clients on other nodes still send to the former pod's address, and reach the next one";
    if rest <= *min {
        return Finding::fail(
            CHECK,
            format!(
                "pool.cooldownSeconds is {seconds}, and kube-proxy syncs up to {min:#} after a change ({mode}.minSyncPeriod, {from}): until then {meanwhile}"
            ),
            &format!(
                "set pool.cooldownSeconds on every node above {}, or kube-proxy's {mode}.minSyncPeriod lower",
                min.as_secs()
            ),
        );
    }
    if rest < *full {
        return Finding::warn(
            CHECK,
            format!(
                "pool.cooldownSeconds is {seconds}, and kube-proxy repeats a sync that failed after {full:#} ({mode}.syncPeriod, {from}): until then {meanwhile}"
            ),
            &format!(
                "set pool.cooldownSeconds on every node to {} or more, or kube-proxy's {mode}.syncPeriod lower",
                full.as_secs()
            ),
        );
    }
    Finding::ok(
        CHECK,
        format!("{seconds} s, kube-proxy syncs within {min:#} and again within {full:#} ({from})"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Grade;

    fn found(text: &str, seconds: u32) -> Finding {
        let proxy = Proxy::of_file("f".into(), text).unwrap();
        cooldown(&proxy, &PoolConfig { cooldown_seconds: seconds, ..PoolConfig::default() })
    }

    #[test]
    fn a_cooldown_that_ends_before_kube_proxy_has_synced_fails_and_says_what_would_be_enough() {
        let slow =
            "mode: nftables\nnftables: {minSyncPeriod: 1m30s}\niptables: {minSyncPeriod: 1s}\n";
        let seen = found(slow, 90);
        assert_eq!(seen.grade, Grade::Fail);
        assert!(
            seen.says.contains("1m 30s after a change (nftables.minSyncPeriod, f)"),
            "{seen:?}"
        );
        assert!(seen.remedy.contains("pool.cooldownSeconds on every node above 90"), "{seen:?}");
        assert_eq!(found(slow, 91).grade, Grade::Ok);
        assert_eq!(found("mode: ipvs\nipvs: {minSyncPeriod: 40s}\n", 30).grade, Grade::Fail);
        assert_eq!(found("iptables: {minSyncPeriod: 40s}\n", 30).grade, Grade::Fail);
    }

    #[test]
    fn a_cooldown_that_ends_before_a_failed_sync_is_repeated_is_a_warning() {
        let seen = found("iptables:\n  syncPeriod: 1m0s\n", 30);
        assert_eq!(seen.grade, Grade::Warn);
        assert!(seen.remedy.contains("60 or more"), "{seen:?}");
        assert_eq!(found("iptables:\n  syncPeriod: 1m0s\n", 60).grade, Grade::Ok);
    }

    #[test]
    fn the_defaults_of_both_fit_also_where_kubeadm_writes_them_as_zero() {
        for text in [
            "{}",
            "mode: \"\"\nipvs: {minSyncPeriod: 0s, syncPeriod: 0s}\niptables: {minSyncPeriod: 0s, syncPeriod: 0s}\n",
        ] {
            assert_eq!(found(text, PoolConfig::default().cooldown_seconds).grade, Grade::Ok);
            assert_eq!(found(text, 4).grade, Grade::Warn);
            assert_eq!(found(text, 1).grade, Grade::Fail);
        }
    }

    #[test]
    fn flags_are_read_for_their_mode_and_nonsense_is_told() {
        let of = |line: &str| {
            let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
            Proxy::of_flags("p".into(), &words).map(|proxy| proxy.pace)
        };
        let pace = Pace::new("ipvs", Some("2s"), None).unwrap();
        assert_eq!(
            of("--proxy-mode=ipvs --ipvs-min-sync-period 2s --iptables-sync-period=9s"),
            Ok(pace)
        );
        let nonsense = of("--iptables-sync-period=soon").unwrap_err();
        assert!(nonsense.starts_with("p: syncPeriod \"soon\" is no duration"), "{nonsense}");
    }
}
