//! `tideway lab` is the lab's own program.

use std::process::{Command, Output};

use anyhow::{Result, ensure};
use tideway_node_tests::{netns::said, programs};

fn lab(words: &[&str]) -> Result<Output> {
    Ok(Command::new(programs::cli()?).arg("lab").args(words).output()?)
}

#[test]
fn tideway_lab_is_the_lab_beside_it_with_its_output_and_its_exit_status() {
    let compared = || -> Result<()> {
        for words in [&["types"][..], &["--help"], &["no-such-word"]] {
            let own = Command::new(programs::lab()?).args(words).output()?;
            let ours = lab(words)?;
            ensure!(ours == own, "{words:?}: {} instead of {}", said(&ours), said(&own));
        }
        ensure!(said(&lab(&["types"])?).contains("ecs.g7.large"));
        ensure!(!lab(&["no-such-word"])?.status.success());
        Ok(())
    };
    compared().unwrap();
}
