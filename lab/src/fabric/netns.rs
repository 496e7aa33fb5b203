//! Named network namespaces: the same ones that `ip netns` shows.
//!
//! A namespace belongs to a thread, so work inside one runs on a thread of its own that ends with the work: no thread
//! of the caller can be left in the wrong namespace. Sockets and processes made there stay in the namespace.

use std::fs::{self, File};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Output};

use nix::sched::CloneFlags;

/// Where `ip netns` keeps its names.
const NAMES: &str = "/run/netns";

/// The file that names a namespace (it need not exist).
pub fn path(name: &str) -> PathBuf {
    PathBuf::from(NAMES).join(name)
}

/// Whether a namespace of that name exists.
pub fn exists(name: &str) -> bool {
    path(name).exists()
}

/// The names of all namespaces, sorted.
pub fn list() -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(NAMES) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut names = Vec::new();
    for entry in entries {
        if let Ok(name) = entry?.file_name().into_string() {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// Makes a namespace with `lo` up and `IPv6` on. Fails if the name is taken.
pub fn create(name: &str) -> io::Result<()> {
    // `ip netns add` also makes /run/netns a shared mount, which containers started later need.
    ip_netns(&["netns", "add", name])?;
    ip_netns(&["-n", name, "link", "set", "lo", "up"]).and_then(|()| {
        run_in(name, || {
            for scope in ["all", "default", "lo"] {
                fs::write(format!("/proc/sys/net/ipv6/conf/{scope}/disable_ipv6"), "0")?;
            }
            Ok(())
        })?
    })
}

/// Removes a namespace; none of that name is no error.
///
/// The kernel destroys it (and the veths in it) when the last process and socket in it is gone.
pub fn delete(name: &str) -> io::Result<()> {
    if !exists(name) {
        return Ok(());
    }
    match ip_netns(&["netns", "delete", name]) {
        Err(_) if !exists(name) => Ok(()),
        other => other,
    }
}

/// Runs `work` on a new thread inside the namespace and waits for it. Child processes inherit the namespace;
/// read `/proc/thread-self/net`, not `/proc/net`, there.
pub fn run_in<R: Send>(name: &str, work: impl FnOnce() -> R + Send) -> io::Result<R> {
    let space = File::open(path(name))
        .map_err(|e| io::Error::new(e.kind(), format!("network namespace {name}: {e}")))?;
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name(format!("netns-{name}")).spawn_scoped(
            scope,
            move || {
                enter(&space)?;
                drop(space); // an open file would keep the namespace alive during `work`
                Ok(work())
            },
        )?;
        match thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

#[expect(
    clippy::disallowed_methods,
    reason = "the lab shares no code with the daemon, and this thread ends inside the namespace"
)]
fn enter(space: &File) -> io::Result<()> {
    nix::sched::setns(space, CloneFlags::CLONE_NEWNET).map_err(io::Error::from)
}

/// A TCP listener inside the namespace; it may be used from any thread afterwards.
pub fn listen_in(name: &str, address: SocketAddr) -> io::Result<TcpListener> {
    run_in(name, || TcpListener::bind(address))?
}

/// Runs a command inside the namespace to its end and returns its output.
pub fn exec_in(name: &str, command: &mut Command) -> io::Result<Output> {
    run_in(name, || command.output())?
}

/// Starts a command inside the namespace.
pub fn spawn_in(name: &str, command: &mut Command) -> io::Result<Child> {
    run_in(name, || command.spawn())?
}

/// The names of all links in a namespace.
pub fn links(name: &str) -> io::Result<Vec<String>> {
    let text = run_in(name, || fs::read_to_string("/proc/thread-self/net/dev"))??;
    Ok(text.lines().filter_map(|line| Some(line.split_once(':')?.0.trim().to_owned())).collect())
}

/// Sets a sysctl such as `net.ipv4.ip_forward` inside a namespace. Only names below `net.` belong to a namespace.
pub(super) fn set_sysctls(name: &str, settings: &[(String, String)]) -> io::Result<()> {
    run_in(name, || {
        for (key, value) in settings {
            let file = format!("/proc/sys/{}", key.replace('.', "/"));
            fs::write(&file, value)
                .map_err(|e| io::Error::new(e.kind(), format!("sysctl {key}={value}: {e}")))?;
        }
        Ok(())
    })?
}

fn ip_netns(arguments: &[&str]) -> io::Result<()> {
    let output = Command::new("ip").args(arguments).output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(format!("ip {}: {}", arguments.join(" "), said.trim())))
}
