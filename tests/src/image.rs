//! Images made without a registry, as OCI archives: that of the tests' pods here, the agent's in [`agent`].
//!
//! The pods' image holds static busybox and the static probe; it also serves as the pause container, under a second name.

pub mod agent;

use std::{fs, path::Path};

use anyhow::{Context as _, Result};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::tar::Tar;

/// Name of the pods' image.
pub const PROBE_IMAGE: &str = "tideway.local/probe:1";
/// Name of the sandbox image.
pub const PAUSE_IMAGE: &str = "tideway.local/pause:1";

/// Directories of every image.
const DIRECTORIES: [&str; 8] = ["bin", "etc", "proc", "sys", "dev", "tmp", "root", "run"];
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

/// Writes the archive of the pods' image to `out`.
pub fn build(out: &Path, busybox: &Path, probe: &Path) -> Result<()> {
    let mut layer = Layer::new(busybox, &APPLETS)?;
    layer.tar.directory("var")?;
    layer.file("bin/tideway-probe", probe)?;
    archive(out, &[PROBE_IMAGE, PAUSE_IMAGE], "/bin", layer)
}

/// The files of an image.
#[derive(Debug)]
struct Layer {
    tar: Tar<Vec<u8>>,
}

impl Layer {
    /// The usual directories, and busybox with links for these applets.
    fn new(busybox: &Path, applets: &[&str]) -> Result<Self> {
        let mut layer = Self { tar: Tar::new(Vec::new()) };
        for dir in DIRECTORIES {
            layer.tar.directory(dir)?;
        }
        layer.tar.file("etc/passwd", 0o644, b"root:x:0:0:root:/root:/bin/sh\n")?;
        layer.file("bin/busybox", busybox)?;
        for applet in applets {
            layer.tar.symlink(&format!("bin/{applet}"), "busybox")?;
        }
        Ok(layer)
    }

    /// A program or library under another name.
    fn file(&mut self, name: &str, from: &Path) -> Result<()> {
        let bytes = fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
        self.tar.file(name, 0o755, &bytes).with_context(|| format!("image file {name}"))
    }
}

/// Writes an image of one layer under all of its names.
fn archive(out: &Path, names: &[&str], path: &str, layer: Layer) -> Result<()> {
    let layer = Blob::new(layer.tar.finish()?);
    let config = Blob::new(serde_json::to_vec(&json!({
        "architecture": architecture(), "os": "linux",
        "config": {"Env": [format!("PATH={path}")], "Cmd": ["/bin/sleep", "2147483647"]},
        "rootfs": {"type": "layers", "diff_ids": [layer.digest]},
    }))?);
    let manifest = Blob::new(serde_json::to_vec(&json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": config.descriptor("application/vnd.oci.image.config.v1+json"),
        "layers": [layer.descriptor("application/vnd.oci.image.layer.v1.tar")],
    }))?);
    let names: Vec<_> = names
        .iter()
        .map(|name| {
            let tag = name.rsplit(':').next().unwrap_or(name);
            let mut entry = manifest.descriptor("application/vnd.oci.image.manifest.v1+json");
            if let Some(entry) = entry.as_object_mut() {
                entry.insert("annotations".into(), json!({"io.containerd.image.name": name, "org.opencontainers.image.ref.name": tag}));
                entry.insert("platform".into(), json!({"architecture": architecture(), "os": "linux"}));
            }
            entry
        })
        .collect();
    let index = serde_json::to_vec(&json!({"schemaVersion": 2, "manifests": names}))?;
    let mut tar = Tar::new(Vec::new());
    tar.file("oci-layout", 0o644, br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    tar.file("index.json", 0o644, &index)?;
    for blob in [&config, &layer, &manifest] {
        let name = blob.digest.replace(':', "/");
        tar.file(&format!("blobs/{name}"), 0o644, &blob.bytes)?;
    }
    fs::write(out, tar.finish()?).with_context(|| format!("cannot write {}", out.display()))
}

/// Bytes that are named by their digest.
struct Blob {
    digest: String,
    bytes: Vec<u8>,
}

impl Blob {
    fn new(bytes: Vec<u8>) -> Self {
        Self { digest: format!("sha256:{}", hex::encode(Sha256::digest(&bytes))), bytes }
    }

    fn descriptor(&self, media_type: &str) -> serde_json::Value {
        json!({"mediaType": media_type, "digest": self.digest, "size": self.bytes.len()})
    }
}

/// Go's name of this machine's architecture.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "aarch64" => "arm64",
        "x86_64" => "amd64",
        other => other,
    }
}
