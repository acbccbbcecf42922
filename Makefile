# make demo: set up and run the demonstration.  make test: set up and run all tests.
# make long: what make test leaves out, the same over more families and tries, and what starts slowly
# (Ray, JupyterLab, later notebooks); CI runs it too.
# make study: set up and run the study (tools/study).
# make study-report: make docs/study's tables, figures and report again, from its scores.
# make study-published: patch MechIR's published pairs with TAS-B, and compare with their grids.
# make docs: build the site (site/index.html).  make workshop: slides, handout, answer sheet and key.
# make dist: build and check what is released.
# make notebooks: run every notebook in full.
# make benchmarks: measure speed and memory, and write benchmarks/README.md's tables (25 minutes).
# On Linux without an NVIDIA card, TORCH_INDEX=URL takes PyTorch's CPU build from there.

PYTHON ?= python3
VENV ?= .venv
OUT ?= demo-out
TORCH_INDEX ?=
BROWSER := $(shell command -v chromium || command -v chromium-browser)
BIN = $(VENV)/$(if $(filter Windows_NT,$(OS)),Scripts,bin)
PIP = $(BIN)/python -m pip install --quiet --constraint constraints.txt
NOTEBOOKS ?= tutorials
PYTEST = OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist worksteal -p no:nbmake -rs \
	--durations=25 --durations-min=10
ALWAYS = not slow and not gpu$(if $(BROWSER),, and not browser)
# What differs between systems: files, paths, encodings, processes, and the arithmetic.
SMALL = house files_as_they_are tutorials_command align perturb stats patching

.PHONY: demo study study-report study-published test long small slow lint docs workshop notebooks benchmarks dist colab binder clean

demo: $(VENV)/.installed-demo
	$(BIN)/mechir-edu demo --out $(OUT)

# Hours with its defaults; make study OUT=DIR ARGS="--collections embedded --n 16" is a small one.
study: OUT = study-out
study: $(VENV)/.installed-demo
	PYTHONPATH=tools $(BIN)/python -m study --out $(OUT) $(ARGS)

study-report: $(VENV)/.installed-demo
	PYTHONPATH=tools $(BIN)/python -m study.publish docs/study

# Hours on a CPU; ARGS="--pairs 50" is a small one. MODEL is a folder, where the hub is out of reach.
study-published: OUT = published-out
study-published: $(VENV)/.installed-demo
	$(BIN)/python tools/published.py grid --out $(OUT) $(if $(MODEL),--model $(MODEL)) $(ARGS)

test: $(VENV)/.installed-test
	$(if $(BROWSER),,@echo "*** BROWSER TESTS LEFT OUT: there is no chromium here ***" >&2)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy
	$(PYTEST) -m "not long and $(ALWAYS)"
	@echo "More families, kinds and tries, Ray, JupyterLab, later notebooks: make long"

long: $(VENV)/.installed-test
	$(PYTEST) -m "long and $(ALWAYS)"

slow: $(VENV)/.installed-test
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m slow

small: $(VENV)/.installed-small
	$(BIN)/python -m pytest -m "not slow and not long and not gpu and not browser" $(SMALL:%=tests/test_%.py)

notebooks: $(VENV)/.installed-test
	HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 PYTHONPATH=tools $(BIN)/python -m pytest -c tools/nbmake.ini \
		--rootdir . -p notebooks.wakeful --nbmake --nbmake-timeout 900 $(NOTEBOOKS)

docs: $(VENV)/.installed-docs
	rm -rf site
	OMP_NUM_THREADS=1 PYTHONPATH=tools $(BIN)/python -m website site

workshop: $(VENV)/.installed-docs
	PYTHONPATH=tools $(BIN)/python -m workshop workshop

# MechIR's environment and a checkpoint are fetched once, into ~/.cache/mechir-edu-benchmarks.
benchmarks: $(VENV)/.installed-demo
	$(BIN)/python benchmarks/mechir_environment.py
	$(BIN)/python benchmarks/mpnet_weights.py
	$(BIN)/python benchmarks/run_all.py $(ARGS)

# With TAG=vX.Y.Z, also refuse a tag that is not the package's version.
dist: $(VENV)/.installed-dist
	$(BIN)/python -m build --outdir dist
	$(BIN)/python -m twine check --strict dist/*
	$(if $(TAG),test -f dist/mechir_edu-$(TAG:v%=%).tar.gz)

# In Colab's image, with its own Python and packages, none of which may be replaced.
colab:
	$(PYTHON) -m pip freeze --all > .before-colab
	$(PYTHON) -m pip install --quiet ".[offline,tutorials]"
	$(PYTHON) -m pip freeze --all > .after-colab
	! grep --invert-match --line-regexp --fixed-strings --file .after-colab .before-colab
	mechir-edu check --load
	$(PYTHON) -m pip install --quiet nbmake
	PYTHONPATH=tools $(PYTHON) -m pytest -c tools/nbmake.ini --rootdir . \
		-p notebooks.wakeful --nbmake --nbmake-timeout 900 $(NOTEBOOKS)

# Let Binder build its image of REPOSITORY at REF before a class does.
binder:
	curl --fail --silent --show-error --no-buffer --max-time 3300 \
		https://mybinder.org/build/gh/$(REPOSITORY)/$(REF) | tee /dev/stderr | grep --quiet '"ready"'

lint: $(VENV)/.installed-test
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV)

$(VENV)/.made:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "needs Python 3.11 or later; set PYTHON=python3.x")'
	$(PYTHON) -m venv $(VENV)
	touch $@

$(VENV)/.torch: constraints.txt | $(VENV)/.made
	$(PIP) torch $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX))
	touch $@

$(VENV)/.installed-demo: $(VENV)/.torch pyproject.toml
	$(PIP) --editable ".[offline]"
	touch $@

# With Colab's ipywidgets, in a folder of its own: the panels are tested with both.
$(VENV)/.installed-test: $(VENV)/.torch pyproject.toml
	$(PIP) --editable ".[dev]"
	$(BIN)/python -m pip install --quiet --no-deps --upgrade \
		--target $(VENV)/ipywidgets-7.7.1 ipywidgets==7.7.1 ipython_genutils==0.2.0
	touch $@ $(VENV)/.installed-demo

$(VENV)/.installed-small: $(VENV)/.torch pyproject.toml
	$(PIP) --editable ".[test]"
	touch $@

$(VENV)/.installed-dist: constraints.txt | $(VENV)/.made
	$(PIP) build twine
	touch $@

$(VENV)/.installed-docs: $(VENV)/.torch pyproject.toml
	$(PIP) --editable ".[offline,tutorials,docs]"
	touch $@
