//! A file system that is full when a test wants it to be.

use std::{io, path::Path};

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
}

impl Drop for TinyDisk {
    fn drop(&mut self) {
        umount2(self.dir.path(), MntFlags::MNT_DETACH).unwrap_or_default();
    }
}
