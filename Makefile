# Two commands on a fresh machine: `make run` and `make test`. Both begin with `make setup`.
.PHONY: help setup setup-tests run stop check test test-vm bench bench-images format clean lock

PY := .venv/bin/python

help:            ## what there is to do
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## */\t/' | expand -t16

setup:           ## prepare this checkout: system packages and .venv from the lock file
	@scripts/setup

setup-tests:     ## the same, with what the tests and benchmarks need
	@scripts/setup --tests

run: setup       ## start narud on its defaults, make a base image, run a first container
	@scripts/run

stop:            ## end the narud that `make run` started; containers too
	@scripts/stop

check: setup-tests ## format, lint, types, import contracts, unit tests: under a minute
	@.venv/bin/ruff format --check --quiet src tests bench scripts
	@.venv/bin/ruff check --quiet src tests bench scripts
	@.venv/bin/mypy
	@.venv/bin/lint-imports --no-cache
	@$(PY) -m pytest -q tests/unit

test: check      ## the whole test suite, as CI runs it (root)
	@scripts/test

test-vm: setup-tests ## in a guest: device mapper, cgroup v2 with systemd, old iptables
	@scripts/test-vm

bench: setup-tests ## side by side with Debian's dockerd 20.10; writes bench/results
	@$(PY) -m bench.run

bench-images: setup-tests ## the same for images: pull, load, save, commit, cp
	@$(PY) -m bench.images

format:          ## rewrite the sources in the house format
	@.venv/bin/ruff format src tests bench
	@.venv/bin/ruff check --fix --quiet src tests bench

lock:            ## resolve the dependencies anew (needs uv)
	uv pip compile --python-version 3.11 --universal --generate-hashes --no-emit-index-url --no-header --extra fast -q pyproject.toml -o requirements.lock --upgrade
	uv pip compile --python-version 3.11 --universal --generate-hashes --no-emit-index-url --no-header --extra fast --extra deflate --group dev -q pyproject.toml -o requirements-dev.lock --upgrade

clean:           ## remove what the checkout made for itself
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis
