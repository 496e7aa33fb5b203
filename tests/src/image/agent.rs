//! The agent's image as `docs/install.md` describes it, from this machine's programs: `tidewayd`, `tideway`, the plugin,
//! and `nft` with the libraries that it needs. Busybox stands for the distribution's shell tools.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};

use super::{Layer, archive};
use crate::{command, demo::binaries::Binaries};

/// Name in the manifests, as the runtime completes it.
pub const AGENT_IMAGE: &str = "docker.io/library/tideway:0.1.0";

/// What the manifests and the document call in the image.
const APPLETS: [&str; 5] = ["sh", "cp", "mv", "rm", "sleep"];

/// Writes the archive to `out`. The debug programs go in without symbols where `strip` is installed: the image is copied
/// for every container. The plugin is as it is installed.
pub fn build(out: &Path, busybox: &Path, binaries: &Binaries) -> Result<()> {
    let nft = command::find_program("nft").context("nft is not installed")?;
    let stripped = out.with_extension("stripped");
    let ours = [("tidewayd", &binaries.daemon), ("tideway", &binaries.cli)];
    let mut layer = Layer::new(busybox, &APPLETS)?;
    for dir in ["usr", "usr/local", "usr/local/bin", "usr/sbin", "var", "opt"] {
        layer.tar.directory(dir)?;
    }
    // The runtime names pods' namespaces below /var/run.
    layer.tar.symlink("var/run", "/run")?;
    for (name, program) in ours {
        let mut strip = command::line("strip", ["-o"]);
        strip.arg(&stripped).arg(program);
        let small = command::run(&mut strip).is_ok();
        layer.file(&format!("usr/local/bin/{name}"), if small { &stripped } else { program })?;
    }
    drop(std::fs::remove_file(&stripped));
    layer.file("usr/local/bin/tideway-cni", &binaries.cni)?;
    layer.file("usr/sbin/nft", &nft)?;
    let mut libraries = BTreeSet::new();
    for program in [&nft, &binaries.daemon, &binaries.cli] {
        libraries.extend(libraries_of(program)?);
    }
    let parents = |library: &Path| -> Vec<PathBuf> {
        library.ancestors().skip(1).map(Path::to_path_buf).collect()
    };
    let dirs: BTreeSet<PathBuf> = libraries.iter().flat_map(|l| parents(l)).collect();
    for dir in dirs.iter().filter_map(|d| d.to_str()).map(|d| d.trim_start_matches('/')) {
        if !dir.is_empty() && dir != "usr" {
            layer.tar.directory(dir)?;
        }
    }
    for library in &libraries {
        let name = library.to_string_lossy();
        layer.file(name.trim_start_matches('/'), library)?;
    }
    archive(out, &[AGENT_IMAGE], "/usr/local/bin:/usr/sbin:/bin", layer)
}

/// Shared libraries of a program and its loader.
fn libraries_of(program: &Path) -> Result<Vec<PathBuf>> {
    let said = command::run(command::line("ldd", [program]).env("LC_ALL", "C"))?;
    let found = libraries(&said);
    ensure!(!found.is_empty(), "{}: no libraries in {said}", program.display());
    Ok(found)
}

/// Paths in the output of `ldd(1)`: `NAME => PATH (ADDRESS)`, or `PATH (ADDRESS)` for the loader.
fn libraries(said: &str) -> Vec<PathBuf> {
    let path = |line: &str| {
        let path = line.split_once("=>").map_or(line, |(_, path)| path);
        path.trim().split(' ').next().filter(|p| p.starts_with('/')).map(PathBuf::from)
    };
    said.lines().filter_map(path).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_and_the_loader_are_found_and_the_kernels_own_is_not() {
        let said = "\tlinux-vdso.so.1 (0x00007fa5)\n\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007fa5)\n\
                    \t/lib64/ld-linux-x86-64.so.2 (0x00007fa5)\n";
        let wanted = ["/lib/x86_64-linux-gnu/libc.so.6", "/lib64/ld-linux-x86-64.so.2"];
        assert_eq!(libraries(said), wanted.map(PathBuf::from));
        assert!(libraries("\tstatically linked\n").is_empty());
    }
}
