//! A role that lacks permissions.

use std::{fs, path::Path};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tideway_lab::{FaultKind, FaultSpec};
use tideway_node_tests::{Bed, Pod, Setup, cni::Call, netns, node, wait::s};

use crate::run::run;

const ATTACH: &str = "AttachNetworkInterface";

/// Calls of an action that were refused.
fn refusals(bed: &Bed, action: &str) -> Result<u64> {
    let calls = bed.lab.api()?.calls();
    Ok(calls.iter().filter(|c| c.action == action && c.outcome != "OK").map(|c| c.calls).sum())
}

#[test]
fn a_missing_permission_is_named_once_with_its_resource_and_not_asked_for_again_and_again() {
    run(Setup::default().cold().pool("addTimeoutSeconds", 3), |bed| {
        bed.lab.fault(FaultSpec::new(FaultKind::Deny).on(ATTACH))?;
        bed.node_mut(0)?.start()?;
        let pod = Pod::new("p")?;
        for _ in 0..3 {
            let text = bed.node(0)?.cni("ADD", &pod, &Call::default())?.fails_with(11)?;
            let eni = bed.lab.secondary_enis()?.first().cloned().context("no ENI")?;
            let missing = format!(":{ATTACH} on acs:ecs:cn-hangzhou:*:eni/{eni}");
            ensure!(text.contains(&missing) && text.contains("[denied]"), "{text}");
        }
        let here = bed.node(0)?;
        let shown = here.show()?;
        let error = shown.cloud_errors.iter().find(|e| e.action == ATTACH);
        let error = error.context("status does not show the refusal")?;
        ensure!(error.remedy.contains("ecs:AttachNetworkInterface on acs:"), "{error:?}");
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

/// The policy that people give to the role; nothing else is allowed.
fn policy() -> Result<FaultSpec> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../manifests/policies/ram.json");
    let policy: Value = serde_json::from_slice(&fs::read(path)?)?;
    let actions = policy.pointer("/Statement/0/Action").and_then(Value::as_array);
    let names = actions.context("no actions")?.iter().filter_map(Value::as_str);
    let except = names.filter_map(|it| it.split_once(':')).map(|(_, name)| name.to_owned());
    Ok(FaultSpec { except: except.collect(), ..FaultSpec::new(FaultKind::Deny) })
}

#[test]
fn a_node_lives_its_whole_life_with_the_policy_of_the_manifests_and_nothing_more() {
    run(Setup::default().dual().devices().cold().pool("low", 1).pool("high", 2), |bed| {
        bed.lab.fault(policy()?)?;
        bed.node_mut(0)?.start()?;
        bed.node(0)?.warm()?;
        let here = bed.node(0)?;
        let pods: Vec<Pod> = (0..5).map(|n| Pod::new(&format!("p{n}"))).collect::<Result<_>>()?;
        for answer in here.add_all(&pods)? {
            answer.success()?;
        }
        for pod in &pods {
            here.del(pod)?;
        }
        here.until_shown("the surplus is gone", s(40), |shown| node::free(shown) == 2)?;
        bed.node_mut(0)?.stop()?;
        let left = bed.node(0)?.run_to_end(&["uninstall"])?;
        ensure!(left.status.success(), "{}", netns::said(&left));
        let calls = bed.lab.api()?.calls();
        let refused: Vec<_> = calls.iter().filter(|c| c.outcome == "Forbidden.RAM").collect();
        ensure!(refused.is_empty(), "{refused:?}");
        Ok(())
    });
}
