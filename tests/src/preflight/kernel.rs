//! Kernel features, each tried for real in namespaces that vanish with the attempt.

use crate::command;

/// One feature: shell commands that need it, and what to do when they fail.
struct Feature {
    name: &'static str,
    script: &'static str,
    remedy: &'static str,
}

const FEATURES: [Feature; 6] = [
    Feature {
        name: "network namespaces and veth",
        script: "ip link add tw0 type veth peer name tw1 && ip link set tw0 up",
        remedy: "CONFIG_NET_NS and CONFIG_VETH (modprobe veth), CAP_NET_ADMIN and CAP_SYS_ADMIN",
    },
    Feature {
        name: "policy routing, IPv4 and IPv6",
        script: "ip rule add fwmark 1/1 table 99 && ip -6 rule add fwmark 1/1 table 99",
        remedy: "CONFIG_IP_MULTIPLE_TABLES, CONFIG_IPV6_MULTIPLE_TABLES, and IPv6 not switched off (ipv6.disable=0)",
    },
    Feature {
        name: "nftables with conntrack marks, maps, NAT and fib",
        script: "printf '%s\n' 'table inet t {' 'map m { type ipv4_addr : mark; }' \
                 'chain p { type filter hook prerouting priority mangle; meta mark set ip saddr map @m; meta mark set ct mark; fib saddr . iif oif missing drop; }' \
                 'chain n { type nat hook postrouting priority srcnat; masquerade; }' '}' | nft -f -",
        remedy: "modprobe nf_tables nft_ct nft_fib_inet nft_masq nft_nat, or a kernel with CONFIG_NF_TABLES_INET, CONFIG_NFT_FIB_INET, CONFIG_NFT_MASQ, CONFIG_NFT_NAT",
    },
    Feature {
        name: "iptables on nftables with DNAT (hostPort by portmap)",
        script: "iptables -t nat -A PREROUTING -p tcp -m comment --comment x -m multiport --dports 80 -j DNAT --to-destination 10.0.0.1:80 && iptables -t nat -A POSTROUTING -j MASQUERADE",
        remedy: "modprobe nft_compat xt_comment xt_multiport xt_nat xt_MASQUERADE xt_addrtype, and the package iptables",
    },
    Feature {
        name: "token bucket queues (bandwidth)",
        script: "ip link add tw0 type veth peer name tw1 && tc qdisc add dev tw0 root tbf rate 1mbit burst 10kb latency 20ms",
        remedy: "modprobe sch_tbf, or CONFIG_NET_SCH_TBF",
    },
    Feature {
        name: "private mounts and a new sysfs",
        script: "mount --make-rprivate / && mount -t sysfs sysfs /sys",
        remedy: "CAP_SYS_ADMIN in the machine's own user namespace (a container needs --privileged)",
    },
];

/// Features that did not work, as text with remedy.
pub fn missing() -> Vec<String> {
    FEATURES
        .iter()
        .filter_map(|feature| {
            let mut attempt =
                command::line("unshare", ["--net", "--mount", "sh", "-ec", feature.script]);
            let cause = match command::output(&mut attempt, None) {
                Ok(output) if output.status.success() => return None,
                Ok(output) => String::from_utf8_lossy(&output.stderr).into_owned(),
                Err(error) => error.to_string(),
            };
            let cause = cause.lines().next().unwrap_or("refused").trim();
            Some(format!("{}: {cause}; remedy: {}", feature.name, feature.remedy))
        })
        .collect()
}

/// The containerd snapshotter that works below `dir`: overlayfs, or plain copies where overlay mounts are refused
/// (a container whose own root is an overlay).
pub fn snapshotter(dir: &std::path::Path) -> &'static str {
    let script = "cd \"$1\" && mkdir -p ov/l ov/u ov/w ov/m && mount -t overlay overlay -o lowerdir=ov/l,upperdir=ov/u,workdir=ov/w ov/m && umount ov/m";
    let mut attempt = command::line("unshare", ["--mount", "sh", "-ec", script, "sh"]);
    attempt.arg(dir);
    let works = command::run(&mut attempt).is_ok();
    if works { "overlayfs" } else { "native" }
}
