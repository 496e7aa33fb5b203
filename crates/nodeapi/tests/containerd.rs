//! The CRI client against the containerd of this machine, in a private directory.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tideway_nodeapi::Runtime;
use tideway_testkit::skip;
use tokio::process::{Child, Command};

const TEST: &str = "containerd_of_this_machine_answers_our_subset_of_cri";

fn start(dir: &Path) -> std::io::Result<Child> {
    let text = dir.display();
    let config = format!(
        r#"version = 2
root = "{text}/root"
state = "{text}/state"
temp = "{text}/tmp"
disabled_plugins = ["io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.aufs", "io.containerd.internal.v1.opt", "io.containerd.tracing.processor.v1.otlp", "io.containerd.internal.v1.tracing"]
[grpc]
  address = "{text}/containerd.sock"
[ttrpc]
  address = "{text}/containerd.sock.ttrpc"
[plugins."io.containerd.grpc.v1.cri"]
  disable_apparmor = true
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  sandbox_image = "example.invalid/pause:1"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{text}/cni-bin"
    conf_dir = "{text}/cni-conf"
"#
    );
    std::fs::write(dir.join("config.toml"), config)?;
    let log = std::fs::File::create(dir.join("log"))?;
    Command::new("containerd")
        .arg("--config")
        .arg(dir.join("config.toml"))
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
}

#[tokio::test]
async fn containerd_of_this_machine_answers_our_subset_of_cri() {
    let dir = tempfile::tempdir().unwrap();
    let mut containerd = match start(dir.path()) {
        Ok(child) => child,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return skip(TEST, "containerd is not installed");
        }
        Err(error) => panic!("containerd does not start: {error}"),
    };
    let runtime = Runtime::new(dir.path().join("containerd.sock"));
    let answers = async {
        loop {
            match (runtime.version().await, runtime.sandboxes().await) {
                (Ok(version), Ok(sandboxes)) => return (version, sandboxes),
                // Until it listens and CRI is loaded.
                _ => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    };
    let answered = tokio::time::timeout(Duration::from_secs(20), answers).await;
    containerd.start_kill().unwrap();
    containerd.wait().await.unwrap();
    let Ok((version, sandboxes)) = answered else {
        let log = std::fs::read_to_string(dir.path().join("log")).unwrap_or_default();
        if log.contains("operation not permitted") || log.contains("must be root") {
            return skip(TEST, "containerd needs root");
        }
        panic!("containerd did not answer within 20 s; its log:\n{log}");
    };
    assert_eq!(version.name, "containerd");
    let expected =
        if version.version.trim_start_matches('v').starts_with('1') { "1.0.0" } else { "1.1.0" };
    assert_eq!(version.cni_version(), expected, "{version:?}");
    assert_eq!(sandboxes, []);
}
