# Thin on purpose: each target calls one program that does the work and can be read by itself.
.DEFAULT_GOAL := help
SHELL := bash
TARGET := $(or $(CARGO_TARGET_DIR),target)

.PHONY: help build test demo lint generate verify bench bench-rivals cluster

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

build: ## Build both programs and the tools of the tests
	cargo build --workspace --bins

test: ## Run every test of every tier; builds or installs what is absent
	@tests/tools/test.sh

demo: ## Control plane, operator, gateway and four real MCP servers; Ctrl-C cleans up
	@tests/tools/demo.sh

lint: ## Formatting, clippy, rustdoc, import and licence rules; no test is run
	@tests/tools/lint.sh

generate: ## Write again what is generated: CRDs, their chart, deploy/install.yaml
	@tests/tools/generate.sh

verify: lint test ## What CI runs

bench: ## What the gateway costs beside a raw reference and its rivals, on this machine
	cargo build --release -p vmcp -p vmcp-tests --bin vmcp --bin bench
	@$(TARGET)/release/bench

bench-rivals: ## Install the gateways that `make bench` compares with, as far as registries have them
	@tests/tools/rivals.sh

cluster: ## Leave a control plane running and print its kubeconfig
	@tests/tools/build.sh kubernetes etcd
	cargo build --workspace --bins
	@$(TARGET)/debug/cluster up
