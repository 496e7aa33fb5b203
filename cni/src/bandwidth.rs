//! Rate limits of a pod, from the runtime or from annotations.
//!
//! What the runtime passes (`runtimeConfig.bandwidth`, bit/s) comes first. A direction that it leaves open is looked up in
//! the annotations: `kubernetes.io/…-bandwidth` counts **bits** per second, as Kubernetes defines it;
//! `k8s.aliyun.com/…-bandwidth` counts **bytes** per second, as Terway reads it, so it is multiplied by eight. Both are
//! Kubernetes quantities (`10M`, `1Gi`, `1e6`); annotations name no burst, so the daemon chooses one.

use std::collections::BTreeMap;

use tideway_model::Cause;
use tideway_proto::node::Bandwidth;

use crate::{CniError, netconf::RuntimeBandwidth};

/// The limits of a pod; `None` when it has none.
pub(crate) fn of(
    runtime: Option<&RuntimeBandwidth>,
    annotations: &BTreeMap<String, String>,
) -> Result<Option<Bandwidth>, CniError> {
    let given = |rate: Option<u64>| rate.filter(|rate| *rate > 0);
    let mut out = Bandwidth::default();
    if let Some(rate) = runtime.and_then(|it| given(it.ingress_rate)) {
        out.ingress_rate = rate;
        out.ingress_burst = runtime.and_then(|it| it.ingress_burst).unwrap_or_default();
    } else {
        out.ingress_rate = annotated(annotations, "ingress")?;
    }
    if let Some(rate) = runtime.and_then(|it| given(it.egress_rate)) {
        out.egress_rate = rate;
        out.egress_burst = runtime.and_then(|it| it.egress_burst).unwrap_or_default();
    } else {
        out.egress_rate = annotated(annotations, "egress")?;
    }
    Ok((out != Bandwidth::default()).then_some(out))
}

fn annotated(annotations: &BTreeMap<String, String>, direction: &str) -> Result<u64, CniError> {
    for (prefix, bits) in [("kubernetes.io", 1), ("k8s.aliyun.com", 8)] {
        let key = format!("{prefix}/{direction}-bandwidth");
        if let Some(text) = annotations.get(&key) {
            return quantity(text).and_then(|value| value.checked_mul(bits)).ok_or_else(|| {
                CniError::new(
                    Cause::PodAnnotation,
                    format!("annotation {key} has the value {text:?}, which is no rate"),
                    "write a Kubernetes quantity such as 10M, and make the pod again",
                )
            });
        }
    }
    Ok(0)
}

/// Reads a Kubernetes quantity as a whole number, rounding up as Kubernetes does; `None` for anything else, for negative
/// numbers and for what does not fit.
fn quantity(text: &str) -> Option<u64> {
    let text = text.trim();
    let end =
        text.find(|c: char| !c.is_ascii_digit() && c != '.' && c != '+').unwrap_or(text.len());
    let (number, suffix) = text.split_at_checked(end)?;
    let number = number.strip_prefix('+').unwrap_or(number);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || number.contains('+') || fraction.contains('.') {
        return None;
    }
    let (base, power) = suffix_factor(suffix)?;
    // value = digits · base^power / 10^scale, in integers: floats would lose bits of large rates.
    let digits: u128 = format!("{whole}{fraction}").parse().ok()?;
    let scale = u32::try_from(fraction.len()).ok()?;
    let mut up = digits;
    let mut down = 10u128.checked_pow(scale)?;
    if power >= 0 {
        up = up.checked_mul(base.checked_pow(power.unsigned_abs())?)?;
    } else {
        down = down.checked_mul(base.checked_pow(power.unsigned_abs())?)?;
    }
    u64::try_from(up.div_ceil(down)).ok()
}

/// Base and power of a suffix (apimachinery `resource.Quantity`).
fn suffix_factor(suffix: &str) -> Option<(u128, i32)> {
    Some(match suffix {
        "n" => (10, -9),
        "u" => (10, -6),
        "m" => (10, -3),
        "" => (10, 0),
        "k" => (10, 3),
        "M" => (10, 6),
        "G" => (10, 9),
        "T" => (10, 12),
        "P" => (10, 15),
        "E" => (10, 18),
        "Ki" => (2, 10),
        "Mi" => (2, 20),
        "Gi" => (2, 30),
        "Ti" => (2, 40),
        "Pi" => (2, 50),
        "Ei" => (2, 60),
        _ => {
            let exponent = suffix.strip_prefix(['e', 'E'])?;
            (10, exponent.parse().ok().filter(|power| (-18..=18).contains(power))?)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_read_as_kubernetes_reads_them() {
        for (text, value) in [
            ("10M", 10_000_000),
            ("1Gi", 1 << 30),
            ("1.5k", 1500),
            ("100", 100),
            ("1e3", 1000),
            ("1E3", 1000),
            ("2E", 2_000_000_000_000_000_000),
            ("0.5", 1),
            ("1m", 1),
            ("+5", 5),
            (".5k", 500),
        ] {
            assert_eq!(quantity(text), Some(value), "{text}");
        }
        for text in ["", "M", "-1", "10Mbit", "10 M", "1.2.3", ".", "1e", "1e99", "20E", "٣", "++1"]
        {
            assert_eq!(quantity(text), None, "{text:?}");
        }
    }

    #[test]
    fn aliyun_annotations_count_bytes_and_the_runtime_comes_first() {
        let annotations: BTreeMap<String, String> = [
            ("k8s.aliyun.com/ingress-bandwidth", "10M"),
            ("k8s.aliyun.com/egress-bandwidth", "1M"),
            ("kubernetes.io/egress-bandwidth", "20M"),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into();
        let alone = of(None, &annotations).unwrap().unwrap();
        assert_eq!((alone.ingress_rate, alone.egress_rate), (80_000_000, 20_000_000));
        let runtime = RuntimeBandwidth {
            ingress_rate: Some(7),
            ingress_burst: Some(u64::from(u32::MAX)),
            egress_rate: Some(0),
            egress_burst: Some(0),
        };
        let both = of(Some(&runtime), &annotations).unwrap().unwrap();
        assert_eq!((both.ingress_rate, both.ingress_burst), (7, u64::from(u32::MAX)));
        assert_eq!((both.egress_rate, both.egress_burst), (20_000_000, 0));
    }

    #[test]
    fn a_pod_without_limits_has_none_and_a_wrong_rate_is_named() {
        assert_eq!(of(None, &BTreeMap::new()).unwrap(), None);
        let wrong = [("kubernetes.io/ingress-bandwidth".to_owned(), "fast".to_owned())].into();
        let error = of(None, &wrong).unwrap_err();
        assert_eq!(error.code, Cause::PodAnnotation.code());
        assert!(error.msg.contains("kubernetes.io/ingress-bandwidth"), "{error}");
    }
}
