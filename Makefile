# Two commands do all the set-up: make demo, make test. Both need Python 3.11 or later; the tests need Go too.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test lint nightly bench bench-start bench-live bench-survey bench-migration bench-report bench-fleet speed docs story dist clean

demo: .venv/installed
	@echo '$$ kubectl harden check -f examples/rejected-deployment.yaml'
	@$(BIN)/kubectl-harden check -f examples/rejected-deployment.yaml || test $$? -eq 1
	@echo
	@echo '$$ kubectl harden fix -f examples/rejected-deployment.yaml'
	@$(BIN)/kubectl-harden fix -f examples/rejected-deployment.yaml || test $$? -eq 1
	@echo
	@echo 'To try it yourself: export PATH="$$PWD/$(BIN):$$PATH", then kubectl harden --help'

test: .venv/installed-dev dist/SHA256SUMS
	$(BIN)/python -m tests.support.tools
	$(BIN)/python -m pytest -n auto

lint: .venv/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	cd tests/oracle && test -z "$$(gofmt -l .)" && go vet ./...

nightly: .venv/installed-dev
	HYPOTHESIS_PROFILE=nightly $(BIN)/python -m pytest -n auto -m "nightly or not nightly"

bench: .venv/installed
	$(BIN)/python benchmarks/run.py $(BENCH)

bench-start: .venv/installed-dev dist
	$(BIN)/python -m compileall -q kubectl_harden
	$(BIN)/python benchmarks/start.py

bench-live: .venv/installed-dev
	$(BIN)/python -m compileall -q kubectl_harden
	$(BIN)/python benchmarks/live.py

bench-survey bench-migration bench-report bench-fleet: bench-%: .venv/installed-dev
	$(BIN)/python -m compileall -q kubectl_harden
	$(BIN)/python benchmarks/$*.py $(BENCH)

# Each in turn; the options of one are in BENCH where SPEED names it alone.
SPEED = run start live fleet survey migration report
speed: .venv/installed-dev dist
	$(BIN)/python -m compileall -q kubectl_harden
	set -e; for name in $(SPEED); do \
	  $(BIN)/python benchmarks/$$name.py $(BENCH) > benchmarks/printed; \
	  $(BIN)/python docs/speed.py $$name < benchmarks/printed; \
	done; rm benchmarks/printed

docs: .venv/installed-dev
	$(BIN)/kubectl-harden explain -o markdown > docs/checks.md
	$(BIN)/python docs/commands.py
	$(BIN)/python docs/transcripts.py
	$(BIN)/python docs/terminal.py

story: .venv/installed-dev
	$(BIN)/python docs/story.py

dist: dist/SHA256SUMS

SHIPPED := $(shell find kubectl_harden packaging -type f -not -name '*.pyc') pyproject.toml krew-manifest.yaml LICENSE README.md
dist/SHA256SUMS: .venv/installed-dev $(SHIPPED)
	$(BIN)/python packaging/dist.py

clean:
	rm -rf .venv build dist

.venv/installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo '$(PYTHON) is older than 3.11: name another one, as in make demo PYTHON=python3.13' >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --editable .
	$(BIN)/python -m compileall -q kubectl_harden
	@touch $@

.venv/installed-dev: .venv/installed
	$(BIN)/python -m pip install --quiet --editable '.[dev,dist]'
	@touch $@
