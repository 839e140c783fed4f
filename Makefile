# make demo: set up and run the main job on the bundled model and sample.
# make test: set up and pass all checks.
# make test-cluster: a cluster of two machines in network namespaces, one of which is lost; root on Linux.
# make prove: the estimators against a known truth, 400 logs per setting; writes docs/proof.md.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint requirements/constraints.txt
DEMO_REPORT ?= demo-report

.PHONY: demo test test-cluster check bench prove clean

demo: $(VENV)/.runtime
	$(BIN)/reranker demo --output $(DEMO_REPORT)

test: $(VENV)/.dev check
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 3 --dist loadfile --doctest-modules --cov --cov-report=term:skip-covered --cov-fail-under=95 -q tests reranker models eval

test-cluster: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -rs tests/cluster/one_node.py tests/cluster/two_nodes.py

check: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/.bench
	$(BIN)/python benchmarks/ranking.py
	$(BIN)/python benchmarks/classifier.py
	$(BIN)/python benchmarks/evaluation.py
	$(BIN)/python benchmarks/click_models.py
	$(BIN)/python benchmarks/serving.py --soak-s 300

prove: $(VENV)/.runtime
	$(BIN)/python -m eval.prove --replicates 400 --seed 1 -o docs/proof.md

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "expected Python 3.11 or later; set PYTHON=..."; exit 2; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.runtime: $(VENV)/bin/python pyproject.toml requirements/constraints.txt
	@echo "installing into $(VENV) (a few minutes the first time)"
	$(PIP) --editable '.[fit]'
	@touch $@

# Clients of the services that run on Node are tested where npm is there.
$(VENV)/.dev: $(VENV)/bin/python pyproject.toml requirements/constraints.txt tests/node/package-lock.json
	@echo "installing into $(VENV) (a few minutes the first time)"
	$(PIP) --editable '.[dev]'
	@if command -v npm > /dev/null; then npm ci --prefix tests/node --no-audit --no-fund --silent; fi
	@touch $@ $(VENV)/.runtime

$(VENV)/.bench: $(VENV)/.runtime
	$(PIP) --editable '.[bench,serve]'
	@touch $@

clean:
	rm -rf $(VENV) $(DEMO_REPORT) dist
