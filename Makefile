# Everything here makes what it needs and says what it does. The two to begin with: make demo, make test.
SHELL := bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/installed
PYTEST := $(BIN)/python -m pytest -q -p no:cacheprovider
# Two processes, each with an API server of its own. A cluster that is named is one, and nothing there is shared.
SHARED := $(if $(DEZKY_TEST_KUBECONFIG),,-n 2 --dist loadfile)
# An exported cluster may be a production one; nothing here may ever reach it.
unexport KUBECONFIG

.PHONY: demo test lint test-unit test-integration test-acceptance test-faults test-faults-full test-properties test-properties-full test-real bench bench-audit up down tools ferretdb clean prerequisites

demo: tools ## two tenants from nothing to Ready, and everything down again
	@$(BIN)/python -m tests.demo

up: tools ## the same, left running
	@$(BIN)/python -m tests.demo up

down: ## stop what `make up` left running
	@$(BIN)/python -m tests.demo down

test: lint test-unit test-integration test-acceptance test-faults test-properties ## what CI runs

lint: $(STAMP)
	@echo "lint: style, types, layers"
	@$(BIN)/ruff format --check operator tests tools
	@$(BIN)/ruff check operator tests tools
	@$(BIN)/mypy
	@PYTHONPATH=operator $(BIN)/lint-imports --no-cache

test-unit: ferretdb
	@echo "test-unit: pure, and the stand-ins one by one"
	@$(PYTEST) $(SHARED) tests/unit

test-integration: tools
	@echo "test-integration: a real API server, the operator and the stand-ins"
	@$(PYTEST) $(SHARED) tests/integration

# Stand-ins only, whatever servers the shell knows: those are for test-real.
STANDINS := env -u DEZKY_TEST_AUTHENTIK_URL -u DEZKY_TEST_STALWART_URL -u DEZKY_TEST_OCIS_URL

test-acceptance: $(STAMP)
	@echo "test-acceptance: the integrations against the systems, known by URL only; all three are stand-ins here"
	@$(STANDINS) $(PYTEST) tests/acceptance

test-faults: tools
	@echo "test-faults: the process ends at writes, in memory at most of them, by SIGKILL at 20 and wherever a purge destroys"
	@$(BIN)/python -m tests.faults --durations=6

test-faults-full: tools ## every one of them in memory and by SIGKILL; a quarter of an hour
	@echo "test-faults-full: the process ends at every write, in memory and by SIGKILL"
	@DEZKY_FAULTS_ALL=1 $(BIN)/python -m tests.faults --durations=6

test-properties: tools
	@echo "test-properties: whatever happens to two tenants, the same steps in every run; one that fails is printed, shrunk"
	@$(PYTEST) $(SHARED) tests/properties --durations=3

test-properties-full: tools ## thousands of other steps in memory, 300 on the API server; some ten minutes
	@echo "test-properties-full: other steps in every run"
	@DEZKY_PROPERTIES=full $(PYTEST) tests/properties --durations=3

test-real: $(STAMP) ## the same against real servers, named by DEZKY_TEST_*_URL
	@$(PYTEST) tests/acceptance

bench: tools ## the budgets, one JSON line each
	@$(BIN)/python -m tests.perf.bench

bench-audit: tools ## those of the audit log alone
	@for name in accept insert verify proof query tail poll webhook lag memory; do $(BIN)/python -m tests.perf.audit_$$name || exit 1; done

ferretdb: $(STAMP)
	@$(BIN)/python -m tests.ferretdb

tools: ferretdb
	@$(BIN)/python -m tests.controlplane
	@$(BIN)/python -m tests.tools.kubectl >/dev/null

$(STAMP): requirements.lock pyproject.toml | prerequisites
	@echo "making the virtual environment $(VENV)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

prerequisites:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python >= 3.11 is needed; set PYTHON=python3.11"; exit 2; }
	@command -v openssl >/dev/null || { echo "openssl is needed for the certificates of the test cluster; install it"; exit 2; }

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .hypothesis
