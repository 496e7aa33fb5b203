//! A file system that is full, read-only or broken when a test wants it to be.

use std::{
    ffi::OsString,
    fs::{self, File},
    io::{self, Write as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use nix::mount::{MntFlags, MsFlags, mount, umount2};

/// A small mounted file system, tmpfs unless told otherwise; unmounted on drop. Needs root.
#[derive(Debug)]
pub struct TinyDisk {
    dir: tempfile::TempDir,
    /// None: it is in memory only.
    image: Option<tempfile::TempPath>,
}

/// Size of a disk of ext4, in bytes: a journal takes some MiB.
const EXT4: u64 = 16 << 20;

fn run(program: &str, words: &[&str]) -> io::Result<()> {
    let out = Command::new(program).args(words).output()?;
    if out.status.success() {
        return Ok(());
    }
    Err(io::Error::other(format!("{program}: {}", String::from_utf8_lossy(&out.stderr).trim())))
}

fn text(path: &Path) -> io::Result<&str> {
    path.to_str().ok_or_else(|| io::ErrorKind::InvalidFilename.into())
}

impl TinyDisk {
    /// A disk that holds `kib` KiB of file content (at least one page).
    pub fn mount(kib: u32) -> io::Result<Self> {
        let dir = tempfile::tempdir()?;
        let size = format!("size={kib}k,mode=0700");
        mount(Some("tiny"), dir.path(), Some("tmpfs"), MsFlags::empty(), Some(size.as_str()))?;
        Ok(Self { dir, image: None })
    }

    /// A disk of ext4, which can break under a file that is open: see [`Self::fails`]. An error where there is no `mkfs.ext4`
    /// or no loop device.
    pub fn ext4() -> io::Result<Self> {
        let (dir, image) = (tempfile::tempdir()?, tempfile::NamedTempFile::new()?);
        image.as_file().set_len(EXT4)?;
        let image = image.into_temp_path();
        // Without a journal of its own there is room for ours.
        run("mkfs.ext4", &["-q", "-O", "^has_journal", text(&image)?])?;
        let disk = Self { dir, image: Some(image) };
        disk.mount_image()?;
        Ok(disk)
    }

    fn mount_image(&self) -> io::Result<()> {
        let image = self.image.as_deref().ok_or(io::ErrorKind::Unsupported)?;
        let options = "loop,errors=remount-ro";
        run("mount", &["-t", "ext4", "-o", options, text(image)?, text(self.path())?])
    }

    /// Name of the block device below, for instance `loop0`.
    fn device(&self) -> io::Result<OsString> {
        let device = fs::metadata(self.path())?.dev();
        let (major, minor) = (nix::sys::stat::major(device), nix::sys::stat::minor(device));
        let block = fs::canonicalize(format!("/sys/dev/block/{major}:{minor}"))?;
        Ok(block.file_name().ok_or(io::ErrorKind::NotFound)?.to_owned())
    }

    /// The kernel finds the file system (of [`Self::ext4`]) damaged, and writes nothing to it any more.
    pub fn fails(&self) -> io::Result<()> {
        let knobs = Path::new("/sys/fs/ext4").join(self.device()?);
        fs::write(knobs.join("trigger_fs_error"), "1")
    }

    /// Takes the failed one away and mounts a repaired copy in its place. Fails while somebody has a file of it open.
    ///
    /// A copy of what the kernel sees: every mount namespace that was made meanwhile (of a node of another test, say) has the
    /// mount too. The file system then lives on, and what it did not write yet is not in the image.
    pub fn repair(&self) -> io::Result<()> {
        let image = self.image.as_deref().ok_or(io::ErrorKind::Unsupported)?;
        let mut seen = File::open(Path::new("/dev").join(self.device()?))?;
        let mut repaired = tempfile::NamedTempFile::new()?;
        io::copy(&mut seen, &mut repaired)?;
        drop(seen);
        let repaired = repaired.into_temp_path();
        umount2(self.path(), MntFlags::empty())?;
        let out = Command::new("e2fsck").args(["-f", "-y", text(&repaired)?]).output()?;
        // 1: errors were corrected.
        if !matches!(out.status.code(), Some(0 | 1)) {
            let said = String::from_utf8_lossy(&out.stdout);
            return Err(io::Error::other(format!("e2fsck: {}: {said}", out.status)));
        }
        repaired.persist(image)?;
        self.mount_image()
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
        fs::remove_file(self.ballast())
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
