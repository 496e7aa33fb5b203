//! The targets under libFuzzer. Its arguments are libFuzzer's own, so the environment says which target it is: see `run.sh`.
#![no_main]
#![expect(clippy::expect_used, reason = "without a target there is nothing to do")]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use tideway_fuzz::{Body, target};

static BODY: LazyLock<Body> = LazyLock::new(|| {
    let name = std::env::var("FUZZ_TARGET").unwrap_or_default();
    target(&name).expect("FUZZ_TARGET names a target")
});

fuzz_target!(|bytes: &[u8]| (*BODY)(bytes));
