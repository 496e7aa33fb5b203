//! How a test runs: skipped without root, raised, judged by the checks that hold after every test.

use anyhow::Result;
use tideway_lab::CloudKind;
use tideway_node_tests::{Bed, Setup};

/// Runs the test on Alibaba Cloud and on AWS.
pub(crate) fn run_on_both(setup: &Setup, test: impl Fn(&mut Bed) -> Result<()>) {
    for cloud in [CloudKind::Aliyun, CloudKind::Aws] {
        run(setup.clone().on(cloud), &test);
    }
}

/// Raises the bed, runs the test in it and then all checks. A failure shows the daemons' logs.
pub(crate) fn run(setup: Setup, test: impl FnOnce(&mut Bed) -> Result<()>) {
    let thread = std::thread::current();
    let name = thread.name().unwrap_or("node test");
    if !tideway_testkit::requires_root(name) {
        return;
    }
    let outcome = Bed::raise(&setup).and_then(|mut bed| {
        if let Err(e) = test(&mut bed) {
            let logs = bed.logs();
            return Err(e.context(logs));
        }
        bed.finish()
    });
    if let Err(e) = outcome {
        let chain: Vec<_> = e.chain().map(ToString::to_string).collect();
        panic!("{}\n{name} failed on {:?}: {}", chain[0], setup.cloud, chain[1..].join(": "));
    }
}
