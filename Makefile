# MDX: the two commands that a fresh machine needs are `make quickstart` and `make test`.
#   make quickstart   install, then data -> tokenizer -> CPT -> SFT -> GRPO -> evaluation -> agent
#   make test         install what the tests need, then `make check`
#   make check        lint, format, types, import contracts and tests
#   make bench        speed of training and sampling beside google-tunix and TRL, and of the farm
PYTHON ?= python3
VENV ?= .venv
PEERS ?= .venv-peers
BENCH ?=
SEED ?= 0
RUN_DIR ?= runs/quickstart
STARTED := $(shell date +%s)
BIN := $(VENV)/bin
INPUTS := setup.cfg pyproject.toml constraints.txt

# Huge pages make training 12-28 % faster on a CPU (fewer page faults) and change no result.
export GLIBC_TUNABLES = glibc.malloc.hugetlb=1

.PHONY: quickstart test check lint types bench peers clean

quickstart: $(VENV)/.installed
	$(BIN)/mdx-train quickstart --config configs/quickstart.yaml run_dir=$(RUN_DIR) seed=$(SEED) \
		install_s=$$(( $$(date +%s) - $(STARTED) ))

test: $(VENV)/.installed-dev
	$(MAKE) check

check: lint types
	$(BIN)/python -m pytest -n 2 --dist loadfile --max-worker-restart 0

lint:
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types:
	$(BIN)/mypy

bench: $(VENV)/.installed-dev peers
	$(BIN)/python -m benchmarks.compare --peers $(PEERS) $(BENCH)
	$(BIN)/mdx-farm bench

# Two environments, since the two ask for different releases of transformers. A peer that cannot be
# installed is left out of the table.
peers: $(PEERS)/tunix/.installed $(PEERS)/trl/.installed

$(PEERS)/tunix/.installed: benchmarks/tunix-constraints.txt
	$(PYTHON) -m venv $(PEERS)/tunix
	-$(PEERS)/tunix/bin/python -m pip install --quiet --constraint $< google-tunix libtpu && touch $@

$(PEERS)/trl/.installed: benchmarks/trl-constraints.txt
	$(PYTHON) -m venv $(PEERS)/trl
	-$(PEERS)/trl/bin/python -m pip install --quiet torch==2.13.0 && \
		$(PEERS)/trl/bin/python -m pip install --quiet --constraint $< trl && touch $@

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "MDX needs Python 3.11 or newer as $(PYTHON); set PYTHON=/path/to/python3.11"; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
		|| { echo "Python's venv module is missing; on Debian or Ubuntu: apt install python3-venv"; exit 2; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(BIN)/python $(INPUTS)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[farm,train]'
	@touch $@

$(VENV)/.installed-dev: $(BIN)/python $(INPUTS)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

clean:
	rm -rf $(VENV) $(PEERS) build dist *.egg-info
