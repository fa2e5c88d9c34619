# The targets are the jobs of CI; `make help` lists them.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:

CARGO ?= cargo
TARGET := $(abspath $(or $(CARGO_TARGET_DIR),target))
TOOLS := $(TARGET)/tools
# The tests that drive the SDK for Rust, a workspace of its own.
SDK_RUST := tests/sdk/rust/Cargo.toml
# The fuzz targets, another one. What they call is linted with the library.
FUZZ := fuzz/Cargo.toml
DENY := $(TOOLS)/deny/bin/cargo-deny
NEXTEST := $(TOOLS)/nextest/bin/cargo-nextest
DIST := $(TARGET)/dist
# What long runs find out is written there; `make results` makes documentation of it.
RESULTS := $(TARGET)/results
# What the models and the long runs of the library are about, lowest layer first: what is made of atomics, and what is made of
# that. The store has tests of its own. loom-tests/mutants and tests/tidy read the next two lines.
CORE_LOW := src/sync src/ring src/wake
CORE_HIGH := src/room src/shard src/broker
CORE := $(CORE_LOW) $(CORE_HIGH)
VERSION = $(shell $(CARGO) pkgid --offline | sed 's/.*[@#]//')
HOST = $(shell rustc -vV | sed -n 's/^host: //p')
ARCHIVE = roomcast-$(VERSION)-$(HOST)

.PHONY: help setup missing fmt fmt-check lint features build run test test-all results loom loom-full loom-mutants shuttle simulate soak crash
.PHONY: crash-events fuzz valgrind autobahn difference sdk-go sdk-java openapi website docs doctests examples bench benches bench-rivals bench-server siege hand-overs instructions check-rivals
.PHONY: check-bench tables deny ci lab profile dist image clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## install what is missing: apt packages (as root), crates, tools under target/tools
	@CARGO=$(CARGO) tests/make/setup.sh

missing:
	@tests/make/setup.sh missing

fmt: ## format the code
	$(CARGO) fmt --all
	$(CARGO) fmt --manifest-path benches/Cargo.toml --all
	$(CARGO) fmt --manifest-path $(SDK_RUST)
	$(CARGO) fmt --manifest-path $(FUZZ)

fmt-check: ## is the code formatted?
	$(CARGO) fmt --all --check
	$(CARGO) fmt --manifest-path benches/Cargo.toml --all --check
	$(CARGO) fmt --manifest-path $(SDK_RUST) --check
	$(CARGO) fmt --manifest-path $(FUZZ) --check

lint: features ## clippy, as a library and with everything, warnings refused; are the locks up to date?
	$(CARGO) clippy --locked --all-targets -- -D warnings
	$(CARGO) clippy --locked --workspace --all-targets --all-features -- -D warnings
	$(CARGO) metadata --locked --format-version 1 --manifest-path benches/Cargo.toml > /dev/null
	$(CARGO) metadata --locked --format-version 1 --manifest-path $(FUZZ) > /dev/null
	$(CARGO) clippy --locked --manifest-path $(SDK_RUST) --target-dir $(TOOLS)/sdk-rust --all-targets -- -D warnings

# Built together, one package would switch on what another one lacks.
features_of = $(filter-out default,$(shell sed -n '/^\[features\]/,/^\[[^f]/s/^\([a-z-]*\) = .*/\1/p' $(1)))
FEATURES = $(addprefix roomcast:,$(call features_of,Cargo.toml)) \
	roomcast-server: $(addprefix roomcast-server:,$(call features_of,crates/server/Cargo.toml))
features: ## each package and each feature by itself: does it compile?
	$(foreach package,roomcast-protocol roomcast-lab,$(CARGO) clippy --locked -q -p $(package) --lib -- -D warnings &&) true
	$(CARGO) clippy --locked -q -p roomcast-lab --no-default-features --lib -- -D warnings
	$(foreach each,$(FEATURES),$(CARGO) clippy --locked -q -p $(subst :, --features=,$(each)) --lib --bins -- -D warnings &&) true

build: ## the release binary, target/release/roomcast
	$(CARGO) build --locked --release -p roomcast-server --features lab,roomcast/all-stores

