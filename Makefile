# The two that matter: `make run` and `make test`.

run: ## build and start, watching this machine
	cargo run --release --bin pipenotify -- run

test: ## everything CI runs; installs what the tests need
	.ci/install
	cargo build --workspace --bins # the tests start them; `cargo test` alone would not build them anew
	cargo test --workspace --no-fail-fast

bench: ## figures beside VictoriaMetrics, DuckDB and statsforecast; BENCH_DATA=FOLDER for real series
	.ci/install bench
	cargo build --release --bins # with the same features as `make run`, so that nothing is built twice
	cargo run --release --bin bench

soak: ## half an hour at 100,000 samples a second
	.ci/install
	cargo build --release --bins
	cargo run --release --bin bench -- soak

kill: ## killed 200 times under load; then as often on the way of 100,000 deliveries, whose receiver fails now and then
	cargo build --workspace --bins
	PIPENOTIFY_CRASHES=200 cargo test --workspace --test it \
		survives_a_kill_exactly_once -- --nocapture
	PIPENOTIFY_DELIVERIES=100000 PIPENOTIFY_KILLS=200 cargo test --workspace --test it \
		kills_lose_nothing -- --nocapture

chaos: ## break real services and watch; SCENARIO=name plays one, SCENARIO=folder also those in there
	.ci/install
	cargo build --release --bins # what users run
	cargo run --release --bin chaos -- $(SCENARIO)

lint:
	cargo fmt --check
	cargo clippy --workspace --all-targets -- -D warnings

.PHONY: run test bench soak kill chaos lint
