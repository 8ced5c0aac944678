# make demo: everything from audio to Verilog.   make test: the tests.   Both set up .venv first.
# make speechocean762: the same on real speech; ERNN_DATA names the folder that holds it.
# make test-slow: tests that take minutes.   make test-full: accelerators of the papers' size.
# make benchmark: their cycles and resources, as a table.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/ready

.PHONY: demo speechocean762 test test-slow test-full benchmark lint clean
.DELETE_ON_ERROR:

demo: $(READY)
	$(BIN)/python recipes/timit/run.py

speechocean762: $(READY)
	$(BIN)/python recipes/speechocean762/run.py

test: $(READY) lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow and not full"

test-slow: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m slow

test-full: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -v -m full

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
