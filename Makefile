# `make demo` and `make test` do all set-up themselves.
VENV ?= .venv
PYTHON = $(VENV)/bin/python
SOURCE ?=

.PHONY: demo test test-slow lint format benchmark clean

demo: $(VENV)/ready
	$(PYTHON) scripts/demo.py $(if $(SOURCE),--source "$(SOURCE)")

test: $(VENV)/ready
	$(PYTHON) -m pytest -m "not slow"

test-slow: $(VENV)/ready
	$(PYTHON) -m pytest -m slow

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
	rm -rf $(VENV) demo dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(VENV)/ready: pyproject.toml scripts/setup_venv.sh
	sh scripts/setup_venv.sh $(VENV)
	touch $@
