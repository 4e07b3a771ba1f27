# kerntrail: `make run` builds and starts everything on this machine, `make test` runs every test.
CARGO ?= cargo
export CARGO_TERM_PROGRESS_WHEN ?= auto

.PHONY: run build release deps test test-deps lint docs bench clean
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
test: test-deps ## every test
	$(CARGO) test --profile quick --locked --workspace --no-fail-fast $(TEST)

lint: deps ## formatting and lints
	$(CARGO) fmt --all --check
	$(CARGO) clippy --profile quick --locked --workspace --all-targets -- -D warnings

docs: ## writes docs/tables.md and docs/configuration.md again
	KERNTRAIL_WRITE_DOCS=1 $(CARGO) test --profile quick --locked -p kerntrail-schemas -p kerntrail is_current

bench: release test-deps ## measures, beside peers in the same run
	@bench/run.sh

clean:
	$(CARGO) clean
