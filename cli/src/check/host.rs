//! What stands on the host: the CNI configuration, kernel settings, the kube-proxy that runs here.

use std::{
    fs,
    path::{Path, PathBuf},
};

use tideway_model::names;

use super::{
    Finding,
    proxy::{self, Proxy},
};

/// The host's file system, or a copy for tests.
#[derive(Debug)]
pub(super) struct Host {
    root: PathBuf,
}

impl Host {
    pub(super) fn new(root: &str) -> Self {
        Self { root: PathBuf::from(root) }
    }

    fn path(&self, absolute: &str) -> PathBuf {
        self.root.join(absolute.trim_start_matches('/'))
    }

    fn setting(&self, name: &str) -> Option<String> {
        let text = fs::read_to_string(self.path("/proc/sys").join(name)).ok()?;
        Some(text.trim().to_owned())
    }

    /// Our configuration is there, and the runtime takes it: the first in the order of names.
    pub(super) fn conflist(&self, dir: &str) -> Finding {
        const CHECK: &str = "CNI configuration";
        if dir.is_empty() {
            return Finding::ok(CHECK, "paths.cniConfDir is empty: somebody else writes it");
        }
        let entries = fs::read_dir(self.path(dir)).into_iter().flatten().flatten();
        let mut names: Vec<String> = entries
            .map(|e| e.file_name().to_string_lossy().into_owned())
            .filter(|n| {
                let end = Path::new(n).extension().and_then(|e| e.to_str());
                matches!(end, Some("conf" | "conflist" | "json"))
            })
            .collect();
        names.sort();
        if !names.iter().any(|n| n == names::CONFLIST) {
            return Finding::fail(
                CHECK,
                format!("{dir}/{} is not there", names::CONFLIST),
                "tidewayd writes it when it serves; see whether paths.cniConfDir is the runtime's directory",
            );
        }
        match names.first() {
            Some(first) if first != names::CONFLIST => Finding::fail(
                CHECK,
                format!("{dir}/{first} sorts before {}: pods get that network", names::CONFLIST),
                "remove it",
            ),
            _ => Finding::ok(CHECK, format!("{dir}/{}", names::CONFLIST)),
        }
    }

    /// The node forwards its pods' packets.
    pub(super) fn forwarding(&self, ipv6: bool) -> Vec<Finding> {
        let mut wanted = vec![("ip_forward", "net/ipv4/ip_forward")];
        if ipv6 {
            wanted.push(("IPv6 forwarding", "net/ipv6/conf/all/forwarding"));
        }
        let found = |(check, name): (&'static str, &str)| match self.setting(name).as_deref() {
            Some("1") => Finding::ok(check, "1"),
            Some(other) => Finding::fail(
                check,
                format!("{} is {other}: pods of this node are cut off", name.replace('/', ".")),
                "tidewayd sets it to 1 at its start; take what sets it back out of /etc/sysctl.d",
            ),
            None => Finding::warn(check, format!("{name} cannot be read"), "run as root"),
        };
        wanted.into_iter().map(found).collect()
    }

    /// Strict reverse-path filtering drops what comes in by another ENI than it would leave by.
    pub(super) fn rp_filter(&self) -> Finding {
        const CHECK: &str = "rp_filter";
        match self.setting("net/ipv4/conf/all/rp_filter").as_deref() {
            Some("1") => Finding::fail(
                CHECK,
                "net.ipv4.conf.all.rp_filter is 1 (strict): packets to pods are dropped",
                "tidewayd sets it to 0 at its start; take what sets it back out of /etc/sysctl.d",
            ),
            Some(value) => Finding::ok(CHECK, value),
            None => Finding::warn(CHECK, "it cannot be read", "run as root"),
        }
    }

    /// The kube-proxy in our network namespace; none when none runs.
    pub(super) fn proxy(&self) -> Option<Result<Proxy, String>> {
        let here = fs::read_link(self.path("/proc/self/ns/net")).ok();
        let processes = fs::read_dir(self.path("/proc")).ok()?.flatten();
        let mut processes: Vec<u32> =
            processes.filter_map(|e| e.file_name().to_str()?.parse().ok()).collect();
        processes.sort_unstable();
        processes.into_iter().find_map(|pid| {
            let dir = self.path("/proc").join(pid.to_string());
            let line = fs::read(dir.join("cmdline")).ok()?;
            let words: Vec<String> = line
                .split(|b| *b == 0)
                .map(|w| String::from_utf8_lossy(w).into_owned())
                .filter(|w| !w.is_empty())
                .collect();
            if !is_proxy(&words) || fs::read_link(dir.join("ns/net")).ok() != here {
                return None;
            }
            let from = format!("kube-proxy, process {pid}");
            let Some(file) = proxy::flag(&words, "--config") else {
                return Some(Proxy::of_flags(from, &words));
            };
            // As it sees it: it may run in a container.
            let seen = dir.join("root").join(file.trim_start_matches('/'));
            let from = format!("{from}, {file}");
            Some(match fs::read_to_string(&seen) {
                Ok(text) => Proxy::of_file(from, &text),
                Err(error) => Err(format!("{from}: {error}")),
            })
        })
    }
}

