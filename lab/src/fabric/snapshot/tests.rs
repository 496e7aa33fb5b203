use serde_json::json;

use super::{canonical, is_kernel_noise, json_lists, without_timers};

#[test]
fn order_of_members_numbers_and_carrier_do_not_show() {
    let before = json!({"ifindex": 4, "link_index": 9, "ifname": "eth0", "mtu": 1500,
        "flags": ["UP", "LOWER_UP"], "operstate": "UP"});
    let after = json!({"mtu": 1500, "operstate": "DOWN", "flags": ["NO-CARRIER", "UP"],
        "ifname": "eth0", "link_index": 11, "ifindex": 7});
    assert_eq!(canonical(&before, "link list"), canonical(&after, "link list"));
    let changed = json!({"ifname": "eth0", "mtu": 1400, "flags": ["UP"]});
    assert_ne!(canonical(&before, "link list"), canonical(&changed, "link list"));
}

#[test]
fn only_the_routes_that_come_with_an_address_are_left_out() {
    for (route, noise) in [
        (json!({"type": "local", "dst": "10.0.0.1", "table": "local", "protocol": "kernel"}), true),
        (json!({"type": "multicast", "dst": "ff00::/8", "protocol": "kernel"}), true),
        (json!({"type": "unicast", "dst": "10.0.0.0/24", "protocol": "kernel"}), false),
        (json!({"type": "local", "dst": "default", "table": "7", "protocol": "static"}), false),
        (json!({"type": "unicast", "dst": "default", "protocol": "ra"}), false),
        (json!({"priority": 0, "src": "all", "table": "local", "protocol": "kernel"}), false),
    ] {
        assert_eq!(is_kernel_noise(&route), noise, "{route}");
    }
}

#[test]
fn lists_of_a_batch_stay_apart() {
    let lists = json_lists("[{\"a\":1}]\n[ ]\n[{},{\"b\":2}]\n");
    assert_eq!(lists.iter().map(Vec::len).collect::<Vec<_>>(), [1, 0, 2]);
}

#[test]
fn remaining_lifetime_of_set_elements_does_not_show() {
    let at =
        |rest: &str| format!("elements = {{ 10.0.0.1 timeout 1m expires {rest}, 10.0.0.2 }}\n");
    assert_eq!(without_timers(&at("59s10ms")), without_timers(&at("3s")));
    let other = at("3s").replace("10.0.0.2", "10.0.0.3");
    assert_ne!(without_timers(&at("3s")), without_timers(&other));
}
