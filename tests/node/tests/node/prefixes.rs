//! Addresses in prefixes, on a whole node.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use serde_json::json;
use tideway_node_tests::{Pod, Setup, node, wait::s};
use tideway_proto::node::ShowReply;

use crate::run::run_on_both;

const PODS: usize = 40;

fn prefixes(shown: &ShowReply, family: &str) -> usize {
    let all = shown.enis.iter().flat_map(|eni| &eni.prefixes);
    all.filter(|prefix| prefix.ends_with(family)).count()
}

/// ENIs of five addresses: single ones would need eight ENIs and more calls than that.
#[test]
fn a_node_fills_up_with_prefixes_and_gives_them_back_when_its_pods_have_gone() {
    run_on_both(&Setup::default().dual().cold().sized(3, 5).pool("addTimeoutSeconds", 60), |bed| {
        let target = bed.target()?;
        let here = bed.node_mut(0)?;
        here.config["pool"]["prefixMode"] = json!("preferred");
        here.start()?;
        let pods: Vec<Pod> =
            (0..PODS).map(|n| Pod::new(&format!("p{n}"))).collect::<Result<_>>()?;
        let mut seen = BTreeSet::new();
        for answer in here.add_all(&pods)? {
            for ip in answer.ips()? {
                ensure!(seen.insert(ip), "{ip} was given twice");
            }
        }
        ensure!(seen.len() == 2 * PODS);
        let shown = here.show()?;
        ensure!(shown.enis.len() == 1, "{}", node::brief(&shown));
        ensure!((2..=4).contains(&prefixes(&shown, "/28")), "{}", node::brief(&shown));
        ensure!(prefixes(&shown, "/80") == 1, "{}", node::brief(&shown));
        for pod in pods.iter().step_by(8) {
            pod.reaches(target)?;
        }
        let (last, others) = pods.split_last().unwrap();
        for pod in others {
            here.del(pod)?;
        }
        // One prefix has a pod, the others rest or are on their way back.
        let here = bed.node_mut(0)?;
        here.kill()?;
        here.start()?;
        let few = |shown: &ShowReply| prefixes(shown, "/28") <= 2;
        here.until_shown("empty prefixes went back", s(40), few)?;
        last.reaches(target)?;
        let beside = Pod::new("beside")?;
        here.add(&beside)?;
        beside.reaches(target)?;
        here.del(&beside)?;
        here.del(last)?;
        here.until_shown("one is enough", s(40), |shown| prefixes(shown, "/28") == 1)?;
        let calls = bed.lab.successes("AssignPrivateIpAddresses")?;
        ensure!(calls <= 3, "{calls} calls for addresses");
        Ok(())
    });
}
