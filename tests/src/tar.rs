//! A tar archive (POSIX ustar) with what an image layer needs: directories, files, symbolic links.

use std::io::{self, Write};

/// Writes entries into `W`; [`Tar::finish`] ends the archive.
#[derive(Debug)]
pub struct Tar<W> {
    out: W,
}

const BLOCK: usize = 512;

impl<W: Write> Tar<W> {
    /// An empty archive.
    pub fn new(out: W) -> Self {
        Self { out }
    }

    /// A directory, mode 0755.
    pub fn directory(&mut self, name: &str) -> io::Result<()> {
        self.header(name, b'5', 0o755, 0, "")
    }

    /// A regular file.
    pub fn file(&mut self, name: &str, mode: u32, bytes: &[u8]) -> io::Result<()> {
        self.header(name, b'0', mode, bytes.len(), "")?;
        self.out.write_all(bytes)?;
        let rest = bytes.len() % BLOCK;
        if rest > 0 {
            self.out.write_all(&vec![0; BLOCK - rest])?;
        }
        Ok(())
    }

    /// A symbolic link.
    pub fn symlink(&mut self, name: &str, target: &str) -> io::Result<()> {
        self.header(name, b'2', 0o777, 0, target)
    }

    /// Two empty blocks, and the writer back.
    pub fn finish(mut self) -> io::Result<W> {
        self.out.write_all(&[0; 2 * BLOCK])?;
        Ok(self.out)
    }

    fn header(
        &mut self,
        name: &str,
        kind: u8,
        mode: u32,
        size: usize,
        link: &str,
    ) -> io::Result<()> {
        if name.len() > 100 || link.len() > 100 {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "tar: name over 100 bytes"));
        }
        let mut block = Vec::with_capacity(BLOCK);
        let mut field = |bytes: &[u8], width: usize| {
            let end = block.len() + width;
            block.extend_from_slice(bytes);
            block.resize(end, 0);
        };
        field(name.as_bytes(), 100);
        field(format!("{mode:07o}").as_bytes(), 8);
        field(b"0000000", 8); // owner
        field(b"0000000", 8); // group
        field(format!("{size:011o}").as_bytes(), 12);
        field(b"00000000000", 12); // time: images are the same whenever they are built
        field(b"        ", 8); // checksum, spaces while it is computed
        field(&[kind], 1);
        field(link.as_bytes(), 100);
        field(b"ustar\x0000", 8);
        field(b"", BLOCK - 265);
        let sum: u32 = block.iter().map(|b| u32::from(*b)).sum();
        block.splice(148..156, format!("{sum:06o}\0 ").into_bytes());
        self.out.write_all(&block)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_tar_reads_what_we_write() {
        let mut tar = Tar::new(Vec::new());
        tar.directory("bin").unwrap();
        tar.file("bin/x", 0o755, b"hello").unwrap();
        tar.symlink("bin/y", "x").unwrap();
        let bytes = tar.finish().unwrap();
        assert_eq!(bytes.len() % BLOCK, 0);
        let listing =
            crate::command::run_with(&mut crate::command::line("tar", ["-tvf", "-"]), Some(&bytes))
                .unwrap();
        assert!(listing.contains("bin/y -> x"), "{listing}");
        assert!(listing.contains("-rwxr-xr-x"), "{listing}");
    }
}
