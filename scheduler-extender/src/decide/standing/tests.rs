use super::*;

/// Three places for ENIs: one shared with room for 4, two that can become either.
fn report() -> Report {
    Report {
        ready: true,
        grows: true,
        adapters_free: 2,
        free_for_shared: 2,
        per_adapter: 4,
        shared_capacity: 4,
        shared_held: 4,
        exclusive_offered: 2,
        ..Report::default()
    }
}

fn load(shared: u32, exclusive: u32) -> Load {
    Load { pods: PerKind { shared, exclusive, member: 0 }, ..Load::default() }
}

#[test]
fn an_adapter_is_not_promised_both_as_shared_and_as_exclusive() {
    let empty = Standing::of(&report(), &Load::default());
    assert_eq!((empty.free.shared, empty.free.exclusive), (12, 2));
    let one_exclusive = Standing::of(&report(), &load(0, 1));
    assert_eq!((one_exclusive.free.shared, one_exclusive.free.exclusive), (8, 1));
    let one_more_shared = Standing::of(&report(), &load(5, 0));
    assert_eq!((one_more_shared.free.shared, one_more_shared.free.exclusive), (7, 1));
    let both = Standing::of(&report(), &load(5, 1));
    assert_eq!((both.free.shared, both.free.exclusive), (3, 0));
    let full = Standing::of(&report(), &load(4, 2));
    assert_eq!((full.free.shared, full.free.exclusive), (0, 0));
    let over = Standing::of(&report(), &load(5, 2));
    assert_eq!((over.free.shared, over.free.exclusive), (0, 0));
}

#[test]
fn a_pod_and_its_sandbox_are_one_unit() {
    let report = Report { shared_assigned: 3, ..report() };
    assert_eq!(Standing::of(&report, &load(3, 0)).free.shared, 9);
    // The watch has seen more than the report, or the report more than the watch.
    assert_eq!(Standing::of(&report, &load(4, 0)).free.shared, 8);
    assert_eq!(Standing::of(&report, &load(2, 0)).free.shared, 9);
}

#[test]
fn cooling_leaving_and_unusable_units_are_not_free_but_soon() {
    let report = Report {
        shared_assigned: 1,
        shared_leaving: 1,
        shared_cooling: 2,
        shared_unusable: 1,
        ..report()
    };
    let standing = Standing::of(&report, &Load::default());
    assert_eq!((standing.free.shared, standing.warm.shared, standing.soon.shared), (8, 0, 3));
}

#[test]
fn growth_counts_what_the_subnet_must_still_give() {
    assert_eq!(Standing::of(&report(), &load(4, 0)).growth, 0);
    // The fifth needs an address and its ENI one of its own.
    assert_eq!(Standing::of(&report(), &load(5, 0)).growth, 2);
    assert_eq!(Standing::of(&report(), &load(0, 1)).growth, 1);
    let ready = Report { exclusive_ready: 1, ..report() };
    assert_eq!(Standing::of(&ready, &load(0, 1)).growth, 0);
}

#[test]
fn figures_at_the_end_of_their_range_do_not_overflow() {
    let huge = Report {
        adapters_free: u32::MAX,
        free_for_shared: u32::MAX,
        per_adapter: u32::MAX,
        shared_capacity: u32::MAX,
        shared_assigned: u32::MAX,
        shared_cooling: u32::MAX,
        exclusive_offered: u32::MAX,
        ..Report::default()
    };
    let standing = Standing::of(&huge, &load(u32::MAX, u32::MAX));
    assert_eq!(standing.free.exclusive, 0);
}
