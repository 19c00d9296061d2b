# Everything a developer or a first-time user starts. Needs make and Python 3.11 or newer with venv;
# all else comes into .venv, hash-checked, when a target first needs it.

# The interpreters to try, in this order. Another one: make test PYTHON=/usr/local/bin/python3.12
PYTHON ?= python3 python3.13 python3.12 python3.11
# make up ARGS='--port 9000', make test ARGS='-k rollback'
ARGS ?=
# Tests of conformance on a cluster that run side by side: they wait for pods, mostly.
AT_ONCE ?= 6
# How many random runs `make simulate` plays, beside the exhaustive ones.
SEEDS ?= 1000

BIN := .venv/bin
READY := .venv/.ready
IS_USABLE := import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))
# What the images need is a part of what constraints.txt pins, at the same versions.
PIN := $(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --quiet \
    --no-emit-package xaas-runner --no-emit-index-url --no-emit-find-links \
    --custom-compile-command 'make pins'
PINNED := --constraint constraints.txt --no-annotate --upgrade
NOT_FAST := slow or simulation or conformance or e2e or cluster

.DEFAULT_GOAL := help
.PHONY: help demo up test test-fast lint generate verify bench bench-cluster simulate pins clean \
    cluster-up cluster-prepare cluster-down demo-cluster images

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' Makefile

demo: $(READY)  ## run the 11-task tutorial, then the variant that fails and is rolled back
	$(BIN)/xaas demo $(ARGS)

up: $(READY)  ## start the server on 127.0.0.1:8080
	$(BIN)/xaas up $(ARGS)

# All of it; the last two against the chart in a cluster, many tests at a time: with kubectl, and the
# contract of docs/contract.md over REST.
test: $(READY)  ## run the tests of all levels and list what ran
	$(BIN)/python -m pytest $(or $(ARGS),--ignore=tests/e2e)
ifeq ($(ARGS),)
	$(BIN)/python -m pytest tests/e2e --numprocesses=$(AT_ONCE)
	$(BIN)/python -m pytest tests/conformance --on-cluster --numprocesses=$(AT_ONCE)
endif

test-fast: $(READY)  ## run the tests that take no server and no patience: under a minute
	$(BIN)/python -m pytest -m 'not ($(NOT_FAST))' --numprocesses=auto $(ARGS)

lint: $(READY)  ## check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

generate: $(READY)  ## write the generated files anew
	$(BIN)/python -m xaas_api.generate

verify: lint  ## lint; do the generated files match their source, do the layers hold?
	$(BIN)/python -m xaas_api.generate --check
	$(BIN)/lint-imports --no-logo

bench: $(READY)  ## measure speed, with the bounds it is held to
	$(BIN)/python -m benchmarks.run $(ARGS)

bench-cluster: $(READY)  ## the same on the test cluster, against bare Jobs (make cluster-up first)
	$(BIN)/python -m benchmarks.cluster $(ARGS)

simulate: $(READY)  ## play SEEDS=1000 random runs with faults on a virtual clock
	$(BIN)/python tests/simulation/run.py --seeds $(SEEDS) $(ARGS)

cluster-up: $(READY)  ## have a Kubernetes cluster for the tests (tests/cluster/README.md)
	$(BIN)/python -m tests.cluster.up

cluster-prepare: $(READY)  ## build what the tests on a cluster need, and start nothing
	$(BIN)/python -m tests.cluster.prepare

cluster-down: $(READY)  ## end what cluster-up started, and leave nothing behind
	$(BIN)/python -m tests.cluster.down

demo-cluster: $(READY)  ## install the chart into that cluster, and run the tutorial there with kubectl
	$(BIN)/python -m tests.cluster.demo

images: $(READY)  ## build the two container images; load them into the test cluster if it is up
	$(BIN)/python -m tests.cluster.product_images

pins: $(READY)  ## compile constraints.txt anew: the newest versions that pyproject.toml allows
	$(PIN) pyproject.toml --all-extras --group dev --group build --upgrade \
	    --output-file constraints.txt
	$(PIN) runner-image/pyproject.toml $(PINNED) --output-file runner-image/requirements.txt
	$(PIN) pyproject.toml --extra server --extra kubernetes $(PINNED) \
	    --output-file operator/requirements.txt
	$(PIN) --group build $(PINNED) --output-file operator/requirements-build.txt
	$(PIN) --group go --no-annotate --upgrade --output-file tests/cluster/go-requirements.txt
	@if grep -nE '://|file:' constraints.txt */requirements*.txt tests/cluster/*requirements.txt; then \
	    echo 'what is pinned must not name an address (see above)' >&2; exit 1; \
	fi

clean:  ## remove what make made: .venv, caches, builds
	rm -rf .venv .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A .venv that works is kept, also when it is older than what it is made from: pip brings it up to
# date. --only-binary: a source distribution would fetch its build requirements unchecked.
$(READY): constraints.txt pyproject.toml runner-image/pyproject.toml
	@if ! $(BIN)/python -c 'import pip; $(IS_USABLE)' 2>/dev/null; then \
	    found=; \
	    for python in $(PYTHON); do \
	        if "$$python" -c '$(IS_USABLE)' 2>/dev/null; then found=$$python; break; fi; \
	    done; \
	    if [ -z "$$found" ]; then \
	        echo 'No Python 3.11 or newer with venv found (tried: $(PYTHON)).' >&2; \
	        echo '  Debian, Ubuntu: apt-get install python3 python3-venv' >&2; \
	        echo '  Fedora:         dnf install python3' >&2; \
	        echo '  macOS:          brew install python' >&2; \
	        echo '  elsewhere:      make PYTHON=/path/to/python3.12 ...' >&2; \
	        exit 1; \
	    fi; \
	    "$$found" -m venv --clear .venv; \
	fi
	@echo 'Installing into .venv (once, and when the pins change) ...'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check \
	    --require-hashes --only-binary :all: -r constraints.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check \
	    --no-deps --no-build-isolation -e runner-image -e .
	@touch $(READY)
