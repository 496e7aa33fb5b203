//! `tideway-sim`: runs the simulator, replays and shrinks failing runs. `make sim` calls it.
#![expect(clippy::print_stdout, reason = "a program for people and for make")]

use std::{collections::BTreeMap, path::PathBuf, time::Instant};

use clap::{Parser, Subcommand};
use tideway_sim::{
    coverage::Coverage,
    mutants::{ALL, Mutant},
    run::Plan,
    shrink::shrink,
    small,
    small::Bounds,
    steps,
    world::Counts,
};

/// Proves the allocator against a model world, from a seed.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Random runs until so many operations were done.
    Run {
        /// Operations.
        #[arg(long, default_value_t = 1_000_000)]
        operations: u64,
        /// First seed; the runs take it and those that follow.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Where the figures go as JSON.
        #[arg(long)]
        json: Option<PathBuf>,
        /// Go on after a failure and count them by promise.
        #[arg(long)]
        all: bool,
        /// A mutant of the allocator.
        #[arg(long)]
        mutant: Option<String>,
    },
    /// Every interleaving of the small world: two pods, two addresses, one ENI.
    Small {
        /// Moves.
        #[arg(long, default_value_t = 12)]
        depth: u32,
        /// Crashes and lost answers on one path.
        #[arg(long, default_value_t = 1)]
        faults: u32,
        /// Long waits on one path.
        #[arg(long, default_value_t = 1)]
        waits: u32,
        /// Most states.
        #[arg(long, default_value_t = 20_000_000)]
        states: u64,
    },
    /// One run again, with everything that happens.
    Replay {
        /// Its seed.
        #[arg(long)]
        seed: u64,
        /// Its choices, such as `0-120,140`; default: all.
        #[arg(long)]
        steps: Option<String>,
        /// A mutant of the allocator.
        #[arg(long)]
        mutant: Option<String>,
        /// Make it shorter first.
        #[arg(long)]
        shrink: bool,
    },
}

/// Runs in which a mutant must be caught.
const MUTANT_RUNS: u64 = 1_500;

fn mutant(name: Option<&String>) -> anyhow::Result<Option<Mutant>> {
    let find = |name: &String| {
        Mutant::named(name).ok_or_else(|| anyhow::anyhow!("there is no mutant {name}"))
    };
    name.map(find).transpose()
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().command {
        Task::Run { operations, seed, json, all, mutant: name } => {
            run(operations, seed, json, all, mutant(name.as_ref())?)
        }
        Task::Small { depth, faults, waits, states } => {
            small_world(Bounds { depth, faults, waits, states })
        }
        Task::Replay { seed, steps, mutant: name, shrink } => {
            replay(seed, steps, mutant(name.as_ref())?, shrink)
        }
    }
}

fn command(plan: &Plan) -> String {
    let mutant = plan.mutant.map(|m| format!(" --mutant {}", m.name())).unwrap_or_default();
    format!("tideway-sim replay --seed {} --steps {}{mutant}", plan.seed, steps::show(&plan.steps))
}

fn run(
    operations: u64,
    first: u64,
    json: Option<PathBuf>,
    all: bool,
    mutant: Option<Mutant>,
) -> anyhow::Result<()> {
    let begun = Instant::now();
    let (mut counts, mut coverage) = (Counts::default(), Coverage::default());
    let mut broken: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    let mut seed = first;
    while counts.operations < operations {
        let plan = Plan { mutant, ..Plan::whole(seed) };
        let outcome = plan.run();
        counts.add(outcome.counts);
        coverage.add(&outcome.coverage);
        if let Some((violation, _)) = &outcome.violation {
            let hits = broken.entry(violation.rule).or_default();
            hits.push(seed);
            if hits.len() == 1 {
                println!("seed {seed}: {violation}");
                let (short, end) = shrink(&plan, Plan::run);
                let text = end.violation.map(|(v, _)| v.to_string()).unwrap_or_default();
                println!("  {} steps: {}\n  {text}", short.steps.len(), command(&short));
            }
            if !all {
                break;
            }
        }
        seed += 1;
    }
    let seconds = begun.elapsed().as_secs_f64();
    let violations: usize = broken.values().map(Vec::len).sum();
    println!("{}", coverage.table());
    for (why, cells) in Coverage::reasons() {
        println!("unreachable ({cells} cells): {why}");
    }
    for cell in coverage.impossible() {
        println!("hit although listed as unreachable: {cell:?}");
    }
    for (rule, seeds) in &broken {
        println!("{:>6} {rule} {:?}", seeds.len(), seeds.iter().take(8).collect::<Vec<_>>());
    }
    println!("{counts:?}");
    println!("violations={violations} coverage_min={} seconds={seconds:.1}", coverage.min());
    if let Some(path) = json {
        if let Some(dir) = path.parent() {
            std::fs::create_dir_all(dir)?;
        }
        let caught = ALL.into_iter().filter(|m| is_caught(*m)).count();
        println!("mutants={} mutants_caught={caught}", ALL.len());
        let figures = serde_json::json!({
            "mutants": ALL.len(),
            "mutants_caught": caught,
            "operations": counts.operations,
            "crashes": counts.crashes,
            "events": counts.events,
            "runs": counts.runs,
            "violations": violations,
            "coverage_min": coverage.min(),
            "seconds": seconds,
        });
        std::fs::write(path, format!("{figures:#}\n"))?;
    }
    anyhow::ensure!(violations == 0, "{violations} runs broke a promise");
    Ok(())
}

/// Whether some run tells a mutant from the true allocator.
fn is_caught(mutant: Mutant) -> bool {
    let plan = |seed| Plan { mutant: Some(mutant), ..Plan::whole(seed) };
    (1..=MUTANT_RUNS).any(|seed| plan(seed).run().violation.is_some())
}

fn replay(
    seed: u64,
    text: Option<String>,
    mutant: Option<Mutant>,
    shorten: bool,
) -> anyhow::Result<()> {
    let mut plan = Plan { mutant, ..Plan::whole(seed) };
    if let Some(text) = text {
        plan.steps = steps::read(&text)?;
    }
    if shorten {
        plan = shrink(&plan, Plan::run).0;
    }
    plan.chronicle = true;
    let outcome = plan.run();
    for line in &outcome.log {
        println!("{line}");
    }
    println!("{}", command(&plan));
    match outcome.violation {
        None => println!("no promise was broken"),
        Some((violation, taken)) => println!("after {taken} choices: {violation}"),
    }
    Ok(())
}

fn small_world(bounds: Bounds) -> anyhow::Result<()> {
    for warm in [false, true] {
        let begun = Instant::now();
        let found = small::search(&small::begin(warm, None), bounds);
        println!(
            "small world, {}: {bounds:?}, {} states, {} moves, {:.1} s{}",
            if warm { "warm" } else { "cold" },
            found.states,
            found.moves,
            begun.elapsed().as_secs_f64(),
            if found.cut_short { ", ended by the bound on states" } else { "" }
        );
        if let Some((violation, path)) = found.violation {
            anyhow::bail!("{violation}\nmoves: {path:?}");
        }
    }
    Ok(())
}
