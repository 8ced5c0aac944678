# make demo: everything from audio to Verilog.   make test: the tests.   Both set up .venv first.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/ready

.PHONY: demo test test-slow benchmark lint clean
.DELETE_ON_ERROR:

demo: $(READY)
	$(BIN)/python recipes/timit/run.py

test: $(READY) lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow"

test-slow: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m slow

benchmark: $(READY)
	$(BIN)/python benchmarks/accelerator.py --json benchmark.json

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[all]'
	$(BIN)/python -m data_prep.torchaudio_cpu
	touch $@

clean:
	rm -rf $(VENV) exp artifacts