run: ## a chat at http://127.0.0.1:8000, in development mode; PORT=8001 for another, ARGS="..." for more that serve takes
	@$(CARGO) run --locked --profile quick -p roomcast-server -- \
		serve --dev $(if $(PORT),--listen 127.0.0.1:$(PORT)) $(ARGS) || { status=$$?; \
		if [[ $$status = 1 ]]; then echo "make run takes another port as PORT=8001, and more for the server as ARGS=\"...\""; fi; \
		exit $$status; }

# A suite is a name and a command. All run, then it fails if one did; docs/testing.md says what each is for.
CARGO_TEST = $(if $(shell test -x $(NEXTEST) && echo yes),$(NEXTEST) nextest run,$(CARGO) test --no-fail-fast) --locked --workspace --all-features
TEST_BINARIES := library storage server cli lab process soak tidy
SDKS := js python rust
SUITES = \
	build "$(CARGO) build --locked -p roomcast-server --all-features && $(CARGO) test --locked --workspace --all-features --no-run --lib --bins --tests" \
	alone "$(CARGO) test --locked -p roomcast --lib --test library && $(CARGO) test --locked -p roomcast --all-features --no-run" \
	unit "$(CARGO_TEST) --lib --bins" \
	$(foreach name,$(TEST_BINARIES),$(name) "$(CARGO_TEST) --test $(name)") \
	$(foreach name,$(SDKS),sdk-$(name) "ROOMCAST_BIN=$(TARGET)/debug/roomcast tests/sdk/run.sh sdk/$(name)/") \
	browser "ROOMCAST_BIN=$(TARGET)/debug/roomcast tests/browser/run.sh" \
	package "ROOMCAST_BIN=$(TARGET)/debug/roomcast tests/package/run.sh"

test: setup ## all tests: Rust, then real clients of Node, Python and Rust, then the page in a browser
	tests/make/steps.sh test all $(SUITES)

# What takes longer than `make ci` may.
LONG := loom-full loom-mutants shuttle fuzz soak crash valgrind difference sdk-go sdk-java openapi website
test-all: setup ## the same, and everything that takes long: two to three hours
	tests/make/steps.sh test-all all test "$(MAKE) --no-print-directory test" \
		$(foreach name,$(LONG),$(name) "$(MAKE) --no-print-directory $(name)")

results: ## copy what the long targets have left in target/results into docs
	tests/make/publish.sh

LOOM_FLAGS = RUSTFLAGS="--cfg roomcast_loom -C debug-assertions"
# One package has nothing to gain from optimizing across packages, and is built often here.
MODEL_BUILD = --config 'profile.release.lto=false' --locked -p roomcast --release

LOOM = $(CARGO) test $(MODEL_BUILD) --target-dir $(TARGET)/loom --lib $(or $(MODEL),loom_tests::)

loom: ## check the concurrency models; MODEL=name for one
	$(LOOM_FLAGS) $(if $(MODEL),,TREE="$(CORE) loom-tests" tests/make/results.sh loom ' \.\.\. ok$$') $(LOOM)

loom-full: ## the same with more preemptions and more messages; may take an hour
	ROOMCAST_LOOM_MORE=1 $(LOOM_FLAGS) TREE="$(CORE) loom-tests" tests/make/results.sh loom-full ' executions with ' $(LOOM) -- --nocapture

loom-mutants: ## weaken every ordering, break every rule: does a model notice? takes minutes
	@mkdir -p $(RESULTS)
	CARGO_TARGET_DIR=$(TARGET) CARGO=$(CARGO) python3 loom-tests/mutants --write $(RESULTS)/loom-mutants.md

shuttle: ## scenarios under random schedules, a few minutes; QUICK=1: less than one
	ROOMCAST_SHUTTLE_SCHEDULES=$${ROOMCAST_SHUTTLE_SCHEDULES:-$(if $(QUICK),500,10000)} \
	RUSTFLAGS="--cfg roomcast_shuttle -C debug-assertions" \
		TREE="$(CORE) shuttle-tests" tests/make/results.sh shuttle$(if $(QUICK),-quick) ' schedules$$' \
		$(CARGO) test $(MODEL_BUILD) --target-dir $(TARGET)/shuttle --lib shuttle_tests:: -- --nocapture