/// `kube-proxy …`, or one of several programs in a binary: `… proxy`, `… kube-proxy`.
fn is_proxy(words: &[String]) -> bool {
    let name = |w: &String| {
        let name = Path::new(w).file_name().map(|n| n.to_string_lossy().into_owned());
        name.unwrap_or_default()
    };
    words.first().is_some_and(|w| name(w) == "kube-proxy")
        || words.get(1).is_some_and(|w| w == "proxy" || name(w) == "kube-proxy")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Grade;

    fn host(files: &[(&str, &str)]) -> (Host, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        (Host::new(dir.path().to_str().unwrap()), dir)
    }

    #[test]
    fn a_configuration_that_is_missing_or_shadowed_fails() {
        let (h, _dir) = host(&[("etc/cni/net.d/10-tideway.conflist", "{}")]);
        assert_eq!(h.conflist("/etc/cni/net.d").grade, Grade::Ok);
        assert_eq!(h.conflist("/elsewhere").grade, Grade::Fail);
        assert_eq!(h.conflist("").grade, Grade::Ok);
        let (h, _dir) = host(&[
            ("etc/cni/net.d/10-tideway.conflist", "{}"),
            ("etc/cni/net.d/05-other.conf", "{}"),
            ("etc/cni/net.d/00-note.txt", ""),
        ]);
        let found = h.conflist("/etc/cni/net.d");
        assert!(found.grade == Grade::Fail && found.says.contains("05-other.conf"), "{found:?}");
    }

    #[test]
    fn a_host_that_does_not_forward_fails_for_each_family_that_pods_have() {
        let v4 = ("proc/sys/net/ipv4/ip_forward", "1\n");
        let (h, _dir) = host(&[v4, ("proc/sys/net/ipv6/conf/all/forwarding", "0\n")]);
        assert_eq!(h.forwarding(false).iter().map(|f| f.grade).collect::<Vec<_>>(), [Grade::Ok]);
        let both: Vec<Grade> = h.forwarding(true).iter().map(|f| f.grade).collect();
        assert_eq!(both, [Grade::Ok, Grade::Fail]);
        let (h, _dir) = host(&[]);
        assert_eq!(h.forwarding(false)[0].grade, Grade::Warn);
    }

    #[test]
    fn strict_reverse_path_filtering_fails_and_loose_is_fine() {
        for (value, grade) in [("0", Grade::Ok), ("1", Grade::Fail), ("2", Grade::Ok)] {
            let (h, _dir) = host(&[("proc/sys/net/ipv4/conf/all/rp_filter", value)]);
            assert_eq!(h.rp_filter().grade, grade, "{value}");
        }
    }

    #[test]
    fn the_proxy_of_this_network_is_read_as_it_sees_its_files() {
        let (h, dir) = host(&[
            ("proc/7/cmdline", "/usr/bin/kubelet\0proxy-not\0"),
            ("proc/8/cmdline", "/opt/kubebed\0proxy\0--config\0/conf\0"),
            ("proc/9/cmdline", "/usr/local/bin/kube-proxy\0--config=/conf\0"),
            ("proc/8/root/conf", "clusterCIDR: 10.8.0.0/16\n"),
            ("proc/9/root/conf", "clusterCIDR: 10.9.0.0/16\n"),
        ]);
        for (process, namespace) in [("self", "net:[1]"), ("8", "net:[2]"), ("9", "net:[1]")] {
            let at = dir.path().join(format!("proc/{process}/ns"));
            fs::create_dir_all(&at).unwrap();
            std::os::unix::fs::symlink(namespace, at.join("net")).unwrap();
        }
        let found = h.proxy().unwrap().unwrap();
        assert_eq!(found.cluster_cidr, "10.9.0.0/16");
        assert!(found.from.contains("process 9"), "{found:?}");
        fs::remove_file(dir.path().join("proc/9/root/conf")).unwrap();
        assert!(h.proxy().unwrap().unwrap_err().contains("/conf"));
        let (h, _dir) = host(&[]);
        assert_eq!(h.proxy(), None);
    }
}
