//! A process that is killed in the middle of its commits loses none that it acknowledged, and leaves no half of one.
#![expect(clippy::unwrap_used, clippy::infinite_loop, reason = "a test and its child process")]

use std::{
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use tideway_journal::{Journal as _, RedbJournal};

/// Names the journal that the child writes; without it the child's test does nothing.
const PLACE: &str = "TIDEWAY_JOURNAL_CRASH_TEST";
const ROUNDS: u32 = 25;

/// The last number in both keys of a batch, which are always written together.
fn last(path: &Path) -> u64 {
    let kept = RedbJournal::open(path, "i-1").unwrap().load().unwrap();
    let number = |key: &str| {
        let value = kept.iter().find(|(k, _v)| k == key).map(|(_k, v)| v.clone());
        value.map_or(0, |v| String::from_utf8(v).unwrap().parse::<u64>().unwrap())
    };
    assert_eq!(number("one"), number("two"), "half of a batch is in the journal");
    number("one")
}

#[test]
fn child_that_commits_for_ever() {
    let Some(path) = std::env::var_os(PLACE).map(PathBuf::from) else { return };
    let mut n = last(&path);
    let mut journal = RedbJournal::open(&path, "i-1").unwrap();
    loop {
        n += 1;
        let value = Some(n.to_string().into_bytes());
        journal.commit(&[("one".to_owned(), value.clone()), ("two".to_owned(), value)]).unwrap();
        println!("ack {n}");
        std::io::stdout().flush().unwrap();
    }
}

#[test]
fn kill_9_loses_no_acknowledged_commit() {
    let dir = tempfile::TempDir::new().unwrap();
    let path = dir.path().join("journal.redb");
    let mut total = 0;
    for round in 0..ROUNDS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_that_commits_for_ever", "--nocapture"])
            .env(PLACE, &path)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut acknowledged = 0;
        let wanted = 1 + round * 3;
        let mut seen = 0;
        while seen < wanted {
            let Some(line) = lines.next() else { panic!("the child ended by itself") };
            if let Some(n) = line.unwrap().split("ack ").nth(1) {
                acknowledged = n.trim().parse().unwrap();
                seen += 1;
            }
        }
        child.kill().unwrap();
        // What was still in the pipe was acknowledged too.
        for line in lines.map_while(Result::ok) {
            if let Some(n) = line.split("ack ").nth(1).and_then(|n| n.trim().parse().ok()) {
                acknowledged = n;
            }
        }
        child.wait().unwrap();
        let kept = last(&path);
        assert!(
            kept >= acknowledged,
            "round {round}: {acknowledged} was acknowledged, {kept} is there"
        );
        assert!(kept <= acknowledged + 1, "round {round}: more than one commit was in work");
        assert!(kept >= total, "the journal went back");
        total = kept;
    }
}