SIMULATION = $(CARGO) test --locked -p roomcast-server --all-features --lib simulation::tests::whatever_happens -- --nocapture

simulate: ## play 200 seeds of a simulated world; SEEDS=1000 FIRST=201: more, other ones; SEED=7 plays one and tells it
	ROOMCAST_SIMULATION_SEED=$(SEED) ROOMCAST_SIMULATION_SEEDS=$(SEEDS) ROOMCAST_SIMULATION_FIRST=$(FIRST) $(SIMULATION)

soak: ## the long runs of tests/soak, some twenty minutes on two cores; then 10,000 seeds of a simulated world, a quarter of an hour
	ROOMCAST_SOAK=1 TREE="$(CORE) tests/soak" tests/make/results.sh soak '^.*[|] ' \
		$(CARGO) test --locked --release --test soak -- --nocapture --test-threads=1
	ROOMCAST_SIMULATION_SEEDS=$(or $(SEEDS),10000) TREE="src crates" tests/make/results.sh simulation ' invariants hold$$' $(SIMULATION)

fuzz: ## ten minutes of each fuzz target; SECS=60 another time, QUICK=1: 20; INPUT=fuzz/artifacts/... runs an input once more
	$(if $(or $(QUICK),$(INPUT),$(SECS)),,TREE="src crates fuzz" tests/make/results.sh fuzz ' no finding$$') \
		fuzz/run.sh $(or $(INPUT),$(SECS),$(if $(QUICK),20,600))

crash: ## kill -9 and cut the power under load, readers behind, hundreds of times; half an hour on two cores
	ROOMCAST_CRASH_ROUNDS=$${ROOMCAST_CRASH_ROUNDS:-300} ROOMCAST_POWER_ROUNDS=$${ROOMCAST_POWER_ROUNDS:-150} \
		TREE="src crates tests/storage tests/server tests/disk" tests/make/results.sh crash '[|] [0-9]+ rounds' \
		$(CARGO) test --locked --workspace --all-features --test storage --test server -- crash:: power:: behind::nothing_is_seen --nocapture --test-threads=1

crash-events: ## what `crash` kills of room events alone, server and backend, 200 rounds; a few minutes
	ROOMCAST_CRASH_ROUNDS=$${ROOMCAST_CRASH_ROUNDS:-200} \
		TREE="crates tests/server" tests/make/results.sh crash-events '[|] [0-9]+ rounds' \
		$(CARGO) test --locked -p roomcast-server --all-features --test server -- room_events::crash:: --nocapture

valgrind: ## memcheck over the unit tests and the tests of the library that are not too slow for it
	tests/valgrind.sh

autobahn: ## play the cases of the Autobahn test suite and write what they show into target/results/autobahn.md
	@mkdir -p $(RESULTS) && rm -f $(RESULTS)/autobahn.md
	ROOMCAST_WRITE_PAGE=$(RESULTS)/autobahn.md $(CARGO) test --locked -p roomcast-server --all-features --test server autobahn::

difference: ## play the same scripts to Centrifugo and to roomcast; WORDS="history recovery" plays those with such a name
	@mkdir -p $(RESULTS)
	$(if $(WORDS),,ROOMCAST_WRITE_PAGE=$(RESULTS)/difference.md) tests/difference/run.sh $(WORDS)

sdk-go sdk-java: sdk-%: ## the suite of the SDK of Go, or of Java
	TREE="crates/server/src crates/protocol/src tests/sdk/$*" tests/make/results.sh $@ \
		'^not run|^ *--- |^\[(INFO|ERROR)\] (Tests run|roomcast)|^[0-9]+ passed' tests/sdk/beside.sh $*

openapi: ## four minutes of schemathesis on the description of the server API
	TREE="crates/server/src/api tests/openapi.sh" tests/make/results.sh openapi \
		'^not run|Operations|^ *(Selected|Tested):|generated|^Seed|=== (No|.*failure|.*issue)' tests/openapi.sh

website: ## what docs/your-website.md prints: its pages in Chromium, its backends, nginx, Caddy and HAProxy
	tests/website/run.sh

