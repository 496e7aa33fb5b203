//! The image of the demo's pods, an OCI archive made without a registry: static busybox and the static probe.
//!
//! The same image also serves as the pause container, under a second name.

use std::{fs, path::Path};

use anyhow::{Context as _, Result};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::tar::Tar;

/// Name of the pods' image.
pub const PROBE_IMAGE: &str = "tideway.local/probe:1";
/// Name of the sandbox image.
pub const PAUSE_IMAGE: &str = "tideway.local/pause:1";

const APPLETS: [&str; 12] = [
    "sh",
    "sleep",
    "ls",
    "cat",
    "ip",
    "ping",
    "ps",
    "kill",
    "echo",
    "env",
    "hostname",
    "traceroute",
];

/// Writes the archive to `out`.
pub fn build(out: &Path, busybox: &Path, probe: &Path) -> Result<()> {
    let layer = layer(busybox, probe).context("image layer")?;
    let config = serde_json::to_vec(&json!({
        "architecture": architecture(), "os": "linux",
        "config": {"Env": ["PATH=/bin"], "Cmd": ["/bin/sleep", "2147483647"]},
        "rootfs": {"type": "layers", "diff_ids": [digest(&layer)]},
    }))?;
    let manifest = serde_json::to_vec(&json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest(&config), "size": config.len()},
        "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": digest(&layer), "size": layer.len()}],
    }))?;
    let names = [PROBE_IMAGE, PAUSE_IMAGE].map(|name| {
        json!({
            "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest(&manifest), "size": manifest.len(),
            "annotations": {"io.containerd.image.name": name, "org.opencontainers.image.ref.name": "1"},
            "platform": {"architecture": architecture(), "os": "linux"},
        })
    });
    let index = serde_json::to_vec(&json!({"schemaVersion": 2, "manifests": names}))?;
    let mut tar = Tar::new(Vec::new());
    tar.file("oci-layout", 0o644, br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    tar.file("index.json", 0o644, &index)?;
    for blob in [&config, &layer, &manifest] {
        let name = digest(blob).replace(':', "/");
        tar.file(&format!("blobs/{name}"), 0o644, blob)?;
    }
    fs::write(out, tar.finish()?).with_context(|| format!("cannot write {}", out.display()))
}

fn layer(busybox: &Path, probe: &Path) -> Result<Vec<u8>> {
    let read =
        |path: &Path| fs::read(path).with_context(|| format!("cannot read {}", path.display()));
    let mut tar = Tar::new(Vec::new());
    for dir in ["bin", "etc", "proc", "sys", "dev", "tmp", "root", "var", "run"] {
        tar.directory(dir)?;
    }
    tar.file("etc/passwd", 0o644, b"root:x:0:0:root:/root:/bin/sh\n")?;
    tar.file("bin/busybox", 0o755, &read(busybox)?)?;
    for applet in APPLETS {
        tar.symlink(&format!("bin/{applet}"), "busybox")?;
    }
    tar.file("bin/tideway-probe", 0o755, &read(probe)?)?;
    Ok(tar.finish()?)
}

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

/// Go's name of this machine's architecture.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "aarch64" => "arm64",
        "x86_64" => "amd64",
        other => other,
    }
}
