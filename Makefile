# kerntrail: `make run` builds and starts everything on this machine, `make test` runs every test.
CARGO ?= cargo
LINT_TOOLS ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/kerntrail-lint
export CARGO_TERM_PROGRESS_WHEN ?= auto

.PHONY: run build release deps test test-deps lint lint-deps docs bench clean
.DEFAULT_GOAL := build

deps: ## the system packages that the build needs
	@deploy/install-deps.sh build

build: deps ## the program, quickly built: target/quick/kerntrail
	$(CARGO) build --profile quick --locked

release: deps ## the program, fully optimized: target/release/kerntrail
	$(CARGO) build --release --locked

run: build ## everything on this machine
	@echo "kerntrail starts; ask it from another terminal: target/quick/kerntrail query \"show tables\""
	@exec target/quick/kerntrail run $(RUN)

test-deps: deps
	@tests/testbed/install.sh

# The profile of the program, so that nothing is built twice. All failures show in one run.
# TEST="-p kerntrail-lake" runs one crate's; the first time, dependencies are built once more with that crate's features.
# TEST="part_of_a_name" runs those of all crates.
TEST ?=
test: test-deps ## every test, or those that TEST selects
	$(CARGO) test --profile quick --locked --no-fail-fast $(if $(filter -p% --package%,$(TEST)),,--workspace) $(TEST)

# Installs nothing when these versions are there already.
lint-deps: deps
	@$(CARGO) install --quiet --locked --root $(LINT_TOOLS) cargo-machete@0.9.2 cargo-deny@0.20.2

lint: lint-deps ## formatting, lints, unused dependencies, licences and duplicate versions
	$(CARGO) fmt --all --check
	$(CARGO) clippy --profile quick --locked --workspace --all-targets -- -D warnings
	$(LINT_TOOLS)/bin/cargo-machete
	$(LINT_TOOLS)/bin/cargo-deny --all-features --locked check --hide-inclusion-graph bans licenses sources

# Read the difference before committing it: what a test would have found wrong is written down as right here.
# docs/tables.md also has the producers' lists: their crates are tested before `schemas`, in the order of the names.
docs: test-deps ## runs all tests and writes every generated page and golden file again
	UPDATE_EXPECT=1 $(CARGO) test --profile quick --locked --no-fail-fast --workspace

bench: release test-deps ## measures, beside peers in the same run
	@bench/run.sh

clean:
	$(CARGO) clean
