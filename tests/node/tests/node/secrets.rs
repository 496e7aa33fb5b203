//! Secrets stay secret, whatever the cloud says and however much the daemon talks.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, bail, ensure};
use tideway_lab::{FaultKind, FaultSpec};
use tideway_node_tests::{Bed, Pod, Setup};

use crate::run::run_on_both;

/// What nobody may read: secrets, security tokens and signatures, as the lab received them; and ids of keys in full.
fn secrets(bed: &Bed) -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    for request in bed.lab.api()?.requests() {
        found.insert(request.access_key_id);
        found.insert(request.access_key_secret);
        let named = request.headers.iter().map(|(name, value)| (name.to_ascii_lowercase(), value));
        for (name, value) in named {
            match name.as_str() {
                "x-acs-security-token" | "x-amz-security-token" => {
                    found.insert(value.clone());
                }
                "authorization" => {
                    let signature = value.rsplit_once("Signature=").context("no signature")?.1;
                    found.insert(signature.to_owned());
                }
                _ => {}
            }
        }
    }
    Ok(found)
}

#[test]
fn no_secret_is_told_by_log_errors_status_or_metrics_even_when_the_cloud_repeats_it() {
    let setup = Setup::default().cold().pool("addTimeoutSeconds", 3);
    run_on_both(&setup, |bed| {
        bed.node_mut(0)?.env.push(("TIDEWAY_LOG", "trace".into()));
        // The cloud refuses by repeating all that it was sent.
        for action in ["DescribeNetworkInterfaces", "CreateNetworkInterface"] {
            bed.lab.fault(FaultSpec::new(FaultKind::Echo).on(action).times(2))?;
        }
        let attach = bed.lab.fault(FaultSpec::new(FaultKind::Echo).on("AttachNetworkInterface"))?;
        bed.node_mut(0)?.start()?;
        let here = bed.node(0)?;
        let pod = Pod::new("p")?;
        // Of what the cloud was sent.
        let mut told = here.add_is_told(&pod, &["SignatureDoesNotMatch"])?;
        for words in [&["status"][..], &["status", "-o", "json"], &["pod", "default/p"]] {
            told.push_str(&here.tideway(words)?);
        }
        told.extend([format!("{:?}", here.show()?), here.metrics()?]);
        bed.lab.clear(attach)?;
        // Tokens of the metadata service, keys that are renewed, and everything else on the way to a warm pool.
        bed.node_mut(0)?.restart()?;
        bed.node(0)?.warm()?;
        told.push_str(&bed.node(0)?.log());
        ensure!(told.contains("TRACE"), "the daemon did not talk much");
        let kept = secrets(bed)?;
        ensure!(kept.len() > 10, "{} secrets", kept.len());
        for secret in &kept {
            if let Some(line) = told.lines().find(|line| line.contains(secret)) {
                bail!("told in {line}");
            }
        }
        Ok(())
    });
}
