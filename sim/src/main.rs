//! `tideway-sim`: runs the simulator, replays and shrinks failing runs. `make sim` calls it.
#![expect(clippy::print_stdout, reason = "a program for people and for make")]

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Instant,
};

use clap::{Parser, Subcommand, value_parser};
use tideway_sim::{
    coverage::{Cell, Coverage},
    fleet::fleets,
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
        /// Then runs aimed at the rarest cells of the coverage table, until every one was hit so often.
        #[arg(long, default_value_t = 0)]
        cover: u64,
        /// A mutant of the allocator.
        #[arg(long)]
        mutant: Option<String>,
    },
    /// Every interleaving of the small world: two pods, two addresses, one ENI.
    Small {
        /// Moves.
        #[arg(long, default_value_t = 12, value_parser = value_parser!(u8).range(1..=i64::from(Bounds::MOST_MOVES)))]
        depth: u8,
        /// Crashes and lost answers on one path.
        #[arg(long, default_value_t = 1, value_parser = value_parser!(u8).range(0..=i64::from(Bounds::MOST_FAULTS)))]
        faults: u8,
        /// Long waits on one path.
        #[arg(long, default_value_t = 1, value_parser = value_parser!(u8).range(0..=i64::from(Bounds::MOST_FAULTS)))]
        waits: u8,
        /// A mutant of the allocator.
        #[arg(long)]
        mutant: Option<String>,
        /// Most states.
        #[arg(long, default_value_t = 100_000_000)]
        states: u64,
        /// Where the figures are added as JSON.
        #[arg(long)]
        json: Option<PathBuf>,
    },
    /// Many nodes that start at once under one account's limit.
    Fleet {
        /// Nodes.
        #[arg(long, default_value_t = 1_000)]
        nodes: usize,
        /// Seed.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Where the figures are added as JSON.
        #[arg(long)]
        json: Option<PathBuf>,
    },
    /// One run again, with everything that happens.
    Replay {
        /// Its seed.
        #[arg(long)]
        seed: u64,
        /// Its choices, such as `0-120,140`; default: all.
        #[arg(long)]
        steps: Option<String>,
        /// The cell that it was aimed at.
        #[arg(long)]
        aim: Option<String>,
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

/// First seed of aimed runs, and how many there are at most.
const AIMED_SEED: u64 = 1 << 40;
/// See above.
const AIMED_RUNS: u64 = 100_000;

fn main() -> anyhow::Result<()> {
    match Arguments::parse().command {
        Task::Run { operations, seed, json, all, cover, mutant: name } => {
            let mut tally = Tally { all, mutant: mutant(name.as_ref())?, ..Tally::default() };
            tally.run(operations, seed);
            tally.aim(cover);
            tally.report(json, cover)
        }
        Task::Small { depth, faults, waits, mutant: name, states, json } => {
            let bounds = Bounds { depth, faults, waits, states };
            small_world(bounds, mutant(name.as_ref())?, json.as_deref())
        }
        Task::Fleet { nodes, seed, json } => fleet(nodes, seed, json.as_deref()),
        Task::Replay { seed, steps, aim, mutant: name, shrink } => {
            let mut plan = Plan { mutant: mutant(name.as_ref())?, ..Plan::whole(seed) };
            if let Some(name) = aim {
                plan.aim = Cell::named(&name);
                anyhow::ensure!(plan.aim.is_some(), "there is no cell {name}");
            }
            if let Some(text) = steps {
                plan.steps = steps::read(&text)?;
            }
            replay(plan, shrink);
            Ok(())
        }
    }
}

fn command(plan: &Plan) -> String {
    let mutant = plan.mutant.map(|m| format!(" --mutant {}", m.name())).unwrap_or_default();
    let aim = plan.aim.map(|cell| format!(" --aim {}", cell.name())).unwrap_or_default();
    let steps = steps::show(&plan.steps);
    format!("tideway-sim replay --seed {} --steps {steps}{aim}{mutant}", plan.seed)
}

/// Runs and what they showed.
#[derive(Debug, Default)]
struct Tally {
    all: bool,
    mutant: Option<Mutant>,
    counts: Counts,
    coverage: Coverage,
    broken: BTreeMap<&'static str, Vec<u64>>,
    aimed: u64,
    seconds: f64,
}

impl Tally {
    /// One run. False: a promise broke, and that is the end.
    fn take(&mut self, plan: &Plan) -> bool {
        let outcome = plan.run();
        self.counts.add(outcome.counts);
        self.coverage.add(&outcome.coverage);
        let Some((violation, _)) = &outcome.violation else { return true };
        let hits = self.broken.entry(violation.rule).or_default();
        hits.push(plan.seed);
        if hits.len() == 1 {
            println!("seed {}: {violation}", plan.seed);
            let (short, end) = shrink(plan, Plan::run);
            let text = end.violation.map(|(v, _)| v.to_string()).unwrap_or_default();
            println!("  {} steps: {}\n  {text}", short.steps.len(), command(&short));
        }
        self.all
    }

    fn run(&mut self, operations: u64, first: u64) {
        let begun = Instant::now();
        let mut seed = first;
        while self.counts.operations < operations {
            if !self.take(&Plan { mutant: self.mutant, ..Plan::whole(seed) }) {
                break;
            }
            seed += 1;
        }
        self.seconds += begun.elapsed().as_secs_f64();
    }

    fn aim(&mut self, cover: u64) {
        let begun = Instant::now();
        while self.coverage.min() < cover && self.aimed < AIMED_RUNS {
            let aim = self.coverage.rarest().map(|(cell, _)| cell);
            let seed = AIMED_SEED + self.aimed;
            self.aimed += 1;
            if !self.take(&Plan { mutant: self.mutant, aim, ..Plan::whole(seed) }) {
                break;
            }
        }
        self.seconds += begun.elapsed().as_secs_f64();
    }

    fn report(&self, json: Option<PathBuf>, cover: u64) -> anyhow::Result<()> {
        let violations: usize = self.broken.values().map(Vec::len).sum();
        let impossible = self.coverage.impossible();
        println!("{}", self.coverage.table());
        for (why, cells) in Coverage::reasons() {
            println!("unreachable ({cells} cells): {why}");
        }
        for cell in &impossible {
            println!("hit although listed as unreachable: {}", cell.name());
        }
        for (rule, seeds) in &self.broken {
            println!("{:>6} {rule} {:?}", seeds.len(), seeds.iter().take(8).collect::<Vec<_>>());
        }
        println!("{:?} aimed_runs={}", self.counts, self.aimed);
        let (least, seconds) = (self.coverage.min(), self.seconds);
        println!("violations={violations} coverage_min={least} seconds={seconds:.1}");
        let mut survivors = Vec::new();
        if let Some(path) = json {
            survivors.extend(ALL.into_iter().filter(|m| !is_caught(*m)));
            let caught = ALL.len() - survivors.len();
            println!("mutants={} mutants_caught={caught}", ALL.len());
            let figures = serde_json::json!({
                "mutants": ALL.len(),
                "mutants_caught": caught,
                "operations": self.counts.operations,
                "crashes": self.counts.crashes,
                "events": self.counts.events,
                "runs": self.counts.runs,
                "aimed_runs": self.aimed,
                "violations": violations,
                "coverage_min": least,
                "seconds": seconds,
            });
            write_figures(&path, &figures)?;
        }
        anyhow::ensure!(violations == 0, "{violations} runs broke a promise");
        anyhow::ensure!(
            survivors.is_empty(),
            "{survivors:?} broke no promise in {MUTANT_RUNS} runs: the judge does not see what is wrong with them"
        );
        anyhow::ensure!(impossible.is_empty(), "cells listed as unreachable were hit");
        anyhow::ensure!(
            least >= cover,
            "{:?} was hit only {least} times; make the runs aimed at it find it, or list it as unreachable with the reason",
            self.coverage.rarest().map(|(cell, _)| cell.name()),
        );
        Ok(())
    }
}

/// Adds figures to a file of them.
fn write_figures(path: &Path, figures: &serde_json::Value) -> anyhow::Result<()> {
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir)?;
    }
    let known = std::fs::read(path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let mut all: serde_json::Map<String, serde_json::Value> = known.unwrap_or_default();
    all.extend(figures.as_object().cloned().unwrap_or_default());
    std::fs::write(path, format!("{:#}\n", serde_json::Value::Object(all)))?;
    Ok(())
}

