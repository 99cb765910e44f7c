# Everything runs in .venv, which `make setup` builds from pinned packages; nothing else is touched.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help setup demo demo-vidrd demo-videogen test lint format tensorboard tensorboard-shots eval-ucf101 eval-msrvtt ablations ablations-full bench bench-quick clean

help:  ## show this list
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## */  make \1\t/' | expand -t 24

setup: $(STAMP)  ## make .venv and install the pinned packages (quick when it is there)

$(STAMP): setup.cfg pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' \
		|| { echo "error: $(PYTHON) is older than Python 3.10; name another: make setup PYTHON=python3.11"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $(STAMP)

demo: $(STAMP)  ## the model that ships, and what it learns in minutes; results in outputs/demo
	$(BIN)/python -m lightning_artv.demo

demo-vidrd: $(STAMP)  ## another system, VidRD, trained from nothing; results in outputs/demo-vidrd
	$(BIN)/python -m lightning_artv.demo --lesson vidrd --out outputs/demo-vidrd

demo-videogen: $(STAMP)  ## VideoGen's base learns to move a picture; results in outputs/demo-videogen
	$(BIN)/python -m lightning_artv.demo --lesson videogen --out outputs/demo-videogen

test: $(STAMP)  ## [ARGS="-k name"]: run the tests on all cores
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder $(ARGS)

lint: $(STAMP)  ## check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(STAMP)  ## rewrite files in the house style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

tensorboard: $(STAMP)  ## show all runs under outputs/ (LOGS=folder for another)
	$(BIN)/tensorboard --logdir $(or $(LOGS),outputs)

tensorboard-shots: $(STAMP)  ## [OUT=outputs/ablations]: pictures of the ablations' TensorBoard, with Chromium
	@$(BIN)/python -c 'import playwright' 2>/dev/null \
		|| $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[shots]'
	$(BIN)/python -m evaluation ablations-shots $(or $(OUT),outputs/ablations)

eval-ucf101: PROTOCOL = ucf101-2048
eval-ucf101: $(STAMP)  ## CKPT=... DATA=... [DEVICES=8 WEIGHTS=folder T2I=model OUT=folder]: FVD, IS, ... and a report
	$(evaluate)

eval-msrvtt: PROTOCOL = msrvtt-2990
eval-msrvtt: $(STAMP)  ## the same on MSR-VTT
	$(evaluate)

define evaluate
@test -n "$(CKPT)" -a -n "$(DATA)" || { echo "error: name a checkpoint and the real videos: make $@ CKPT=... DATA=..."; exit 2; }
$(BIN)/python -m evaluation run --protocol $(PROTOCOL) --checkpoint $(CKPT) --data $(DATA) \
	--devices $(or $(DEVICES),1) --out $(or $(OUT),outputs/eval/$(PROTOCOL)) \
	$(if $(WEIGHTS),--weights $(WEIGHTS)) $(if $(T2I),--first-frame-model $(T2I)) $(ARGS)
endef

ablations: $(STAMP)  ## [BUDGET=quick OUT=outputs/ablations]: train and measure the paper's ablations on small worlds
	$(BIN)/python -m evaluation ablations --budget $(or $(BUDGET),quick) --out $(or $(OUT),outputs/ablations) $(ARGS)

ablations-full: $(STAMP)  ## CKPTS=folder DATA_UCF101=... [DATA_MSRVTT= DATA_WEBVID= WEIGHTS= DEVICES= OUT=]: at full size
	@test -n "$(CKPTS)" || { echo "error: name the folder of checkpoints: make $@ CKPTS=... DATA_UCF101=..."; exit 2; }
	$(BIN)/python -m evaluation ablations-full --checkpoints $(CKPTS) --devices $(or $(DEVICES),1) \
		--out $(or $(OUT),outputs/ablations-full) $(if $(WEIGHTS),--weights $(WEIGHTS)) \
		$(if $(DATA_UCF101),--data-ucf101 $(DATA_UCF101)) $(if $(DATA_MSRVTT),--data-msrvtt $(DATA_MSRVTT)) \
		$(if $(DATA_WEBVID),--data-webvid $(DATA_WEBVID)) $(ARGS)

bench-quick: $(STAMP)  ## counters and paired timings of training and generation, a few minutes
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.quick

bench: $(STAMP)  ## [ARGS="--parts ema,loader"]: all that a CPU can measure, written into benchmarks/RESULTS.md
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks $(ARGS)

clean:  ## remove .venv and caches; outputs/ stays
	rm -rf $(VENV) *.egg-info .pytest_cache .hypothesis .mypy_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
