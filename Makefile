# `make demo` and `make test` do all their own set-up; `make help` lists the rest.
.DEFAULT_GOAL := help
.PHONY: help demo test crash-test api-fuzz test-matrix lint fmt bench bench-rows package postgres cargo

# rustup's folder is not on the PATH of every shell that runs make.
export PATH := $(PATH):$(HOME)/.cargo/bin

# Finds or installs PostgreSQL's server programs and tells diffmig where they are.
with_postgres = DIFFMIG_PG_BIN="$$(scripts/ensure-postgres.sh)" && export DIFFMIG_PG_BIN

# Tests and lints have failpoints, so that one build serves; what users run has none.
lint = cargo fmt --check && cargo clippy --all-targets --features failpoints -- -D warnings

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile

demo: cargo ## the whole workflow on two throw-away servers, narrated
	@$(with_postgres) && exec cargo run --quiet -- demo

test: cargo ## formatting, lints and all tests, against real servers (and a browser, if there is one)
	@$(with_postgres) && export DIFFMIG_SANDBOX_CACHE="$(CURDIR)/target/sandbox-cache" && $(lint) && scripts/run-tests.sh

crash-test: cargo ## every accident: cuts at every message, kills, random histories, fault cases
	@$(with_postgres) && export DIFFMIG_SANDBOX_CACHE="$(CURDIR)/target/sandbox-cache" && scripts/crash-test.sh

api-fuzz: cargo ## requests made from the OpenAPI document against a running server (schemathesis from PyPI)
	@$(with_postgres) && export DIFFMIG_SANDBOX_CACHE="$(CURDIR)/target/sandbox-cache" && scripts/api-fuzz.sh

test-matrix: cargo ## the acceptance scenarios with source and target on PostgreSQL 12 to 18
	@export DIFFMIG_SANDBOX_CACHE="$(CURDIR)/target/sandbox-cache" && scripts/test-matrix.sh

lint: cargo ## formatting and lints only
	@$(lint)

fmt: cargo ## format the sources
	@cargo fmt

bench: cargo ## diffmig beside its peers, on throw-away servers; DIFFMIG_BENCH_ROWS=500000 for a quick look
	@$(with_postgres) && PATH="$$DIFFMIG_PG_BIN:$$PATH" cargo bench --quiet --bench peers

bench-rows: cargo ## the loop that every row goes through, in memory and without a server
	@cargo bench --quiet --bench rows

package: cargo ## a .deb, a tarball and checksums of the release, in target/package
	@scripts/package.sh

postgres: ## make sure PostgreSQL's server programs exist; prints their folder
	@scripts/ensure-postgres.sh

cargo:
	@command -v cargo >/dev/null || { \
		echo "error: cargo is not installed" >&2; \
		echo "next: install Rust with rustup (many distributions have a package of that name); rust-toolchain.toml picks the version" >&2; \
		exit 1; }
