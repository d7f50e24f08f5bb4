# The entry points. Everything of substance is in CMake (CMakePresets.json) and in tools/.
# Variables: JOBS, FUZZ_SECONDS, SEEDS, BASE (check: the commit to compare with), DEPENDENCIES (":"
# installs nothing), ARGUMENTS (run: more for `fanfare serve`; its topic rules come first),
# BENCH_ARGUMENTS (bench: what bench/compare.py is called with).

JOBS ?= $(shell nproc)
FUZZ_SECONDS ?= 60
SEEDS ?= 200
BENCH_ARGUMENTS ?= --write
DEPENDENCIES ?= tools/install_dependencies.sh

.DEFAULT_GOAL := help
.PHONY: help run build test check bench fuzz format dependencies clean
.NOTPARALLEL:
MAKEFLAGS += --no-print-directory

help: ## show this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1|\2/p' Makefile | awk -F'|' '{ printf "  %-18s %s\n", $$1, $$2 }'

build: ## build the broker, optimised: build/release/fanfare
	@$(DEPENDENCIES) build
	@cmake --preset release -DFANFARE_DEVELOPER=OFF
	@cmake --build build/release --target fanfare -j$(JOBS)

run: build ## build the broker and start it (ARGUMENTS='--listen 127.0.0.1:9000')
	@exec build/release/fanfare serve --examples $(ARGUMENTS) --topic-rule 'match=#,history_messages=100'

test: ## build and run all tests; the last line is the sum
	@$(DEPENDENCIES) build test
	@tools/run_tests.sh $(JOBS)

check: ## before a commit: format, linters, unit tests, SEEDS seeds of the simulator
	@$(DEPENDENCIES) build test develop
	@cmake --preset dev && cmake --build build/dev -j$(JOBS)
	@tools/check_changed.sh $(BASE)
	@ctest --test-dir build/dev -L unit -j$(JOBS) --output-on-failure
	@build/dev/tests/sim/sim --seeds $(SEEDS)

bench: ## micro-benchmarks, then other servers beside Fanfare (BENCH_ARGUMENTS='--rounds 1 --seconds 1')
	@$(DEPENDENCIES) build test bench
	@bench/peers/install.sh
	@cmake --preset release -DFANFARE_DEVELOPER=ON
	@cmake --build build/release --target fanfare bench/all -j$(JOBS)
	@set -e; for program in build/release/bench/*_bench; do printf '\n== %s\n' "$$program"; "$$program"; done
	@printf '\n== bench/instructions.py\n'; bench/instructions.py build/release
	@printf '\n== bench/compare.py\n'; bench/compare.py build/release $(BENCH_ARGUMENTS)

fuzz: ## run each fuzzer for FUZZ_SECONDS
	@$(DEPENDENCIES) build test develop
	@cmake --preset fuzz && cmake --build build/fuzz --target tests/fuzz/all -j$(JOBS)
	@tools/run_fuzzers.sh $(FUZZ_SECONDS)

format: ## format all C++ sources
	@$(DEPENDENCIES) develop
	@git ls-files -co --exclude-standard '*.h' '*.cc' | xargs -r clang-format-14 -i

dependencies: ## install what is missing for all of the above
	@$(DEPENDENCIES) build test develop

clean: ## remove all that was built
	@rm -rf build