/// Whether some run tells a mutant from the true allocator.
fn is_caught(mutant: Mutant) -> bool {
    let plan = |seed| Plan { mutant: Some(mutant), ..Plan::whole(seed) };
    (1..=MUTANT_RUNS).any(|seed| plan(seed).run().violation.is_some())
}

fn replay(mut plan: Plan, shorten: bool) {
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
}

fn small_world(bounds: Bounds, mutant: Option<Mutant>, json: Option<&Path>) -> anyhow::Result<()> {
    let mut figures = serde_json::json!({ "small_depth": bounds.depth });
    for (name, warm) in [("cold", false), ("warm", true)] {
        let begun = Instant::now();
        let found = small::search(&small::begin(warm, mutant), bounds);
        let seconds = begun.elapsed().as_secs_f64();
        println!(
            "small world, {name}: {bounds:?}, {} states, {} moves, {seconds:.1} s{}",
            found.states,
            found.moves,
            if found.cut_short { ", ended by the bound on states" } else { "" }
        );
        if let Some((violation, path)) = found.violation {
            anyhow::bail!("{violation}\nmoves: {path:?}");
        }
        anyhow::ensure!(!found.cut_short, "not every interleaving was searched");
        if let Some(all) = figures.as_object_mut() {
            all.insert(format!("small_states_{name}"), found.states.into());
            all.insert(format!("small_seconds_{name}"), seconds.into());
        }
    }
    json.map_or(Ok(()), |path| write_figures(path, &figures))
}

fn fleet(nodes: usize, seed: u64, json: Option<&Path>) -> anyhow::Result<()> {
    let mut figures = Vec::new();
    let mut late = 0;
    for ((calls, cost), fleet) in fleets(nodes, seed) {
        let f = fleet.run();
        let (ratio, spread) = (f.slowest / f.bound, f.slowest / f.median);
        println!(
            "{nodes} nodes, {calls} calls each, {cost}: {:.0} s, {ratio:.2} x the bound, slowest {spread:.2} x the median, {} of {} calls refused",
            f.slowest, f.refused, f.sent
        );
        late += u32::from(!f.keeps_its_word(calls));
        figures.push(serde_json::json!({
            "calls": calls, "cost": cost, "seconds": f.slowest, "bound_ratio": ratio,
            "slowest_to_median": spread, "refused": f.refused, "sent": f.sent,
        }));
    }
    if let Some(path) = json {
        write_figures(path, &serde_json::json!({ "fleet_nodes": nodes, "fleet": figures }))?;
    }
    anyhow::ensure!(late == 0, "{late} fleets took longer than promised");
    Ok(())
}
