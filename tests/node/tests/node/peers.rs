//! Who may speak to the daemon.

use std::{
    fs::{self, Permissions},
    io::Write as _,
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use tideway_node_tests::{
    Setup,
    cni::{self, Answer},
    programs,
};

use crate::run::run;

/// `nobody`.
const NOBODY: u32 = 65534;

/// Asks on the socket, as this user, whether the node is ready.
fn status_as(uid: u32, plugin: &Path, socket: &Path) -> Result<Answer> {
    let mut child = Command::new(plugin)
        .env_clear()
        .env("CNI_COMMAND", "STATUS")
        .env("CNI_PATH", "/usr/lib/cni")
        .uid(uid)
        .gid(uid)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("the plugin does not start")?;
    let conf = json!({ "cniVersion": "1.1.0", "name": "tideway", "type": "tideway-cni", "socket": socket });
    child.stdin.take().context("no stdin")?.write_all(conf.to_string().as_bytes())?;
    cni::ended(child)
}

#[test]
fn a_peer_that_is_not_root_is_refused_whatever_the_modes_of_the_socket_say() {
    run(Setup::default(), |bed| {
        let here = bed.node(0)?;
        let socket = here.socket();
        // Where everybody may execute it.
        let plugin = here.file("tideway-cni");
        fs::copy(programs::plugin()?, &plugin)?;
        let run_dir = socket.parent().context("no directory")?;
        let whole = plugin.parent().context("no directory")?;
        let open = [(whole, 0o755), (run_dir, 0o755), (plugin.as_path(), 0o755), (&*socket, 0o666)];
        for (path, mode) in open {
            fs::set_permissions(path, Permissions::from_mode(mode))?;
        }
        status_as(0, &plugin, &socket)?.success()?;
        let (_code, text) = status_as(NOBODY, &plugin, &socket)?.failure()?;
        ensure!(text.contains("uid 65534 may not speak to tidewayd"), "{text}");
        Ok(())
    });
}
