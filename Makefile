# Few targets over the scripts in hack/; nothing happens here that they do not do.
.DEFAULT_GOAL := help
.PHONY: help check test gen up down bench

help: ## This list
	@sed -nE 's/^([a-z]+):.*## (.*)/make \1	\2/p' $(MAKEFILE_LIST)
check: ## Lint and unit tests: the inner loop, without Docker
	hack/test fast
test: ## Everything, as CI runs it
	hack/test
gen: ## Write generated files
	hack/gen
up: ## Lattice with PostgreSQL on this machine
	hack/up
down: ## Remove all that `make up` made
	hack/down
bench: ## Benchmarks, with the figures in hack/bench/
	@for bench in store wire apply; do .venv/bin/python hack/bench/$$bench.py || exit 1; done
