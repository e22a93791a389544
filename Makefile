# make up     install what is missing, start vLLM with the demo model, answer once, serve until Ctrl-C
#             (another port: make up ARGS="--port 8081"; other tests only: make test ARGS=tests/unit)
# make test   install what is missing, run every test (real vLLM on the CPU included) in two processes
# make check  format, lint, types, structure, generated files
# make bench  measure the data path beside other gateways, a quarter of an hour (needs gcc, nginx; see benchmarks/README.md)
# make wheel  build dist/remuda-*.whl with a compiled gateway (needs a C compiler and Python's headers)
# make gen    rewrite the generated files

SHELL := /bin/bash
.ONESHELL:
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help env up test check fix gen bench wheel clean
MAKEFLAGS += --no-print-directory

PYTHON ?= python3
# More processes than this start more engines at once: each takes two cores for half a minute and 1.5 GB.
PROCESSES ?= 2
REMUDA := .venv/bin/remuda

help:
	@sed -n 's/^# \(make .*\|  .*\)/\1/p' Makefile

# The locked environment. uv completes a half-made one; checking a complete one takes 50 ms.
env:
	@uv="$$($(PYTHON) scripts/get_uv.py)"
	# Packages are compiled once here. Otherwise each command would do so when Python may not write byte code.
	UV_COMPILE_BYTECODE=1 "$$uv" sync --locked --quiet || {
	  echo "error: the project environment .venv could not be installed" >&2
	  echo "hint: the reason is above; check the network, the disk (300 MB) and that .venv is yours, then run it again" >&2
	  exit 1
	}

up: env
	@exec $(REMUDA) up examples/laptop.yaml $(ARGS)

test: env
	@$(REMUDA) engine install
	exec .venv/bin/pytest --numprocesses $(PROCESSES) $(ARGS)

check: env
	@PATH="$(CURDIR)/.venv/bin:$$PATH"
	ruff format --check .
	ruff check .
	mypy
	lint-imports --no-cache
	pytest -q tests/unit/test_architecture.py
	python scripts/generate.py --check
	python scripts/features.py --check

fix: env
	@.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

gen: env
	@.venv/bin/python scripts/generate.py
	.venv/bin/python scripts/features.py

bench: env
	@exec .venv/bin/python -m benchmarks.run $(ARGS)

wheel: env
	@REMUDA_COMPILE=1 .venv/bin/uv build --quiet --wheel --no-build-isolation --python .venv/bin/python -o dist
	ls -1 dist/*.whl

clean:
	@rm -rf .venv .tools build .mypy_cache .ruff_cache .pytest_cache .hypothesis
