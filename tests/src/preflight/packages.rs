//! Debian packages: one script knows which program comes from which package and installs what is missing; `make` runs it
//! before it builds, we run the same one again, since a demo binary may be used without `make`.

use anyhow::{Result, bail};

use crate::command;

/// Installs what is missing, or fails with the script's one message.
pub fn ensure() -> Result<()> {
    let mut script = command::line("bash", ["-s"]);
    let output = command::output(&mut script, Some(include_bytes!("../../machine.sh")))?;
    if output.status.success() {
        return Ok(());
    }
    bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
}
