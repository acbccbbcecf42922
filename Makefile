# make demo: set up and run the demonstration.  make test: set up and run all tests.
# make study: set up and run the study (tools/study).
# make study-report: make docs/study's tables, figures and report again, from its scores.
# On Linux without an NVIDIA card, TORCH_INDEX=URL takes PyTorch's CPU build from there.

PYTHON ?= python3
VENV ?= .venv
OUT ?= demo-out
TORCH_INDEX ?=
BROWSER := $(shell command -v chromium || command -v chromium-browser)
PIP = $(VENV)/bin/python -m pip install --quiet --constraint constraints.txt

.PHONY: demo study study-report test slow lint clean

demo: $(VENV)/.installed-demo
	$(VENV)/bin/mechir-edu demo --out $(OUT)

# Hours with its defaults; make study OUT=DIR ARGS="--collections embedded --n 16" is a small one.
study: OUT = study-out
study: $(VENV)/.installed-demo
	PYTHONPATH=tools $(VENV)/bin/python -m study --out $(OUT) $(ARGS)

study-report: $(VENV)/.installed-demo
	PYTHONPATH=tools $(VENV)/bin/python -m study.publish docs/study

test: $(VENV)/.installed-test
	$(if $(BROWSER),,@echo "*** BROWSER TESTS LEFT OUT: there is no chromium here ***" >&2)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/lint-imports
	$(VENV)/bin/mypy
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -n auto --dist worksteal -p no:nbmake -rs \
		--durations=25 --durations-min=10 -m "not slow and not gpu$(if $(BROWSER),, and not browser)"

slow: $(VENV)/.installed-test
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -m slow

lint: $(VENV)/.installed-test
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

clean:
	rm -rf $(VENV)

$(VENV)/.torch: constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "needs Python 3.11 or later; set PYTHON=python3.x")'
	$(PYTHON) -m venv $(VENV)
	$(PIP) torch $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX))
	touch $@

$(VENV)/.installed-demo: $(VENV)/.torch pyproject.toml
	$(PIP) --editable ".[offline]"
	touch $@

# With Colab's ipywidgets, in a folder of its own: the panels are tested with both.
$(VENV)/.installed-test: $(VENV)/.torch pyproject.toml
	$(PIP) --editable ".[dev]"
	$(VENV)/bin/python -m pip install --quiet --no-deps --upgrade \
		--target $(VENV)/ipywidgets-7.7.1 ipywidgets==7.7.1 ipython_genutils==0.2.0
	touch $@ $(VENV)/.installed-demo
