# Tideway. `make demo` shows it, `make test` tests it; `make help` lists the rest.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
export CARGO_TARGET_DIR ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/tideway/target
export CARGO_TERM_COLOR ?= auto

BIN := $(CARGO_TARGET_DIR)/debug

.PHONY: help
help: ## list the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  %-14s %s\n", $$1, $$2}' Makefile

.PHONY: machine
machine: ## install or name what this machine lacks
	@bash tests/machine.sh

.PHONY: build
build: machine ## all programs (debug), the static CNI plugin and the test image's probe
	cargo build --workspace --bins
	bash cni/build.sh tideway-cni tideway-probe

.PHONY: kubernetes
kubernetes: machine ## the Kubernetes of the tests (one Go binary; about 8 minutes once)
	bash tests/cluster/build.sh

.PHONY: demo
demo: ## lab VPC + two-node Kubernetes + Tideway: run the main job, show it, clean up (CLOUD=aws; KEEP=1 leaves it)
	@$(MAKE) --no-print-directory build kubernetes || { echo 'demo: FAILED: what it needs is missing or cannot be built, see above'; exit 1; }
	$(if $(CLOUD),TIDEWAY_CLOUD=$(CLOUD)) TIDEWAY_KUBEBED="$$(bash tests/cluster/build.sh)" $(BIN)/tideway-demo $(if $(KEEP),--keep)

.PHONY: demo-down
demo-down: ## take down what `KEEP=1 make demo` left
	$(BIN)/tideway-demo down

.PHONY: lint
lint: ## fmt, clippy, deny, dependency arrows, generated manifests and docs
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	cargo check -q -p tidewayd --no-default-features --features aliyun
	cargo clippy --workspace --test node --test cluster --test scheduler -- -D warnings
	@command -v cargo-deny >/dev/null || cargo install --locked cargo-deny --version 0.20.2
	cargo deny --offline --log-level error check bans licenses sources
	cargo build -q --workspace --bin xtask
	$(BIN)/xtask arrows
	$(BIN)/xtask unseen
	$(BIN)/xtask crds --check
	$(BIN)/xtask errors --check
	$(BIN)/xtask policies --check

.PHONY: test
test: build kubernetes ## every test; says how many were skipped and why
	@bash tests/run.sh

.PHONY: test-clouds
test-clouds: build ## the clouds' own SDKs judge the lab, their signers and moto what our clients send
	@bash tests/run.sh aliyun ec2 signer

.PHONY: test-scheduler
test-scheduler: build kubernetes ## every scenario with the real scheduler, the long ones too
	TIDEWAY_LONG=1 cargo test --workspace --test scheduler

.PHONY: test-aws
test-aws: build kubernetes ## the scenarios with a real Kubernetes on AWS, the long ones too; `make test` runs them on Alibaba Cloud
	TIDEWAY_CLOUD=aws TIDEWAY_LONG=1 cargo test --workspace --test cluster

.PHONY: soak
soak: build kubernetes ## real Kubernetes, pods that come and go, random faults (MINUTES, SOAK_SEED)
	TIDEWAY_LONG=1 SOAK_MINUTES=$(or $(MINUTES),30) cargo test --workspace --test cluster -- random_faults a_pod_on_another after_all_faults

.PHONY: bench-cni
bench-cni: machine ## ADD+DEL as a whole process against ptp + host-local
	bash bench/cni.sh

.PHONY: bench-extender
bench-extender: machine kubernetes ## the real scheduler with and without tideway-extender
	bash bench/extender.sh

.PHONY: bench-cloud
bench-cloud: machine ## a cold node until 30 and until 100 addresses, on both clouds
	bash bench/cloud.sh

.PHONY: figures
figures: machine ## what plumbing a pod and the extender's decisions cost alone: measurements that assert nothing
	cargo test --workspace --test kernel figures -- --ignored --nocapture
	cargo test --workspace --test pace -- --ignored --nocapture

.PHONY: sim
sim: ## the allocator against a model world: millions of operations with crashes (OPERATIONS, SEED)
	cargo run --release -q -p tideway-sim -- run --operations $(or $(OPERATIONS),4000000) --seed $(or $(SEED),1) --all --cover 100 --json target/bench/sim.json

# A state is some thousand small pieces of memory that come and go with it: with room for them, malloc costs half.
.PHONY: small
small: ## every interleaving of two pods, two addresses and one ENI (DEPTH)
	cargo build --release -q -p tideway-sim
	GLIBC_TUNABLES=glibc.malloc.tcache_count=60000 $(CARGO_TARGET_DIR)/release/tideway-sim small --depth $(or $(DEPTH),12)

.PHONY: mutants
mutants: ## what no test of the allocator notices: cargo-mutants, judged by its tests and the simulator (SHARD=k/n, FILES="rest.rs")
	@command -v cargo-mutants >/dev/null || cargo install --locked cargo-mutants --version 27.1.0
	bash sim/mutants.sh $(SHARD) $(FILES)

.PHONY: fuzz
fuzz: machine ## what comes from outside, bent by libFuzzer: each target for SECONDS (60), or only TARGETS
	bash fuzz/run.sh $(or $(SECONDS),60) $(TARGETS)
