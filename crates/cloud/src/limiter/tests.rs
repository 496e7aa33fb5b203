use proptest::prelude::*;

use super::*;

const S: Duration = Duration::from_secs(1);

fn pace() -> Pace {
    Pace {
        start: 2.0,
        floor: 0.1,
        ceiling: 4.0,
        step: 0.5,
        careful: 0.5,
        memory: S * 60,
        cut: 0.5,
        burst: 3,
        longest_pause: S * 30,
    }
}

fn rate(limiter: &Limiter, action: &str) -> f64 {
    limiter.show().iter().find(|a| a.action == action).unwrap().rate
}

fn drain(limiter: &mut Limiter, now: Duration) -> Vec<CallId> {
    std::iter::from_fn(|| limiter.turn(now)).map(|turn| turn.id).collect()
}

#[test]
fn a_waiting_pod_overtakes_everything_that_queued_before_it() {
    let mut limiter = Limiter::new(Pace { burst: 1, ..pace() });
    let describe = limiter.ask("A", Priority::Describe);
    let release = limiter.ask("A", Priority::Release);
    let warm = limiter.ask("A", Priority::Warm);
    let first = limiter.ask("A", Priority::Waiting);
    let second = limiter.ask("A", Priority::Waiting);
    let mut order = Vec::new();
    while let Some(at) = limiter.wake() {
        order.extend(drain(&mut limiter, at));
    }
    assert_eq!(order, [first, second, warm, release, describe]);
}

#[test]
fn turns_of_different_actions_come_most_urgent_first() {
    let mut limiter = Limiter::new(pace());
    let look = limiter.ask("Describe", Priority::Describe);
    let pod = limiter.ask("Zassign", Priority::Waiting);
    let back = limiter.ask("Back", Priority::Release);
    assert_eq!(drain(&mut limiter, S), [pod, back, look]);
}

#[test]
fn one_throttled_action_does_not_stop_another() {
    let mut limiter = Limiter::new(pace());
    let a = limiter.ask("A", Priority::Waiting);
    assert_eq!(drain(&mut limiter, S), [a]);
    limiter.finished(S, a, Outcome::Throttled { retry_after: Some(S * 10) }, 0.0);
    limiter.ask("A", Priority::Waiting);
    let b = limiter.ask("B", Priority::Describe);
    assert_eq!(drain(&mut limiter, S), [b]);
    assert_eq!(limiter.wake(), Some(S * 11));
}

#[test]
fn the_pause_obeys_the_cloud_but_not_without_end() {
    let mut limiter = Limiter::new(pace());
    let a = limiter.ask("A", Priority::Waiting);
    drain(&mut limiter, S);
    limiter.finished(S, a, Outcome::Throttled { retry_after: Some(S * 86_400) }, 0.0);
    limiter.ask("A", Priority::Waiting);
    assert_eq!(limiter.wake(), Some(S * 31));
}

#[test]
fn jitter_spreads_the_return_of_nodes() {
    let back = |random| {
        let mut limiter = Limiter::new(pace());
        let a = limiter.ask("A", Priority::Waiting);
        drain(&mut limiter, S);
        limiter.finished(S, a, Outcome::Throttled { retry_after: None }, random);
        limiter.ask("A", Priority::Waiting);
        limiter.wake().unwrap()
    };
    assert_eq!(back(0.0), S * 2, "rate 1/s after the cut: one second of pause");
    assert_eq!(back(0.5), Duration::from_millis(2500));
    assert_eq!(back(f64::NAN), S * 2);
}

#[test]
fn a_wave_of_refusals_cuts_the_rate_once() {
    let mut limiter = Limiter::new(pace());
    let calls: Vec<_> = (0..3).map(|_| limiter.ask("A", Priority::Waiting)).collect();
    assert_eq!(drain(&mut limiter, S).len(), 3);
    for call in calls {
        limiter.finished(S * 2, call, Outcome::Throttled { retry_after: None }, 0.0);
    }
    assert!((rate(&limiter, "A") - 1.0).abs() < 1e-9);
}

#[test]
fn the_rate_grows_with_success_and_falls_to_the_floor_under_refusal() {
    let mut limiter = Limiter::new(pace());
    let mut now = S;
    for _ in 0..20 {
        let call = limiter.ask("A", Priority::Warm);
        now = limiter.wake().unwrap().max(now);
        drain(&mut limiter, now);
        limiter.finished(now, call, Outcome::Accepted, 0.0);
    }
    assert!((rate(&limiter, "A") - 4.0).abs() < 1e-9);
    for _ in 0..20 {
        let call = limiter.ask("A", Priority::Warm);
        now = limiter.wake().unwrap().max(now);
        drain(&mut limiter, now);
        limiter.finished(now, call, Outcome::Throttled { retry_after: None }, 0.0);
    }
    assert!((rate(&limiter, "A") - 0.1).abs() < 1e-9);
}

#[test]
fn after_a_refusal_the_rate_grows_in_small_steps_until_it_is_forgotten() {
    let mut limiter = Limiter::new(pace());
    let mut call = |now, outcome| {
        let call = limiter.ask("A", Priority::Warm);
        assert_eq!(drain(&mut limiter, now), [call]);
        limiter.finished(now, call, outcome, 0.0);
        rate(&limiter, "A")
    };
    let throttled = Outcome::Throttled { retry_after: None };
    assert!((call(S, throttled) - 1.0).abs() < 1e-9);
    assert!((call(S * 10, throttled) - 0.5).abs() < 1e-9);
    assert!((call(S * 20, Outcome::Accepted) - 0.75).abs() < 1e-9, "half of what the cut left");
    assert!((call(S * 69, Outcome::Accepted) - 1.0).abs() < 1e-9);
    assert!((call(S * 70, Outcome::Accepted) - 1.5).abs() < 1e-9, "the whole step again");
}

