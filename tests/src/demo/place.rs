//! Where a run stands: its directory is claimed, planned, and in the end cleaned of everything that the run made.

use std::{fs, io::Write as _, path::Path};

use anyhow::{Context as _, Result, bail};

use super::{binaries::Binaries, lab_process::LabProcess, report::Report};
use crate::{
    cgroup::Hierarchies,
    cluster::{Plan, tear_down},
    command, image, kubebed,
    process::ProcessId,
    run_dir::RunDir,
};

/// Marks a run that was left up on purpose.
pub(super) const KEPT: &str = "kept";

/// Makes the run directory ours. What a killed run has left is taken down first; a running or kept one is not touched.
pub fn claim(report: &Report, dir: &RunDir) -> Result<()> {
    let owner = dir.state().join("owner");
    if dir.exists() {
        let running = fs::read_to_string(&owner)
            .ok()
            .and_then(|text| text.parse::<ProcessId>().ok())
            .is_some_and(ProcessId::runs);
        if running || dir.state().join(KEPT).exists() {
            bail!(
                "a demo is already up; remedy: make demo-down (or {} for another place)",
                crate::run_dir::DIR_VARIABLE
            );
        }
        report.step("taking down what an earlier run has left");
        let problems = clean_up(report, dir, None);
        if !problems.is_empty() {
            bail!("an earlier run could not be taken down: {}", problems.join("; "));
        }
    }
    dir.create()?;
    let own = ProcessId::of(i32::try_from(std::process::id())?)?.to_string();
    // Of two that come at once one loses here.
    let mut file = fs::File::create_new(owner).context("a demo is just being started")?;
    file.write_all(own.as_bytes())?;
    Ok(())
}

/// The demo's cluster: one control plane, two workers, the scheduler without its extender.
pub fn plan(
    dir: &RunDir,
    lab: &LabProcess,
    binaries: &Binaries,
    hierarchies: Hierarchies,
) -> Result<Plan> {
    let busybox = command::find_program("busybox").context("busybox is not installed")?;
    let image = dir.store().join("image.tar");
    image::build(&image, &busybox, &binaries.probe)?;
    Ok(Plan {
        lab: lab.description()?,
        control: "cp".into(),
        workers: vec!["n1".into(), "n2".into()],
        image,
        cni_plugins: vec![binaries.cni.clone()],
        kubebed: kubebed::binary()?,
        extender: None,
        hierarchies,
    })
}

/// Ends everything of a run. The lab goes last: the nodes live in its namespaces. The logs
/// are kept in the directory that is named; what cannot be undone is the answer.
pub fn clean_up(report: &Report, dir: &RunDir, keep: Option<&Path>) -> Vec<String> {
    report.step("cleaning up");
    let mut problems = tear_down(dir);
    if let Some(lab) = LabProcess::recorded(dir) {
        problems.extend(lab.down().err().map(|e| format!("{e:#}")));
    }
    if let Some(keep) = keep {
        match keep_logs(dir, keep) {
            Ok(()) => report.print(&format!("logs are kept in {}", keep.display())),
            Err(error) => report.print(&format!("logs could not be kept: {error:#}")),
        }
    }
    if problems.is_empty() {
        problems.extend(dir.remove().err().map(|e| format!("{e:#}")));
    }
    problems
}

fn keep_logs(dir: &RunDir, kept: &Path) -> Result<()> {
    if kept.exists() {
        fs::remove_dir_all(kept)?;
    }
    fs::create_dir_all(kept)?;
    for log in fs::read_dir(dir.logs())? {
        let log = log?;
        fs::copy(log.path(), kept.join(log.file_name()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_demo_that_is_up_or_kept_is_left_alone_and_the_remains_of_a_killed_one_are_not() {
        let temporary = tempfile::tempdir().unwrap();
        let dir = RunDir::at(temporary.path());
        let report = Report::start();
        claim(&report, &dir).unwrap();
        let error = claim(&report, &dir).unwrap_err().to_string();
        assert!(error.contains("already up"), "{error}");
        fs::write(dir.state().join("owner"), "1 1").unwrap();
        fs::write(dir.state().join(KEPT), "").unwrap();
        claim(&report, &dir).unwrap_err();
        assert!(dir.exists());
        fs::remove_file(dir.state().join(KEPT)).unwrap();
        claim(&report, &dir).unwrap();
    }
}
