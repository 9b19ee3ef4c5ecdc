# make setup | demo | up | deploy | test | check | bench | pictures      (each sets up what it needs)
#
#   make demo [ROUNDS=2] [DIR=demo] [STORE=s3]         two synthetic domains, simulated person; s3: all in a bucket
#   make demo SOURCE=dir POOL=dir [POOL_MASKS=dir]     real folders; without masks it stops where a person must click
#             [VALIDATION=dir VALIDATION_MASKS=dir]    ... judged on images whose masks a person made
#   make up   [DIR=demo]                               serve Prefect and Label Studio for a working directory
#   make deploy                                        the flows, onto the Prefect server of PREFECT_API_URL
#   make pictures [DIR=demo]                           the pictures of README, from a finished demo

SHELL := bash
PYTHON ?= python3
DIR ?= demo
ROUNDS ?= 2
VENV := .venv
QUICK := "(not live and not browser and not slow and not real_data)"
LS_VENV := .venv-label-studio
TEMPLATE := .cache/label-studio.sqlite3
UV := $(VENV)/bin/uv
# Which torch and torchvision: TORCH=cpu (or cu126, ...) names a build, TORCH=registry takes the package registry's own.
TORCH_PACKAGES = $(VENV)/bin/python deployments/torch_packages.py $(TORCH)
OPERATORS := plankseg/learning/network/torchvision_operators.py
COMPILE = $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
    --no-emit-index-url --no-emit-find-links
# Benchmarks are run seldom: what they call must be there and take what they give it, whatever else mypy would say.
CALLS_ALONE = $(foreach code,arg-type assignment misc no-any-return no-untyped-call no-untyped-def operator return-value \
    unused-ignore,--disable-error-code=$(code))
# What holds for every package (pyproject.toml, tool.uv) need not stand behind each.
WITHOUT_COMMON_MARKER = sed "s/ ; python_full_version < '3.14' and sys_platform == 'linux'//"

.PHONY: help setup demo up deploy test check types quick-tests bench bench-acquisition pictures lock clean
.DEFAULT_GOAL := help

help:
	@sed -n 's/^# \{0,1\}//p' Makefile | head -8

setup:
	@$(MAKE) --no-print-directory -j2 $(VENV)/.ready $(TEMPLATE)

$(VENV)/.uv:
	@echo "Making $(VENV) ..."
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14) and "Python 3.11, 3.12 or 3.13 is needed (make setup PYTHON=python3.13), this is " + sys.version)'
	@$(PYTHON) -m venv $(VENV)
	@$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check uv
	@touch $@

$(VENV)/.ready: $(VENV)/.uv requirements.lock requirements-torch.lock pyproject.toml $(OPERATORS)
	@echo "Installing plankseg's environment ..."
	@$(UV) pip install --python $(VENV)/bin/python --quiet --require-hashes --no-deps --requirement requirements.lock
	@$(UV) pip install --python $(VENV)/bin/python --quiet $$($(TORCH_PACKAGES)) || { \
	    echo "Where no server but the package registry is reached: make setup TORCH=registry" >&2; exit 1; }
	@$(UV) pip install --python $(VENV)/bin/python --quiet --no-deps --editable .
	@$(VENV)/bin/python -m $(subst /,.,$(OPERATORS:.py=))
	@touch $@

$(LS_VENV)/.ready: $(VENV)/.uv label_studio/requirements.txt
	@echo "Installing Label Studio in its own environment ..."
	@$(UV) venv --quiet --allow-existing --python $(VENV)/bin/python $(LS_VENV)
	@$(UV) pip install --python $(LS_VENV)/bin/python --quiet --require-hashes --no-deps --requirement label_studio/requirements.txt
	@touch $@

$(TEMPLATE): $(LS_VENV)/.ready label_studio/migrate.sh
	@echo "Preparing Label Studio's database (once, about a minute) ..."
	@bash label_studio/migrate.sh $(LS_VENV) $@

demo: setup
	@$(VENV)/bin/plankseg demo --directory "$(DIR)" --rounds $(ROUNDS) \
	    $(if $(STORE),--store "$(STORE)") $(if $(CLICKS),--clicks) $(if $(SOURCE),--source "$(SOURCE)") $(if $(POOL),--pool "$(POOL)") $(if $(POOL_MASKS),--pool-masks "$(POOL_MASKS)") \
	    $(if $(VALIDATION),--validation "$(VALIDATION)") $(if $(VALIDATION_MASKS),--validation-masks "$(VALIDATION_MASKS)")

up: setup
	@$(VENV)/bin/plankseg up --directory "$(DIR)"

deploy: setup
	@PATH="$(CURDIR)/$(VENV)/bin:$$PATH" bash deployments/deploy.sh

check: setup
	@$(VENV)/bin/ruff format --check --quiet .
	@$(VENV)/bin/ruff check --quiet .
	@$(VENV)/bin/lint-imports --no-cache
	@$(MAKE) --no-print-directory -j2 --output-sync types quick-tests

types:
	@$(VENV)/bin/mypy
	@MYPYPATH=benchmarks $(VENV)/bin/mypy --follow-imports=silent --cache-dir=.mypy_cache/benchmarks $(CALLS_ALONE) benchmarks

quick-tests:
	@bash tests/quick-tests.sh $(VENV) $(QUICK)

test: setup
	@bash tests/install-chromium.sh
	@bash tests/install-radosgw.sh
	@bash tests/quick-tests.sh $(VENV) $(QUICK) --unless-passed
	@rm -f .cache/tests-ended
	@OMP_NUM_THREADS=1 $(VENV)/bin/pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not "$(QUICK); \
	    ended=$$?; echo $$ended > .cache/tests-ended; exit $$ended

bench: setup
	@missed=""; for script in benchmarks/[a-z]*.py; do echo "== $$script"; \
	    $(VENV)/bin/python $$script || missed="$$missed $$script"; done; \
	    [ -z "$$missed" ] || { echo "Bounds missed, or not run to the end:$$missed"; exit 1; }

bench-acquisition: setup
	@$(VENV)/bin/python benchmarks/acquisition.py

pictures: setup
	@bash tests/install-chromium.sh
	@$(VENV)/bin/python -m docs.pictures.make_pictures --directory "$(DIR)"

lock: $(VENV)/.uv
	@set -o pipefail; echo 'torch==2.13.0' | $(COMPILE) pyproject.toml --extra dev --extra openvino --extra onnx --extra formats --extra s3-demo --constraint - \
	    | $(WITHOUT_COMMON_MARKER) > .lock.part
	@awk '/^[a-z]/ { torch = /^(torch|torchvision|triton|nvidia-[a-z0-9-]+|cuda-[a-z-]+)==/ } \
	    { print > (torch ? "requirements-torch.lock" : "requirements.lock") }' .lock.part
	@rm .lock.part
	@set -o pipefail; $(COMPILE) label_studio/requirements.in | $(WITHOUT_COMMON_MARKER) > label_studio/requirements.txt.part
	@mv label_studio/requirements.txt.part label_studio/requirements.txt

clean:
	rm -rf $(VENV) $(LS_VENV) .cache .mypy_cache .ruff_cache .pytest_cache
