//! Release tickets: what a DEL leaves behind when the daemon is away.
//!
//! One file for each (container, interface). It is complete or absent: written under a temporary name that starts with a
//! dot, synced, renamed, and the directory synced too, so that a power cut after our success loses nothing. A second DEL
//! replaces the first one's ticket by an equal one. The daemon reads the content, never the name, and skips dot files.

use std::{
    fs::{DirBuilder, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use tideway_model::{Cause, ContainerId, IfName, UnixMillis};

use crate::CniError;

/// Longest part of the container id in a file name: with interface, digest and prefix it stays below `NAME_MAX` (255).
const NAME_PART: usize = 160;

/// Content of a ticket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ticket {
    /// `CNI_CONTAINERID`.
    pub container_id: ContainerId,
    /// `CNI_IFNAME`.
    pub ifname: IfName,
    /// When the DEL came, wall time.
    pub unix_millis: UnixMillis,
}

impl Ticket {
    /// Name of the file: the same for the same release. Ids and interface names hold no slash and ids start with no dot
    /// (checked types), so the name stays inside the directory and is no dot file.
    pub fn file_name(&self) -> String {
        let id = self.container_id.as_str();
        let part = match id.get(..NAME_PART) {
            Some(head) if id.len() > NAME_PART => format!("{head}~{:016x}", fnv(id.as_bytes())),
            _ => id.to_owned(),
        };
        format!("{part}@{}.json", self.ifname)
    }

    /// Writes the ticket durably into `dir`, making the directory if need be.
    pub fn write(&self, dir: &Path) -> Result<PathBuf, CniError> {
        self.write_io(dir).map_err(|error| {
            CniError::new(
                Cause::NodeIo,
                format!("the release could not be noted in {}: {error}", dir.display()),
                "tidewayd did not take the release and the ticket cannot be written: start tidewayd, or make room and \
                 the directory writable; the runtime repeats the DEL",
            )
        })
    }

    fn write_io(&self, dir: &Path) -> io::Result<PathBuf> {
        DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        let name = self.file_name();
        let target = dir.join(&name);
        let temporary = dir.join(format!(".{}-{name}", std::process::id()));
        let written =
            self.write_file(&temporary).and_then(|()| std::fs::rename(&temporary, &target));
        if let Err(error) = written {
            // What is left of a full disk is of no use; if this fails too, the daemon skips dot files.
            drop(std::fs::remove_file(&temporary));
            return Err(error);
        }
        File::open(dir)?.sync_all()?;
        Ok(target)
    }

    fn write_file(&self, path: &Path) -> io::Result<()> {
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
        file.write_all(&serde_json::to_vec(self)?)?;
        file.sync_all()
    }
}

/// FNV-1a, 64 bits: tells long ids apart; no defence is needed, since only root writes here.
fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}
