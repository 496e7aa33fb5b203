//! A file system that is full, or read-only, when a test wants it to be.

use std::{
    fs::File,
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use nix::mount::{MntFlags, MsFlags, mount, umount2};

/// A mounted tmpfs of a few pages; unmounted on drop. Needs root.
#[derive(Debug)]
pub struct TinyDisk {
    dir: tempfile::TempDir,
}

impl TinyDisk {
    /// A disk that holds `kib` KiB of file content (at least one page).
    pub fn mount(kib: u32) -> io::Result<Self> {
        let dir = tempfile::tempdir()?;
        let size = format!("size={kib}k,mode=0700");
        mount(Some("tiny"), dir.path(), Some("tmpfs"), MsFlags::empty(), Some(size.as_str()))?;
        Ok(Self { dir })
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    fn ballast(&self) -> PathBuf {
        self.path().join("ballast")
    }

    /// Takes all the room that is left.
    pub fn fill(&self) -> io::Result<()> {
        let mut file = File::create(self.ballast())?;
        loop {
            match file.write_all(&[0; 4096]) {
                Err(e) if e.kind() == io::ErrorKind::StorageFull => return Ok(()),
                other => other?,
            }
        }
    }

    /// Gives that room back.
    pub fn free(&self) -> io::Result<()> {
        std::fs::remove_file(self.ballast())
    }

    /// Makes it read-only, or writable again. Fails while somebody has a file open for writing.
    pub fn read_only(&self, yes: bool) -> io::Result<()> {
        let how = if yes { MsFlags::MS_RDONLY } else { MsFlags::empty() };
        let none = None::<&str>;
        Ok(mount(none, self.path(), none, MsFlags::MS_REMOUNT | how, none)?)
    }
}

impl Drop for TinyDisk {
    fn drop(&mut self) {
        umount2(self.dir.path(), MntFlags::MNT_DETACH).unwrap_or_default();
    }
}
