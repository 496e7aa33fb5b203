//! Everything that the machine lacks, in one message, before anything is touched.

use std::path::Path;
use std::process::{Command, Stdio};

use super::FabricError;

/// Checks for root, the tools and `IPv6`. What only a try can tell (nftables expressions) comes out in router.rs.
pub(super) fn check() -> Result<(), FabricError> {
    let mut problems = Vec::new();
    if !nix::unistd::geteuid().is_root() {
        problems.push("network namespaces need root: run it with sudo".to_owned());
    }
    for (tool, version, package) in
        [("ip", "-V", "iproute2"), ("tc", "-V", "iproute2"), ("nft", "--version", "nftables")]
    {
        if !runs(tool, version) {
            problems.push(format!("the program `{tool}` is missing: apt-get install {package}"));
        }
    }
    for (file, lack) in [
        ("/proc/self/ns/net", "the kernel has no network namespaces (CONFIG_NET_NS)"),
        ("/proc/sys/net/ipv6", "the kernel has no IPv6: boot without ipv6.disable=1"),
    ] {
        if !Path::new(file).exists() {
            problems.push(lack.to_owned());
        }
    }
    if problems.is_empty() { Ok(()) } else { Err(FabricError::Unsupported { problems }) }
}

fn runs(tool: &str, version: &str) -> bool {
    let silent =
        Command::new(tool).arg(version).stdout(Stdio::null()).stderr(Stdio::null()).status();
    silent.is_ok_and(|status| status.success())
}
