//! Replays every committed input, so that what was found once stays mended, and no target is left without seeds.
#![expect(clippy::unwrap_used, reason = "tests end at the first surprise")]

use std::path::{Path, PathBuf};

use tideway_fuzz::TARGETS;

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn what_was_found_once_stays_mended() {
    let corpus = Path::new("corpus");
    for (name, body) in TARGETS {
        let seeds = files(&corpus.join(name));
        assert!(!seeds.is_empty(), "{name} has no corpus");
        for seed in seeds {
            // The harness shows what a test printed only when it failed: the last one is the one.
            eprintln!("{}", seed.display());
            body(&std::fs::read(&seed).unwrap());
        }
    }
    assert_eq!(files(corpus).len(), TARGETS.len(), "a corpus without a target");
}
