# `make demo` and `make test` do all set-up themselves.
VENV ?= .venv
PYTHON = $(VENV)/bin/python
# PyTorch and TensorFlow take gigabytes: they have an environment of their own.
FRAMEWORKS ?= .venv-frameworks
# Clients of the Hub have one too: of some of them only a certain version reads the net.
CLIENTS ?= .venv-clients
# Whatever the native kernel is made of.
KERNEL = $(shell find native -path '*/target' -prune -o \( -name '*.rs' -o -name '*.toml' \) -print)
SOURCE ?=
# A process a core, and no more than one of them waits at the end.
PARALLEL ?= -n logical --dist worksteal
# Each of hundreds of processes would compile again what it imports.
unexport PYTHONDONTWRITEBYTECODE

# Where sources and wheels are built.
DIST ?= dist
# Where the site is built.
SITE ?= docs/_build/html

.PHONY: demo docs view page browser test test-slow test-native test-frameworks test-clients train lint lint-native \
	check-aarch64 format benchmark dist clean

demo: $(VENV)/kernel
	$(PYTHON) scripts/demo.py $(if $(SOURCE),--source "$(SOURCE)")

view: demo/spine.zarr
	$(PYTHON) -c "import starlette, uvicorn" 2>/dev/null || \
		$(VENV)/bin/uv pip install --quiet --compile-bytecode --python $(PYTHON) --editable ".[serve]"
	$(VENV)/bin/ctspine-zarr view demo/spine.zarr

demo/spine.zarr:
	$(MAKE) demo

page:
	sh scripts/build_page.sh

browser:
	sh scripts/setup_browser.sh

test: $(VENV)/kernel
	$(PYTHON) -m pytest -m "not slow" $(PARALLEL)

test-slow: $(VENV)/kernel
	$(PYTHON) -m pytest -m slow $(PARALLEL)

test-native:
	cd native && cargo test --quiet --release -p ctspine-zarr-core

# TensorFlow and PyTorch's compiler each bring an LLVM, which abort in one process.
test-frameworks: $(FRAMEWORKS)/kernel
	$(FRAMEWORKS)/bin/python -c "import datasets, monai, nnunetv2, torch, torchio"
	$(FRAMEWORKS)/bin/python -c "import tensorflow"
	$(FRAMEWORKS)/bin/python -m pytest tests/test_frameworks.py
	$(FRAMEWORKS)/bin/python -m pytest tests/test_torch.py tests/test_monai.py tests/test_torchio.py \
		tests/test_nnunet_bridge.py \
		tests/test_docs.py::test_a_page_runs

test-clients: $(CLIENTS)/ready
	$(CLIENTS)/bin/python -c "import aiohttp, datasets, duckdb_extension_httpfs, mlcroissant, polars, trustme"
	$(CLIENTS)/bin/python -m pytest tests/test_clients.py

dist: $(VENV)/package-ready
	sh scripts/build_distributions.sh $(VENV) $(DIST)

# Every warning is an error; the notebooks are run; then links, anchors and what the pages load are checked.
docs: $(VENV)/docs-ready
	$(PYTHON) -m sphinx -q -W --keep-going --fresh-env --write-all -j auto -b html -d docs/_build/doctrees docs $(SITE)
	CTSPINE_SITE=$(abspath $(SITE)) $(PYTHON) -m pytest -q tests/test_site.py

train: $(FRAMEWORKS)/train-ready $(FRAMEWORKS)/kernel
	$(FRAMEWORKS)/bin/python scripts/train_unet.py $(ARGUMENTS)

lint: $(VENV)/ready
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy

lint-native: $(VENV)/ready
	cd native && cargo fmt --check
	cd native && PYO3_PYTHON=$(abspath $(PYTHON)) \
		cargo clippy --quiet --release --all-targets --features pyo3/extension-module

check-aarch64:
	cd native && PYO3_CROSS=1 PYO3_CROSS_PYTHON_VERSION=3.12 cargo check --quiet --all-targets \
		--target aarch64-unknown-linux-gnu --features pyo3/extension-module

format: $(VENV)/ready
	$(VENV)/bin/ruff format .
	$(VENV)/bin/ruff check --fix .

benchmark: $(VENV)/kernel
	$(VENV)/bin/uv pip install --quiet --compile-bytecode --python $(PYTHON) --group benchmark
	$(PYTHON) scripts/benchmark.py $(if $(SOURCE),--source "$(SOURCE)") $(ARGUMENTS)

clean:
	rm -rf $(VENV) $(FRAMEWORKS) $(CLIENTS) native/target demo docs/_build docs/api $(DIST) build .pytest_cache .mypy_cache \
		.ruff_cache .hypothesis

$(VENV)/ready: pyproject.toml scripts/setup_venv.sh
	sh scripts/setup_venv.sh $(VENV)
	touch $@

$(VENV)/docs-ready: $(VENV)/kernel
	$(VENV)/bin/uv pip install --quiet --compile-bytecode --python $(PYTHON) --group docs
	touch $@

$(VENV)/package-ready: $(VENV)/ready
	$(VENV)/bin/uv pip install --quiet --compile-bytecode --python $(PYTHON) --group package
	touch $@

$(VENV)/kernel: $(VENV)/ready scripts/build_kernel.sh $(KERNEL)
	sh scripts/build_kernel.sh $(VENV)
	touch $@

$(FRAMEWORKS)/kernel: $(FRAMEWORKS)/ready scripts/build_kernel.sh $(KERNEL)
	sh scripts/build_kernel.sh $(FRAMEWORKS)
	touch $@

$(FRAMEWORKS)/ready: pyproject.toml scripts/setup_venv.sh
	sh scripts/setup_venv.sh $(FRAMEWORKS) "test frameworks"
	touch $@

$(CLIENTS)/ready: pyproject.toml scripts/setup_venv.sh
	sh scripts/setup_venv.sh $(CLIENTS) "test clients"
	touch $@

$(FRAMEWORKS)/train-ready: pyproject.toml scripts/setup_venv.sh
	sh scripts/setup_venv.sh $(FRAMEWORKS) train
	touch $@
