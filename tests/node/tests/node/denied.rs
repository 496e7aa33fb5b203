//! A role that lacks permissions.

use anyhow::{Context as _, Result, ensure};
use tideway_lab::{CloudKind, FaultKind, FaultSpec};
use tideway_node_tests::{Bed, Pod, Setup, cni::Call, wait::s};

use crate::run::run_on_both;

const ATTACH: &str = "AttachNetworkInterface";

/// Calls of an action that were refused.
fn refusals(bed: &Bed, action: &str) -> Result<u64> {
    let calls = bed.lab.api()?.calls();
    Ok(calls.iter().filter(|c| c.action == action && c.outcome != "OK").map(|c| c.calls).sum())
}

#[test]
fn a_missing_permission_is_named_once_with_its_resource_and_not_asked_for_again_and_again() {
    run_on_both(&Setup::default().cold().pool("addTimeoutSeconds", 3), |bed| {
        bed.lab.fault(FaultSpec::new(FaultKind::Deny).on(ATTACH))?;
        bed.node_mut(0)?.start()?;
        let (pod, cloud) = (Pod::new("p")?, bed.lab.api()?.description().cloud);
        bed.node(0)?.add_is_told(&pod, &["[denied]"])?;
        for _ in 0..2 {
            let text = bed.node(0)?.cni("ADD", &pod, &Call::default())?.fails_with(11)?;
            let eni = bed.lab.secondary_enis()?.first().cloned().context("no ENI")?;
            let missing = match cloud {
                CloudKind::Aliyun => format!("ecs:{ATTACH} on acs:ecs:cn-hangzhou:*:eni/{eni}"),
                CloudKind::Aws => format!("ec2:{ATTACH} on arn:aws:ec2:"),
            };
            ensure!(
                text.contains(&missing) && text.contains(&eni) && text.contains("[denied]"),
                "{text}"
            );
        }
        let here = bed.node(0)?;
        let shown = here.show()?;
        let error = shown.cloud_errors.iter().find(|e| e.action == ATTACH);
        let error = error.context("status does not show the refusal")?;
        ensure!(error.remedy.contains(&format!(":{ATTACH} on a")), "{error:?}");
        // Whatever was asked meanwhile: one question, one line.
        ensure!(refusals(bed, ATTACH)? == 1, "{} questions", refusals(bed, ATTACH)?);
        let log = here.log();
        let lines = log.lines().filter(|l| l.contains(ATTACH) && !l.contains("ADD")).count();
        ensure!(lines == 1, "told {lines} times");
        bed.lab.clear_all()?;
        // A restart asks at once.
        bed.node_mut(0)?.restart()?;
        let here = bed.node(0)?;
        here.add_patiently(&pod, s(60))?;
        pod.reaches(bed.target()?)?;
        here.del(&pod)
    });
}
