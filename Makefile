# Each target makes what it needs: a machine with Python 3.11 and cargo is enough.
PYTHON ?= python3.11
VENV ?= .venv
export PIP_QUIET ?= 1
BIN := $(VENV)/bin
RUST := $(shell find rust/packsort-* -name '*.rs' -o -name Cargo.toml) Cargo.toml Cargo.lock

.DEFAULT_GOAL := help
.PHONY: help demo test faults stress fuzz check docs format bench paper wheel wheel-test audit clean

help:
	@echo "make demo    make conversations and a tokenizer, pack them, prove it, look at a pack, train on it"
	@echo "make test    every test, of Rust and of Python"
	@echo "make faults  a fault at every system call of every command that writes, and damaged files, for about 20 minutes"
	@echo "make stress  hostile arguments, forks, threads and properties of the core, many times"
	@echo "make fuzz    every fuzz target of the core for SECONDS=60, with a nightly compiler and cargo-fuzz"
	@echo "make check   formatters, linters, types, the site and the package of the crate"
	@echo "make docs    the site, in site/"
	@echo "make bench   the benchmarks of benches/README.md"
	@echo "make paper   the experiment of arXiv 2410.08081 on CHATS=... with TOKENIZER=..., by default on the demo's, in 10 minutes"
	@echo "make wheel   the wheel that is uploaded, in dist/, and its audit; TARGET and ABI choose another one"
	@echo "make wheel-test  the wheel of dist/, installed and tested in each Python from 3.11 on that is here"
	@echo "make audit   licences and known vulnerabilities of all that packsort depends on"

# The package itself, and what only some targets need, in separate steps: the demo needs no test tools.
$(BIN)/maturin:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip "maturin>=1.9,<2"

$(VENV)/.built: $(BIN)/maturin $(RUST) pyproject.toml
	VIRTUAL_ENV="$(abspath $(VENV))" $(BIN)/maturin develop --release --quiet --extras hf,torch
	touch $@

$(VENV)/.tools: $(VENV)/.built
	VIRTUAL_ENV="$(abspath $(VENV))" $(BIN)/maturin develop --release --quiet --extras test,check
	touch $@

demo: $(VENV)/.built
	rm -rf demo
	$(BIN)/python examples/make_chats.py demo
	$(BIN)/packsort pack demo/chats.jsonl -o demo/packed --tokenizer demo/tokenizer --max-length 1024
	$(BIN)/packsort verify demo/packed --source demo/chats.jsonl
	$(BIN)/packsort inspect demo/packed --pack 1 --tokenizer demo/tokenizer
	$(BIN)/python examples/train.py demo/packed

# Each process imports torch and transformers, 1 to 2 GB: more than four cost more memory than they save time. A file's
# tests stay in one process, because they share what is slow to set up.
PYTEST_PROCESSES ?= logical
test: $(VENV)/.tools
	cargo test --workspace --quiet
	$(BIN)/python -m pytest -n $(PYTEST_PROCESSES) --maxprocesses 4 --dist loadfile

# ATTACK="pack" tries one command.
faults: $(VENV)/.tools
	$(BIN)/python tests/faults/attack.py $(if $(ATTACK),"$(ATTACK)")
	$(BIN)/python tests/faults/attack.py --without-exchange "$(or $(ATTACK),export --overwrite)"
	PACKSORT_REPEATS=50 $(BIN)/python -m pytest -n 0 tests/test_hostile_directories.py tests/test_damaged_batches.py \
	    tests/test_hostile_sources.py tests/test_hostile_plans.py tests/test_hostile_states.py

stress: $(VENV)/.tools
	PACKSORT_REPEATS=50 $(BIN)/python -m pytest tests/test_hostile_arguments.py
	PACKSORT_REPEATS=10 $(BIN)/python -m pytest tests/test_shared_processes.py
	PROPTEST_CASES=10000 cargo test --release --package packsort-core --lib --tests

# Malloc must return null where there is no memory, as the core expects it. Findings are in rust/fuzz/artifacts.
SECONDS ?= 60
FUZZ_TARGETS ?= plan parts gather batch schedule json_lines parquet
fuzz:
	for target in $(FUZZ_TARGETS); do \
		ASAN_OPTIONS=allocator_may_return_null=1 cargo +nightly fuzz run --fuzz-dir rust/fuzz $$target -- \
			-max_total_time=$(SECONDS) -print_final_stats=1 || exit 1; \
	done

