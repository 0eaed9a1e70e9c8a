# Every check that CI runs, by name. CI runs nothing that is not here.
.DEFAULT_GOAL := help
UV := uv run --frozen
WORKERS ?= 2

.PHONY: observability chart queries-check terraform-check terraform-docs bench-load help install servers lint types imports test test-quick test-e2e test-vllm chaos coverage docs docs-serve \
	config-docs build check chart deploy-check bench-decision bench-overhead bench-overhead-quick bench-classify bench-guards \
	bench-routing bench-routing-quick bench-routing-simulated bench-sim bench-affinity bench-rules bench-scrape bench-diagnosis conformance

help: ## Show the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-22s %s\n", $$1, $$2}'

install: ## Install everything the checks need, from the lock file
	uv sync --frozen

servers: ## Install the servers that tests and benchmarks start (apt)
	scripts/install-servers

lint: ## Style and formatting
	$(UV) ruff check .
	$(UV) ruff format --check .

types: ## Static types, strict
	$(UV) mypy

imports: ## Who may import whom
	$(UV) lint-imports

test: ## All tests but those against real vLLM
	$(UV) pytest -n $(WORKERS)

test-quick: ## The tests that start no programs of ours, for while you write
	$(UV) pytest -n $(WORKERS) -m "not e2e and not vllm and not chaos and not crds and not terraform"

test-e2e: ## Real clients against the real embedded model
	$(UV) pytest -m e2e tests/e2e

test-vllm: ## Real vLLM on CPU: builds its environment first (2.9 GB), then some two minutes
	scripts/vllm-env
	$(UV) pytest -n 0 -m vllm tests/vllm

chaos: ## A storm of a minute: failing replicas, rolling restarts and churn under 200 users
	$(UV) pytest -n 0 -m chaos tests/chaos

coverage: ## All tests, with branch coverage and its limit
	rm -f .coverage .coverage.*
	$(UV) coverage run -m pytest -n $(WORKERS)
	$(UV) coverage combine -q
	$(UV) coverage report

docs: ## Build the documentation; warnings are errors
	$(UV) --group docs mkdocs build --strict

docs-serve: ## Read the documentation at http://127.0.0.1:8001
	$(UV) --group docs mkdocs serve --dev-addr 127.0.0.1:8001

observability: ## Write the Grafana dashboards anew from their code
	$(UV) python -m observability

queries-check: ## Queries for Loki and Tempo against Grafana's own grammars (npm)
	npm install --prefix observability/queries --no-package-lock --no-audit --no-fund --silent
	node observability/queries/check.mjs observability/grafana/dashboards/*.json

config-docs: ## Write docs/configuration.md anew from the schema
	$(UV) python -m headrace.config.describe docs/configuration.md

build: ## Build the wheel and see that it holds what it needs
	uv build --wheel --out-dir dist
	$(UV) python -m zipfile -l dist/headrace-*.whl | grep -q 'headrace/engines/smollm2.jinja'

check: lint types imports coverage deploy-check docs ## What must hold before a change lands

bench-overhead: ## CPU, latency and memory beside eight other proxies (12 minutes, quiet machine)
	$(UV) python -m benchmarks.overhead

bench-overhead-quick: ## The harness works: three proxies, half a minute, numbers are not for quoting
	$(UV) python -m benchmarks.overhead --quick --peers headrace,nginx,asgi

bench-guards: ## How good guards are, by entity, and what they cost (a minute); writes docs/guardrails.md
	$(UV) python -m benchmarks.guards

bench-classify: ## How good classes are: accuracy, calibration, cost, time (a minute); writes docs/tiers.md
	$(UV) python -m benchmarks.tiers --strict

TRACES ?= ../shared/traces
bench-routing: ## Two peers' real routers and ours over simulated engines (40 minutes, quiet machine); TRACES=folder
	$(UV) python -m benchmarks.routing --traces $(TRACES)

bench-routing-simulated: ## Our core and others' policies in the simulation (2 minutes, quiet machine); TRACES=folder
	$(UV) python -m benchmarks.routing.simulated --traces $(TRACES)

bench-routing-quick: ## The harness works: two routers, made-up load, half a minute
	$(UV) python -m benchmarks.routing --quick

bench-rules: ## Microseconds that rules add to a request (half a minute)
	$(UV) python -m benchmarks.rules

bench-affinity: ## Two real vLLM on CPU, three policies, growing conversations (15 minutes); writes into docs
	$(UV) python -m benchmarks.affinity

bench-sim: ## The simulator beside real vLLM on CPU (8 minutes); writes into docs/simulator.md
	$(UV) python -m benchmarks.sim

bench-scrape: ## What a scrape of 64 replicas and 50 tenants costs (half a minute); writes into docs
	$(UV) python -m benchmarks.scrape

bench-fairness: ## What a flood does to who shares the fleet with it, simulated (6 minutes); writes into docs/queue.md
	$(UV) python -m benchmarks.fairness --report

bench-diagnosis: ## Faults in a simulated fleet: does headrace why name them? (a quarter of an hour of one core); writes into docs
	$(UV) python -m benchmarks.diagnosis

bench-decision: ## What one routing decision costs in CPU time (half a minute)
	$(UV) python -m benchmarks.routing.decision

chart: ## Write the chart's schema and README anew, and copy what it takes from observability/
	$(UV) python -m deploy.kit.values

deploy-check: ## The chart: other projects' CRDs (scripts/fetch-crds, HEADRACE_CRDS), policies of checkov
	$(UV) pytest -n 0 -m crds tests/deploy

conformance: ## Headrace and five peers against the conformance kit (7 minutes); writes docs/conformance.md
	$(UV) python -m benchmarks.conformance

terraform-check: ## deploy/terraform: format, schema, tests, policies, planted mistakes (needs tofu or terraform)
	$(UV) python -m deploy.kit.terraform
	$(UV) pytest -n $(WORKERS) -m terraform tests/deploy/terraform

terraform-docs: ## Write the README of each Terraform module anew
	$(UV) python -m deploy.kit.modules

bench-load: ## headrace bench beside guidellm on a simulated engine (a quarter of an hour); for docs/load.md
	$(UV) python -m benchmarks.load
