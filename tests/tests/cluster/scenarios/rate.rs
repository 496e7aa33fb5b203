//! Rate limits as users write them, measured from inside the pods.

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tideway_e2e::{
    at_once::{at_once, task},
    cluster::Kubectl,
    demo::daemons::NODE_PORT,
};

use crate::{bed::Bed, pods::pod, say};

/// A direction: how the probe moves bytes, annotation, bits per second, bytes moved. The rates are so far apart that
/// directions which were mixed up, or no limit at all, show, and the bytes are worth one to two seconds, far above the bucket's burst.
const DIRECTIONS: [(&str, &str, u32, u32); 2] =
    [("fetch", "ingress", 8_000_000, 2_000_000), ("send", "egress", 80_000_000, 10_000_000)];
/// Measured over asked: a busy machine moves less, the burst moves more.
const BOUNDS: std::ops::Range<f64> = 0.3..2.0;

pub(crate) fn bandwidth_annotations_limit_both_directions_of_both_kinds(bed: &Bed) -> Result<()> {
    let [node, other] = bed.nodes();
    let limited = |name: &str, exclusive: bool| {
        let mut pod = pod(name, &node, exclusive);
        for (_, direction, bits, _) in DIRECTIONS {
            let key = format!("kubernetes.io/{direction}-bandwidth");
            pod["metadata"]["annotations"][key] = json!(format!("{}M", bits / 1_000_000));
        }
        pod
    };
    let names = [("shared", false), ("own", true)];
    bed.create(&names.map(|(name, exclusive)| limited(name, exclusive)))?;
    for (name, exclusive) in names {
        let live = bed.live(name, &node)?;
        ensure!((live.mode == "exclusive") == exclusive, "{live:?}");
    }
    // IPv4 and IPv6 pass the same queue; each direction is measured by one of them.
    let kubectl = bed.kubectl()?;
    let instance = other.instance()?;
    let addresses = [instance.ipv4.to_string(), instance.ipv6.to_string()];
    for ((way, direction, bits, bytes), address) in DIRECTIONS.into_iter().zip(&addresses) {
        let measure = |name: &str| -> Result<()> {
            let ratio = measured(&kubectl, name, way, bytes, address)? / f64::from(bits);
            say(&format!("  {name}: {direction} is {ratio:.2} of what was asked"));
            ensure!(BOUNDS.contains(&ratio), "pod {name}: {direction} is {ratio:.2} of the limit");
            Ok(())
        };
        at_once(names.iter().map(|(name, _)| task(move || measure(name))).collect())?;
    }
    Ok(())
}

/// Bits per second as the probe in a pod measures them against the other node.
fn measured(kubectl: &Kubectl, pod: &str, way: &str, bytes: u32, address: &str) -> Result<f64> {
    let bytes = bytes.to_string();
    let program = ["tideway-probe", "move", way, &bytes, address, NODE_PORT];
    let said = kubectl.exec(pod, &program, &[])?;
    let moved: Value = serde_json::from_str(&said).context(said)?;
    let number = |key: &str| moved.get(key).and_then(Value::as_f64).context("no number");
    Ok(number("bytes")? * 8.0 / number("seconds")?)
}
