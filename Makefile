# From clone to running: `make up`. From clone to proven: `make test`. Each makes its private venv
# first; a stamp file makes that instant from the second time on. Nothing here touches the system.

PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
RUN := $(VENV)/.stamp-run
DEV := $(VENV)/.stamp-dev
CLIENTS := tests/clients/node
NODE := $(if $(shell command -v npm),$(CLIENTS)/node_modules/.stamp)
B2 := .venv-b2/.stamp
CODEGEN := .venv-codegen/.stamp
PIP := -m pip --quiet --disable-pip-version-check --no-input
PROOFS := $(wildcard tests/test_source.py tests/test_schema.py tests/test_readme.py)

# A venv knows the folder it was made in: one that was moved, or whose Python is gone, is made anew.
$(shell for v in $(VENV) .venv-b2 .venv-codegen .venv-pin; do \
	if [ -e $$v/.place ] && { [ "$$(cat $$v/.place)" != "$(CURDIR)" ] || [ ! -x $$v/bin/python ]; }; \
	then rm -rf $$v; fi; done)

.PHONY: up test check chaos bench pin tables released venv
.DELETE_ON_ERROR:

up: $(RUN)  ## the gateway, a worker, an embedded PostgreSQL and B2 (HOST, PORT, DATABASE_URL, BACKUP_GATEWAY_*)
	@exec $(BIN)/backup-gateway up $(ARGS)

test: $(DEV) $(B2) $(CODEGEN) $(NODE)  ## everything that is proven; ARGS='tests/model -k retention' narrows it down
	@exec $(BIN)/pytest -n 4 --dist load --maxschedchunk 2 $(ARGS)

chaos: $(DEV)  ## every fault at every step, a soak, and what takes long; SOAK_RUNS=200 SOAK_SEED=7 make it longer
	@exec $(BIN)/pytest -n 4 --dist load --maxschedchunk 2 -m matrix tests $(ARGS)

check: $(DEV)  ## linters, types, layers, SQL, schema and README only
	@exec $(BIN)/pytest $(PROOFS) $(ARGS)

bench: $(DEV) $(B2)  ## figures, not verdicts
	@exec $(BIN)/python tests/benchmarks $(ARGS)

pin: .venv-pin/.stamp  ## write the requirements*.txt anew: newest versions, hashes, no addresses
	@for name in requirements requirements-dev requirements-b2 requirements-codegen requirements-pin; do \
		.venv-pin/bin/uv pip compile --quiet --upgrade --universal --python-version 3.11 \
			--generate-hashes --no-header --no-annotate --no-emit-index-url --no-emit-find-links \
			--output-file $$name.txt $$name.in || exit 1; done

tables: $(DEV)  ## write the README's tables anew from the code
	@PYTHONPATH=. exec $(BIN)/python -m tests.readme_tables

released: $(RUN)  ## write down the schema that a release promises its clients; only at a release
	@{ $(BIN)/python -c 'import app; print("#", app.__version__)'; \
		echo "# What clients were promised: the schema of the last release. A test refuses what breaks it."; \
		$(BIN)/backup-gateway schema; } > tests/schema_released.graphql

venv: $(DEV) $(B2) $(CODEGEN) $(NODE)

define make_venv
@[ -n "$(PYTHON)" ] || { echo "Python 3.11 or newer is needed and was not found; on Debian: apt install python3 python3-venv (or name one: make PYTHON=/path/to/python3)" >&2; exit 1; }
@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$(PYTHON) is not Python 3.11 or newer; install one, or name it: make PYTHON=/path/to/python3" >&2; exit 1; }
@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "$(PYTHON) cannot make a virtual environment: its venv module is missing; on Debian: apt install python3-venv" >&2; exit 1; }
@[ -x $(1)/bin/python ] || { echo "Making $(1) (only the first time) ..."; $(PYTHON) -m venv $(1); }
@echo "$(CURDIR)" > $(1)/.place
endef

# The program itself is installed without a look at any registry: setuptools is one of the pins.
$(RUN): requirements.txt pyproject.toml
	$(call make_venv,$(VENV))
	@$(BIN)/python $(PIP) install --require-hashes -r requirements.txt
	@$(BIN)/python $(PIP) install --no-index --no-deps --no-build-isolation --editable .
	@touch $@

$(DEV): requirements-dev.txt $(RUN)
	@$(BIN)/python $(PIP) install --require-hashes -r requirements.txt -r requirements-dev.txt
	@touch $@

$(B2): requirements-b2.txt
	$(call make_venv,.venv-b2)
	@.venv-b2/bin/python $(PIP) install --require-hashes -r requirements-b2.txt
	@touch $@

$(CODEGEN): requirements-codegen.txt
	$(call make_venv,.venv-codegen)
	@.venv-codegen/bin/python $(PIP) install --require-hashes -r requirements-codegen.txt
	@touch $@

# Without npm the tests of these clients are left out.
$(CLIENTS)/node_modules/.stamp: $(CLIENTS)/package-lock.json
	@cd $(CLIENTS) && npm ci --silent --no-audit --no-fund
	@touch $@

.venv-pin/.stamp: requirements-pin.txt
	$(call make_venv,.venv-pin)
	@.venv-pin/bin/python $(PIP) install --require-hashes -r requirements-pin.txt
	@touch $@
