//! Chores of the repository. `cargo run -p xtask -- arrows` checks that dependencies point downwards only; `crds` writes the
//! custom resource definitions in the manifests, `crds --check` fails when they are not what the types say; `errors` does the
//! same with the catalogue of causes in `docs/errors.md`, `policies` with the least policies of the daemon's role; `unseen`
//! looks for tests where cargo was told that there are none.

mod arrows;
mod crds;
mod errors;
mod policies;
mod unseen;

use std::{path::PathBuf, process::ExitCode};

use anyhow::Context as _;

/// The repository, found from where the chore was called: another checkout may have filled the same build directory.
fn root() -> anyhow::Result<PathBuf> {
    let metadata = cargo_metadata::MetadataCommand::new().no_deps().exec();
    Ok(metadata.context("cargo metadata failed")?.workspace_root.into())
}

#[expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line tool speaks to its caller"
)]
fn main() -> ExitCode {
    let verb = std::env::args().nth(1).unwrap_or_default();
    let result = match verb.as_str() {
        "arrows" => arrows::check(),
        "crds" => crds::crds(std::env::args().nth(2).as_deref() == Some("--check")),
        "errors" => errors::errors(std::env::args().nth(2).as_deref() == Some("--check")),
        "policies" => policies::policies(std::env::args().nth(2).as_deref() == Some("--check")),
        "unseen" => unseen::check(),
        other => Err(anyhow::anyhow!(
            "unknown chore {other:?}; there are: arrows, crds [--check], errors [--check], policies [--check], unseen"
        )),
    };
    match result {
        Ok(report) => {
            println!("{report}");
            ExitCode::SUCCESS
        }
        Err(e) => {
            eprintln!("xtask: {e:#}");
            ExitCode::FAILURE
        }
    }
}
