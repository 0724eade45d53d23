# `make demo` and `make test` do all set-up themselves.
VENV ?= .venv
PYTHON = $(VENV)/bin/python
# PyTorch and TensorFlow take gigabytes: they have an environment of their own.
FRAMEWORKS ?= .venv-frameworks
SOURCE ?=
# A process a core, and no more than one of them waits at the end.
PARALLEL ?= -n logical --dist worksteal
# Each of hundreds of processes would compile again what it imports.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test test-slow test-frameworks train lint format benchmark clean

demo: $(VENV)/ready
	$(PYTHON) scripts/demo.py $(if $(SOURCE),--source "$(SOURCE)")

test: $(VENV)/ready
	$(PYTHON) -m pytest -m "not slow" $(PARALLEL)

test-slow: $(VENV)/ready
	$(PYTHON) -m pytest -m slow $(PARALLEL)

test-frameworks: $(FRAMEWORKS)/ready
	$(FRAMEWORKS)/bin/python -c "import datasets, monai, tensorflow, torch"
	$(FRAMEWORKS)/bin/python -m pytest tests/test_torch.py tests/test_frameworks.py \
		tests/test_docs.py::test_the_readmes_python_runs

train: $(FRAMEWORKS)/train-ready
	$(FRAMEWORKS)/bin/python scripts/train_unet.py $(ARGUMENTS)

lint: $(VENV)/ready
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy

format: $(VENV)/ready
	$(VENV)/bin/ruff format .
	$(VENV)/bin/ruff check --fix .

benchmark: $(VENV)/ready
	$(PYTHON) -m pip install --quiet --group benchmark
	$(PYTHON) scripts/benchmark.py $(if $(SOURCE),--source "$(SOURCE)") $(ARGUMENTS)

clean:
	rm -rf $(VENV) $(FRAMEWORKS) demo dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(VENV)/ready: pyproject.toml scripts/setup_venv.sh
	sh scripts/setup_venv.sh $(VENV)
	touch $@

$(FRAMEWORKS)/ready: pyproject.toml scripts/setup_venv.sh
	sh scripts/setup_venv.sh $(FRAMEWORKS) "test frameworks"
	touch $@

$(FRAMEWORKS)/train-ready: pyproject.toml scripts/setup_venv.sh
	sh scripts/setup_venv.sh $(FRAMEWORKS) train
	touch $@
