# The two commands that matter: `make demo` and `make test`. Both make their own environment in .venv first.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.setup-done
LINT   := $(VENV)/.lint-done
FPGA   := $(VENV)/.fpga-done

# One extra where the system has no C++ compiler: the package index has one too.
EXTRAS := dev$(shell command -v c++ >/dev/null 2>&1 || command -v g++ >/dev/null 2>&1 || command -v clang++ >/dev/null 2>&1 || echo ,compiler)

# Verilog and images must not depend on the order of a set.
export PYTHONHASHSEED := 0
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
MINUTES ?= 10
.PHONY: help setup demo test verify lint bench bitstream board-named docs clean

help:
	@echo "make demo   tell a story on the simulated chip"
	@echo "make test   run every test"
	@echo "make verify MINUTES=10   proofs, netlists, random models and programs, faults and fuzzing, for so long"
	@echo "make lint   ruff and pyright"
	@echo "make bench  measure cycles, utilisation and speed"
	@echo "make bitstream BOARD=ulx3s   a bitstream, from place and route to packing; also icebreaker, tangnano20k"
	@echo "make docs   regenerate the generated documents"
	@echo "make setup  make or update .venv (the others do it by themselves)"
	@echo "make clean  remove .venv and what tests left behind"

setup: $(STAMP)

# Done again when the dependencies change. The stamp is written last, so an interrupted setup starts over.
$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "OpenLPU needs Python 3.11 or later; this is " + sys.version.split()[0])'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[$(EXTRAS)]'
	@echo '$(EXTRAS)' > $@

demo: setup
	@$(BIN)/lpu demo

# The fast tests first: they say more precisely what broke. A file's tests stay together: they share what they build.
test: setup
	$(BIN)/python -m pytest --numprocesses logical --maxprocesses 8 --dist loadfile --junitxml build/results.xml tests verification

# Netlists need yosys alone, which is among what `make test` installs.
verify: setup
	$(BIN)/python -m verification.verify --minutes $(MINUTES)

$(LINT): $(STAMP)
	$(BIN)/python -m pip install --quiet --editable '.[lint]'
	@touch $@

lint: $(LINT)
	$(BIN)/ruff check .
	$(BIN)/pyright

bench: setup
	$(BIN)/lpu bench

$(FPGA): $(STAMP)
	$(BIN)/python -m pip install --quiet --editable '.[fpga]'
	@touch $@

# What BOARD may be, and other options: `lpu build --help`.
bitstream: board-named $(FPGA)
	@$(BIN)/lpu build $(BOARD)

# Before minutes of setting up.
board-named:
	@test -n "$(BOARD)" || { echo "say for which board: make bitstream BOARD=ulx3s"; exit 2; }

docs: setup
	$(BIN)/lpu isa -o docs/isa.md

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache .hypothesis build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
