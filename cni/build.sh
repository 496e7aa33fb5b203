#!/usr/bin/env bash
# cni/build.sh [PACKAGE...]: builds static programs, tideway-cni if none is named, and puts them into $CARGO_TARGET_DIR/static.
#
# With musl if Rust has it (`rustup target add x86_64-unknown-linux-musl`, as tests/machine.sh does). A static program of
# glibc asks the processor 43 times what it can do when it starts; on a virtual machine each question goes to the hypervisor,
# and together they are a third of the plugin's own time.
set -euo pipefail
cd "$(dirname "$0")/.."
: "${CARGO_TARGET_DIR:=${XDG_CACHE_HOME:-$HOME/.cache}/tideway/target}"
export CARGO_TARGET_DIR
packages=("$@")
[ $# -gt 0 ] || packages=(tideway-cni)
target=x86_64-unknown-linux-musl
[ -d "$(rustc --print target-libdir --target "$target")" ] || target=x86_64-unknown-linux-gnu
RUSTFLAGS="-C target-feature=+crt-static -C relocation-model=static" \
  cargo build --profile cni --target "$target" "${packages[@]/#/--package=}"
mkdir -p "$CARGO_TARGET_DIR/static"
for package in "${packages[@]}"; do
  install -m 755 "$CARGO_TARGET_DIR/$target/cni/$package" "$CARGO_TARGET_DIR/static/"
done
