# Every target sets up what it needs, from nothing: `make demo` in a fresh clone is enough.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
INSTALLED := .venv/.installed

.PHONY: demo test lint bench bench-fit clean

demo: $(INSTALLED)
	$(BIN)/toolchain demo

test: $(INSTALLED)
	$(BIN)/pytest -q

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python .ci/check_language.py

bench: $(INSTALLED)
	$(BIN)/pip install --quiet -c constraints.txt -e ".[bench]"
	$(BIN)/python -m benchmarks.run

# Hours, and a folder of clean photos: make bench-fit PHOTOS=bsds500/val
bench-fit: $(INSTALLED)
	@test -n "$(PHOTOS)" || { echo "name a folder of clean photos: make bench-fit PHOTOS=folder"; exit 1; }
	$(BIN)/pip install --quiet -c constraints.txt -e ".[bench]"
	$(BIN)/python -m benchmarks.self_supervised "$(PHOTOS)"
	$(BIN)/python -m benchmarks.self_supervised "$(PHOTOS)" --single --no-bm3d
	$(BIN)/python -m benchmarks.self_supervised "$(PHOTOS)" --cameras middle --ablate

# torch goes first and alone, so that the constraint decides which build every other package gets.
$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet -c constraints.txt torch
	$(BIN)/pip install --quiet -c constraints.txt -e ".[dev]"
	touch $@

clean:
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
