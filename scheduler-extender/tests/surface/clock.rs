//! A wall clock may jump. Holds, waits and pauses are measured by a clock that cannot (`Instant`), so a jump ends none of them
//! early and keeps none for ever. No test can set the clock of one program, so the source is the witness.

use std::fs;
use std::path::Path;

/// Files below `dir` that read the wall clock.
fn readers(dir: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            readers(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let times = text.matches("SystemTime::now()").count();
            let name = path.file_name().unwrap().to_string_lossy();
            found.extend(std::iter::repeat_n(name.into_owned(), times));
        }
    }
}

#[test]
fn the_wall_clock_is_read_for_the_stamp_of_a_wake_and_nothing_else() {
    let mut found = Vec::new();
    for sources in ["src", "../crates/kubeapi/src"] {
        readers(Path::new(sources), &mut found);
    }
    assert_eq!(found, ["feed.rs"]);
    assert!(fs::read_to_string("src/feed.rs").unwrap().contains("let stamp = SystemTime::now()"));
}