docs: ## the documentation of all packages, warnings refused
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --workspace --all-features --no-deps

# By a rustdoc that looks at the codes of the errors that examples name; the stable one ignores them.
doctests:
	RUSTDOC=$(abspath tests/rustdoc.sh) $(CARGO) test --locked --workspace --all-features --doc

examples:
	$(CARGO) build --locked --all-features --examples
	@for example in examples/*.rs; do \
		[[ -e "$$example" ]] || continue; \
		set -x; timeout 60 $(CARGO) run --locked -q --all-features --example "$$(basename "$$example" .rs)"; { set +x; } 2>/dev/null; \
	done

bench: ## run the benchmarks
	$(CARGO) bench --locked --all-features

benches:
	$(CARGO) bench --locked --all-features --no-run

deny: ## licences, sources, versions and advisories of what we depend on
	@if [[ ! -x $(DENY) ]]; then echo "not run: cargo-deny is not installed; type: make setup"; exit 0; fi; \
	$(CARGO) fetch --locked -q; \
	$(DENY) --offline --locked check --hide-inclusion-graph licenses bans sources; \
	if $(DENY) --locked fetch db >/dev/null 2>&1; then $(DENY) --locked check advisories; \
	else echo "advisories not run: the advisory database cannot be reached from here"; fi

tables: ## name the tables of docs/results that were made from another tree
	@tests/make/tables.sh old

# Cheap checks first; the tests last, so that their counts close the output.
STEPS := fmt-check lint check-bench deny docs benches doctests examples tables loom shuttle fuzz test
ci: ## everything above that can fail, and how long each step took
	tests/make/steps.sh ci first $(foreach step,$(STEPS),$(step) "$(MAKE) --no-print-directory $(step) QUICK=1")

SCENARIO ?= fan-out
PROFILED = $(SCENARIO) $(TARGET)/profile/$(SCENARIO) $(foreach set,$(SET),--set $(set))

BENCHES = --locked --manifest-path benches/Cargo.toml --target-dir $(TARGET)

bench-rivals: ## measure roomcast and its rivals into target/results/rivals.md; QUICK=1; ROWS="L3 --rival tokio" prints rows
	$(CARGO) build $(BENCHES) --release -p rivals --bins
	@mkdir -p $(RESULTS)
	$(TARGET)/release/rivals $(if $(QUICK),--quick) $(or $(ROWS),--out $(RESULTS)/rivals$(if $(QUICK),-quick).md)

bench-server: build ## measure the server and its rivals into target/results/server.md; QUICK=1; ROWS="churn --rival bun" prints rows
	CARGO_TARGET_DIR=$(TARGET) benches/server/setup.sh
	$(CARGO) build $(BENCHES) --release -p server-bench --bins
	@mkdir -p $(RESULTS)
	$(TARGET)/release/server-bench $(if $(QUICK),--quick) $(or $(ROWS),--out $(RESULTS)/server$(if $(QUICK),-quick).md)

siege: build ## ten minutes of attacks beside a thousand honest clients, into target/results/siege.md; QUICK=1; MINUTES=3; ONLY=flood
	$(CARGO) build $(BENCHES) --release -p siege -p server-bench --bins
	@mkdir -p $(RESULTS)
	$(TARGET)/release/siege $(if $(MINUTES),--minutes $(MINUTES),$(if $(QUICK),--minutes 1)) $(if $(ONLY),--only "$(ONLY)") \
		--out $(RESULTS)/siege$(if $(QUICK)$(ONLY)$(MINUTES),-quick).md

hand-overs: build ## 50 hand-overs under load, 5,000 clients over TLS, an hour: target/results/hand-overs.md; QUICK=1: 3, 200 clients
	$(CARGO) build $(BENCHES) --release -p hand-overs
	@mkdir -p $(RESULTS)
	$(TARGET)/release/hand-overs $(if $(QUICK),--times 3 --clients 200 --spread 8) \
		$(if $(TIMES),--times $(TIMES)) $(if $(CLIENTS),--clients $(CLIENTS)) $(if $(SPREAD),--spread $(SPREAD)) \
		--out $(RESULTS)/hand-overs$(if $(QUICK)$(TIMES)$(CLIENTS)$(SPREAD),-quick).md

# They mean the same on a busy machine.
instructions: ## count a publish, a receive, a delivery of the server into target/results/instructions.md; ONLY=library, ONLY=server
	$(if $(filter library,$(ONLY)),,$(CARGO) build --locked --release -p roomcast-server)
	$(CARGO) build $(BENCHES) --release $(if $(filter library,$(ONLY)),,-p server-bench) -p instructions --bins
	@mkdir -p $(RESULTS)
	$(TARGET)/release/instructions $(if $(ONLY),--only $(ONLY)) \
		--before docs/results/instructions.md --out $(RESULTS)/instructions$(if $(ONLY),-quick).md

lab: build ## turn every knob, in the process and over the network, some twenty minutes: target/results/lab/report.html
	rm -rf $(RESULTS)/lab
	$(TARGET)/release/roomcast lab sweep --plan every-knob --out $(RESULTS)/lab

# Books of the allocator slow everything down, so that binary is another one.
profile: ## a flame graph and an allocation profile in target/profile/NAME; SCENARIO=fan-out SET="subscribers=100 seconds=3"
	$(CARGO) build --locked --release -p roomcast-server --features profile
	BIN=$(TARGET)/release/roomcast benches/profile.sh $(PROFILED)
	$(CARGO) rustc --locked --release -p roomcast-server --features profile --bin roomcast -- --cfg roomcast_profile_heap
	BIN=$(TARGET)/release/roomcast benches/profile.sh $(PROFILED)
	@ls $(TARGET)/profile/$(SCENARIO)

check-rivals: ## clippy and the tests of what bench-rivals and bench-server run
	$(CARGO) clippy $(BENCHES) --workspace --all-targets -- -D warnings
	$(CARGO) test $(BENCHES) --workspace --lib

# What the server's bench is made of needs no rival to be built, so everybody can afford it.
check-bench: ## clippy and the tests of what bench-server runs
	$(CARGO) clippy $(BENCHES) -p harness -p server-bench -p siege -p hand-overs -p instructions --all-targets -- -D warnings
	$(CARGO) test $(BENCHES) -p harness -p server-bench --lib

dist: build ## an archive and a Debian package with binary, licences, unit file and checksums, in target/dist
	tests/make/tables.sh failed
	rm -rf $(DIST) && mkdir -p $(DIST)/$(ARCHIVE)
	strip -o $(DIST)/$(ARCHIVE)/roomcast $(TARGET)/release/roomcast
	$(DIST)/$(ARCHIVE)/roomcast config default > $(DIST)/$(ARCHIVE)/roomcast.toml
	dist/third-party.py > $(DIST)/$(ARCHIVE)/THIRD-PARTY.txt
	cp LICENSE-MIT LICENSE-APACHE CHANGELOG.md dist/roomcast.service dist/roomcast.1 $(DIST)/$(ARCHIVE)/
	cd $(DIST)/$(ARCHIVE) && sha256sum -- * > SHA256SUMS
	tar -C $(DIST) --sort=name --owner=0 --group=0 --numeric-owner --mtime=@$${SOURCE_DATE_EPOCH:-0} \
		-cf - $(ARCHIVE) | gzip -n9 > $(DIST)/$(ARCHIVE).tar.gz
	cd $(DIST) && sha256sum $(ARCHIVE).tar.gz > $(ARCHIVE).tar.gz.sha256
	@if ! command -v dpkg-deb >/dev/null; then echo "the Debian package is not made: this system has no dpkg-deb"; else \
		tests/package/run.sh "$$(dist/deb/build.sh $(TARGET)/release/roomcast $(DIST))" && \
		cd $(DIST) && for package in *.deb; do sha256sum "$$package" > "$$package.sha256"; done; fi
	@ls -l $(DIST)/*.tar.gz $(DIST)/*.deb 2>/dev/null || true

image: ## a container image of what dist makes
	@if ! docker info >/dev/null 2>&1; then echo "not run: no docker engine"; exit 0; fi; \
	$(MAKE) dist && docker build -f Dockerfile -t roomcast:$(VERSION) $(DIST)/$(ARCHIVE)

clean: ## remove everything that was built
	$(CARGO) clean