check: $(VENV)/.tools
	cargo fmt --manifest-path rust/fuzz/Cargo.toml --check
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --quiet -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --quiet
	cargo package --package packsort-core --allow-dirty --quiet
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/mypy tests/typos.py
	$(BIN)/python -m mypy.stubtest packsort._core
	$(BIN)/lint-imports --no-cache
	$(BIN)/check-jsonschema --builtin-schema vendor.github-issue-forms .github/ISSUE_TEMPLATE/[!c]*.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.github-issue-config .github/ISSUE_TEMPLATE/config.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.citation-file-format CITATION.cff
	$(BIN)/zizmor --offline --quiet --pedantic .github/workflows
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(BIN)/zensical build --clean --strict

docs: $(VENV)/.tools
	$(BIN)/zensical build --clean --strict

format: $(VENV)/.tools
	cargo fmt --all
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/.tools
	VIRTUAL_ENV="$(abspath $(VENV))" $(BIN)/maturin develop --release --quiet --extras bench
	cargo bench --package packsort-core
	$(BIN)/python benches/run.py

# CHATS=chats.jsonl TOKENIZER=./tokenizer MAX_LENGTH=4096 trains on other conversations; MODEL may be a checkpoint.
CHATS ?= demo/chats.jsonl
TOKENIZER ?= demo/tokenizer
MAX_LENGTH ?= 1024
MODEL ?= 5M
MINUTES ?= 10
paper: $(VENV)/.tools
	test -e $(CHATS) || $(BIN)/python examples/make_chats.py demo
	$(BIN)/packsort experiment $(CHATS) --tokenizer $(TOKENIZER) --max-length $(MAX_LENGTH) --model $(MODEL) \
		--minutes $(MINUTES) -o paper

# docs/releasing.md lists the wheels. zig links against the C library that the tag names, whatever this machine has, so
# any Linux makes the wheels of every Linux. auditwheel proves that there is nothing to repair; its copy stays behind.
HOST := $(shell rustc -vV | sed -n 's/^host: //p')
TARGET ?= $(HOST)
MACHINE = $(firstword $(subst -, ,$(TARGET)))
ABI ?= abi3
TAG = $(if $(findstring musl,$(TARGET)),musllinux_1_2,manylinux_2_28)
ABI_abi3 = --interpreter python3.11
ABI_abi3t = --interpreter python3.15t --no-default-features --features abi3t
ABI_cp314t = --interpreter python3.14t --no-default-features
wheel: $(VENV)/.wheel
	rustup target add $(TARGET)
	rm -rf target/wheel
	SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) PATH="$(abspath $(BIN)):$$PATH" \
	    $(BIN)/maturin build --profile wheel --zig --target $(TARGET) --compatibility $(TAG) $(ABI_$(ABI)) --out target/wheel
# auditwheel shows wheels of other processors, repairs those of its own, and reads none of musl, which maturin checks.
ifeq ($(findstring musl,$(TARGET)),)
	$(BIN)/auditwheel show target/wheel/*.whl | tee target/wheel/audit.txt
	grep -q '"$(TAG)_$(MACHINE)"' target/wheel/audit.txt
endif
ifeq ($(TARGET),$(HOST))
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/auditwheel repair --plat $(TAG)_$(MACHINE) \
	    --wheel-dir target/wheel/audited target/wheel/*.whl
endif
	$(if $(filter abi3,$(ABI)),$(BIN)/abi3audit --strict --summary target/wheel/*.whl)
	$(BIN)/python wheels/check.py $(TARGET) target/wheel/*.whl
	mkdir -p dist
	mv target/wheel/*.whl dist

$(VENV)/.wheel: $(BIN)/maturin pyproject.toml
	$(BIN)/python -m pip install --quiet --group wheel
	touch $@

# Every Python that PATH or pyenv has; a shim of pyenv is none.
PYTHONS ?= $(foreach minor,11 12 13 14 15,$(firstword $(wildcard $(HOME)/.pyenv/versions/3.$(minor).*/bin/python3 \
    /usr/local/bin/python3.$(minor) /usr/bin/python3.$(minor))))
wheel-test:
	for python in $(PYTHONS); do $$python wheels/test.py dist || exit 1; done

# The first run compiles cargo-deny, for minutes. Advisories are asked for over the network; without one, OFFLINE=1
# takes the copy of the last run for crates, and says that packages of Python are not looked up.
DENY := target/tools/bin/cargo-deny
$(DENY):
	cargo install --locked --quiet --root target/tools cargo-deny

audit: $(VENV)/.tools $(DENY)
	$(DENY) --locked --log-level error $(if $(OFFLINE),--offline) check
ifdef OFFLINE
	@echo "OFFLINE: known vulnerabilities of Python packages were not looked up"
else
	$(BIN)/python -m pip install --quiet --group audit
	$(BIN)/python -m pip freeze --exclude-editable | sed 's/+.*//' > target/requirements.txt
	$(BIN)/pip-audit --strict --no-deps --disable-pip --requirement target/requirements.txt
endif

clean:
	rm -rf $(VENV) target demo dist paper site .cache python/packsort/*.so