#[test]
fn a_withdrawn_call_takes_no_turn() {
    let mut limiter = Limiter::new(pace());
    let gone = limiter.ask("A", Priority::Waiting);
    let stays = limiter.ask("A", Priority::Describe);
    limiter.withdraw(gone);
    assert_eq!(drain(&mut limiter, S), [stays]);
    assert_eq!(limiter.wake(), None);
}

#[test]
fn after_a_pause_one_call_goes_and_not_a_burst() {
    let mut limiter = Limiter::new(pace());
    let a = limiter.ask("A", Priority::Waiting);
    drain(&mut limiter, S);
    limiter.finished(S, a, Outcome::Throttled { retry_after: Some(S * 5) }, 0.0);
    for _ in 0..4 {
        limiter.ask("A", Priority::Waiting);
    }
    assert_eq!(drain(&mut limiter, S * 6).len(), 1);
}

#[test]
fn senseless_figures_are_brought_into_range() {
    let mut limiter = Limiter::new(Pace {
        start: f64::NAN,
        floor: -1.0,
        ceiling: f64::INFINITY,
        step: -3.0,
        careful: f64::NAN,
        memory: Duration::ZERO,
        cut: 7.0,
        burst: 0,
        longest_pause: Duration::MAX,
    });
    let call = limiter.ask("A", Priority::Waiting);
    assert_eq!(drain(&mut limiter, S), [call]);
    limiter.finished(S, call, Outcome::Throttled { retry_after: None }, 1.0);
    limiter.ask("A", Priority::Waiting);
    assert!(limiter.wake().is_some());
}

/// What happens to the limiter in a generated life.
#[derive(Debug, Clone)]
enum Step {
    Ask(u8, u8),
    Pass(u16),
    Accept,
    Throttle(u16, u8),
    Withdraw,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0u8..2, 0u8..4).prop_map(|(a, p)| Step::Ask(a, p)),
        3 => (0u16..3000).prop_map(Step::Pass),
        3 => Just(Step::Accept),
        1 => (0u16..5000, any::<u8>()).prop_map(|(after, random)| Step::Throttle(after, random)),
        1 => Just(Step::Withdraw),
    ]
}

fn priority(n: u8) -> Priority {
    match n {
        0 => Priority::Describe,
        1 => Priority::Release,
        2 => Priority::Warm,
        _ => Priority::Waiting,
    }
}

proptest! {
    #[test]
    fn no_life_breaks_the_promises(steps in prop::collection::vec(step(), 1..120)) {
        let pace = pace();
        let mut limiter = Limiter::new(pace);
        let mut now = S;
        let mut flying: Vec<CallId> = Vec::new();
        let mut queued: Vec<CallId> = Vec::new();
        let mut turns: BTreeMap<String, Vec<Duration>> = BTreeMap::new();
        for step in steps {
            match step {
                Step::Ask(action, p) => {
                    queued.push(limiter.ask(if action == 0 { "A" } else { "B" }, priority(p)));
                }
                Step::Pass(ms) => now += Duration::from_millis(ms.into()),
                Step::Accept => {
                    if let Some(id) = flying.pop() {
                        limiter.finished(now, id, Outcome::Accepted, 0.0);
                    }
                }
                Step::Throttle(after, random) => {
                    if let Some(id) = flying.pop() {
                        let retry_after = (after > 0).then(|| Duration::from_millis(after.into()));
                        let random = f64::from(random) / 256.0;
                        limiter.finished(now, id, Outcome::Throttled { retry_after }, random);
                    }
                }
                Step::Withdraw => {
                    if let Some(id) = queued.pop() {
                        limiter.withdraw(id);
                    }
                }
            }
            // Liveness: the named moment gives a turn, a moment before it gives none.
            if let Some(wake) = limiter.wake() {
                if wake > now {
                    prop_assert!(limiter.clone().turn(wake.saturating_sub(Duration::from_nanos(1))).is_none());
                }
                prop_assert!(limiter.clone().turn(wake.max(now)).is_some());
            } else {
                prop_assert!(queued.is_empty());
            }
            let paused: BTreeMap<_, _> =
                limiter.show().into_iter().map(|a| (a.action.clone(), a)).collect();
            while let Some(turn) = limiter.turn(now) {
                prop_assert!(now >= paused[&turn.action].paused_until);
                queued.retain(|id| *id != turn.id);
                flying.push(turn.id);
                turns.entry(turn.action).or_default().push(now);
            }
            for action in limiter.show() {
                prop_assert!((pace.floor..=pace.ceiling).contains(&action.rate));
            }
        }
        for times in turns.values() {
            for (i, from) in times.iter().enumerate() {
                for (j, to) in times.iter().enumerate().skip(i) {
                    let most = f64::from(pace.burst) + to.saturating_sub(*from).as_secs_f64() * pace.ceiling;
                    let got = u32::try_from(j - i + 1).unwrap();
                    prop_assert!(f64::from(got) <= most + 1e-6, "{got} turns, at most {most}");
                }
            }
        }
    }
}
