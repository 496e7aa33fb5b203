//! Many nodes under one account's limit; `tideway-sim fleet` runs a thousand.

use tideway_cloud::Pace;
use tideway_sim::fleet::{Fleet, fleets};

#[test]
fn a_fleet_that_starts_at_once_shares_the_accounts_limit() {
    for ((calls, cost), fleet) in fleets(200, 1).into_iter().filter(|((calls, _), _)| *calls <= 20)
    {
        let finish = fleet.run();
        assert!(finish.keeps_its_word(calls), "{calls} calls a node, {cost}: {finish:?}");
    }
}

/// The measure can fail: limiters that never slow down enough use the limit up with refusals.
#[test]
fn a_floor_above_the_nodes_share_of_the_limit_is_caught() {
    let pace = Pace { floor: 0.2, ..Pace::default() };
    let fleet = fleets(50, 1).into_values().find(|f| f.refused_cost > 0.0 && f.calls == 20);
    let finish = Fleet { pace, ..fleet.expect("one of them") }.run();
    assert!(!finish.keeps_its_word(20), "{finish:?}");
}
