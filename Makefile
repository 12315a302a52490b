# Everything runs in .venv, which is made once with plain python3 and pip.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/installed
FOR_DEVELOPERS := .venv/installed-for-developers
# Tests are run by a process a core, but no more of them than most memories hold.
SHARED_OUT := --numprocesses logical --maxprocesses 4 --dist worksteal

.PHONY: train test test-slow test-lowest compare-losses check format bench bench-all bench-gpu clean

train: $(INSTALLED)  ## train a Vision Transformer on the digits inside scikit-learn
	$(BIN)/vit train

test: $(FOR_DEVELOPERS)  ## the tests
	$(BIN)/python -m pytest $(SHARED_OUT)

test-slow: $(FOR_DEVELOPERS)  ## also those that take minutes
	$(BIN)/python -m pytest $(SHARED_OUT) -m "slow or not slow"

test-lowest:  ## the tests with the oldest releases of the dependencies that pyproject.toml admits
	$(PYTHON) -m venv .venv-lowest
	.venv-lowest/bin/python tests/programs/lowest_versions.py > .venv-lowest/lowest.txt
	.venv-lowest/bin/python -m pip install --quiet -c .venv-lowest/lowest.txt -e ".[parquet,serve]" pytest pytest-xdist beartype
	.venv-lowest/bin/python -m pytest $(SHARED_OUT)

compare-losses: $(FOR_DEVELOPERS)  ## training losses to the bit beside another commit: make compare-losses BASE=main~1
	rm -rf .compare && git worktree prune && git worktree add --quiet --detach .compare $(BASE)
	cd .compare && PYTHONPATH=src:. ../$(BIN)/python -m tests.training.golden_losses > ../.compare-base.json
	git worktree remove --force .compare
	PYTHONPATH=src:. $(BIN)/python -m tests.training.golden_losses > .compare-now.json
	diff .compare-base.json .compare-now.json && echo "equal to the last bit"
	rm -f .compare-base.json .compare-now.json

check: $(FOR_DEVELOPERS)  ## format, lint, types and import rules
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(FOR_DEVELOPERS)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(FOR_DEVELOPERS)  ## speeds beside other projects, minutes: in settings that were recorded here, or on a machine like this one
	$(BIN)/python -m benchmarks.speed --short
	$(BIN)/python -m benchmarks.start --rounds 3
	$(BIN)/python -m benchmarks.goals

bench-all: $(FOR_DEVELOPERS)  ## all of them, settings chosen anew, and recipes to their ends: many hours
	$(BIN)/python -m benchmarks.speed --choose --memory
	$(BIN)/python -m benchmarks.start
	$(BIN)/python -m benchmarks.pictures
	$(BIN)/python -m benchmarks.accuracy mnist-fast --seeds 5
	$(BIN)/python -m benchmarks.accuracy mnist mnist-plain mnist-best cifar10-fast --seeds 3
	$(BIN)/python -m benchmarks.goals

bench-gpu: $(FOR_DEVELOPERS)  ## on a GPU: speeds beside timm, kernels alone, CIFAR-10, and what is reached
	$(BIN)/python -m benchmarks.speed_gpu
	$(BIN)/python -m benchmarks.gpu_kernels
	$(BIN)/python -m benchmarks.accuracy cifar10-minute cifar10 --seeds 3
	$(BIN)/python -m benchmarks.goals

clean:
	rm -rf .venv .venv-lowest .compare* .pytest_cache .mypy_cache .ruff_cache .import_linter_cache build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(INSTALLED): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
	touch $@

$(FOR_DEVELOPERS): $(INSTALLED)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[test,check]"
	touch $@
