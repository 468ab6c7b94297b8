# The two commands: `make demo` draws a picture, `make test` passes every test. Both install what they need first.
JOBS ?= $(shell nproc)
BUILD ?= build
PROMPT ?= a red apple on the left of a blue fish, in fluent style, on a yellow background
SEED ?= 0
FUZZ_SECONDS ?= 60

.PHONY: help demo build deb wheel test unit sanitize tsan cuda fuzz lint analyze mutants format bench tables web clean

help:
	@echo "make demo      set up, build and draw a picture (PROMPT='...' SEED=n)"
	@echo "make build     set up and build $(BUILD)/release/bin/intaglio and libintaglio.so; cmake --install $(BUILD)/release installs them"
	@echo "make deb       Debian packages in $(BUILD)/deb (CUDA=ON: with kernels for every card)"
	@echo "make test      set up, build and run every test"
	@echo "make cuda      compile every CUDA kernel for every architecture (no GPU needed); build/cuda/kernels.txt lists registers and spills"
	@echo "make unit|sanitize|cuda|lint   one part of the tests; make fuzz FUZZ_SECONDS=n fuzzes each parser for n seconds; make analyze walks paths; make tsan looks for races in the server"
	@echo "make format    rewrite sources with clang-format"
	@echo "make web       check, test and build the page of the server into web/dist, which is committed (needs node 20 and npm, and Chromium for its browser tests)"
	@echo "make bench     measure this machine into bench/results/; make tables rewrites the tables of README and docs from there"

demo: build
	$(BUILD)/release/bin/intaglio generate --model mini --prompt "$(PROMPT)" --seed $(SEED) --output demo.png
	@echo "The picture is demo.png"

build:
	@scripts/setup.sh build
	@cmake -G Ninja -S . -B $(BUILD)/release -DCMAKE_BUILD_TYPE=Release -DINTAGLIO_BUILD_TESTS=OFF >$(BUILD)-configure.log 2>&1 || { cat $(BUILD)-configure.log; exit 1; }
	@rm -f $(BUILD)-configure.log
	cmake --build $(BUILD)/release -j $(JOBS) --target intaglio intaglio_shared intaglio_manual

# Debian packages in $(BUILD)/deb; CUDA=ON makes those with kernels for every card. scripts/check_deb.sh installs them on a bare Debian.
deb:
	@scripts/setup.sh package
	cmake -G Ninja -S . -B $(BUILD)/deb -DCMAKE_BUILD_TYPE=Release -DINTAGLIO_BUILD_TESTS=OFF -DINTAGLIO_USE_ONEDNN=OFF -DINTAGLIO_CUDA=$(or $(CUDA),OFF) -DINTAGLIO_CUDA_ARCHITECTURES=all
	cmake --build $(BUILD)/deb -j $(JOBS)
	cd $(BUILD)/deb && cpack -G DEB

# The Python package with the library inside, in $(BUILD)/wheel; needs Python 3.11. CUDA=ON as above.
wheel:
	@scripts/setup.sh build
	cmake -G Ninja -S . -B $(BUILD)/wheel -DCMAKE_BUILD_TYPE=Release -DINTAGLIO_BUILD_PROGRAM=OFF -DINTAGLIO_BUILD_TESTS=OFF -DINTAGLIO_CUDA=$(or $(CUDA),OFF) -DINTAGLIO_CUDA_ARCHITECTURES=all -DCMAKE_BUILD_WITH_INSTALL_RPATH=ON '-DCMAKE_INSTALL_RPATH=$$ORIGIN' -DCMAKE_SHARED_LINKER_FLAGS=-Wl,--disable-new-dtags
	cmake --build $(BUILD)/wheel -j $(JOBS) --target intaglio_shared
	scripts/make_wheel.py $(BUILD)/wheel/lib/libintaglio.so $(BUILD)/wheel

test: unit sanitize cuda lint
	@echo "All tests passed."

.setup-test:
	@scripts/setup.sh build
	@scripts/setup.sh test
.PHONY: .setup-test

# Units and sanitizers test what needs no GPU, alike on every machine; scripts/gpu_check.sh is for the card.
unit: .setup-test
	cmake -G Ninja -S . -B $(BUILD)/test -DCMAKE_BUILD_TYPE=Release -DINTAGLIO_BUILD_TESTS=ON -DINTAGLIO_CUDA=OFF
	cmake --build $(BUILD)/test -j $(JOBS)
	ctest --test-dir $(BUILD)/test --output-on-failure -j $(JOBS) $(CTEST_FLAGS)
	@cat $(BUILD)/test/failure_injection.txt 2>/dev/null || true
	scripts/check_kernel_symbols.sh $(BUILD)/test

# The tests again under the address and undefined-behaviour sanitizers, with clang, which compiles them in half the time and is a second opinion.
# Left out, as a start takes half a second there: suites of the command line over code that the unit tests run as well; pictures of pages, and of examples of
# the interface that abi_picture_test draws with, too; of the made-up device what tests/CMakeLists.txt says.
sanitize: .setup-test
	@grep -qs 'CMAKE_CXX_COMPILER:.*clang' $(BUILD)/sanitize/CMakeCache.txt || rm -rf $(BUILD)/sanitize  # an older tree's is of g++
	cmake -G Ninja -S . -B $(BUILD)/sanitize -DCMAKE_C_COMPILER=clang-14 -DCMAKE_CXX_COMPILER=clang++-14 -DCMAKE_BUILD_TYPE=RelWithDebInfo -DCMAKE_CXX_FLAGS_RELWITHDEBINFO="-O1 -g1" -DINTAGLIO_SANITIZE=address,undefined -DINTAGLIO_CUDA=OFF
	cmake --build $(BUILD)/sanitize -j $(JOBS)
	ctest --test-dir $(BUILD)/sanitize --output-on-failure -j $(JOBS) -E "^(example_generate_picture(_cpp)?|readme|prompts|pins|cli_models|cli_arguments|cli_gguf|cli_map|cli_quantize|cli_schemas|cli_signals|cli_streams|worker)$$" $(CTEST_FLAGS)

# The server under ThreadSanitizer: its tests, and a load on either queue, on Redis with two servers and two workers that are killed on the way.
tsan: .setup-test
	cmake -G Ninja -S . -B $(BUILD)/tsan -DCMAKE_C_COMPILER=clang-14 -DCMAKE_CXX_COMPILER=clang++-14 -DCMAKE_BUILD_TYPE=RelWithDebInfo -DCMAKE_CXX_FLAGS_RELWITHDEBINFO="-O1 -g1" -DINTAGLIO_SANITIZE=thread -DINTAGLIO_USE_OPENMP=OFF -DINTAGLIO_USE_ONEDNN=OFF -DINTAGLIO_CUDA=OFF
	cmake --build $(BUILD)/tsan -j $(JOBS) --target intaglio intaglio_server_tests
	$(BUILD)/tsan/bin/intaglio_server_tests --gtest_brief=1
	scripts/load_server.py $(BUILD)/tsan/bin/intaglio --clients 50 --seconds 20
	scripts/load_server.py $(BUILD)/tsan/bin/intaglio --queue redis --servers 2 --workers 2 --clients 50 --seconds 120 --kills 5 --drop-redis 5

# Every CUDA kernel for every architecture, and the library and the program with them; no GPU needed. Fails on register spills.
cuda: .setup-test
	@if ! command -v nvcc >/dev/null && [ ! -x /usr/local/cuda/bin/nvcc ]; then echo "cuda: skipped, there is no nvcc on this machine"; exit 0; fi; set -e; \
	cmake -G Ninja -S . -B $(BUILD)/cuda -DCMAKE_BUILD_TYPE=Release -DINTAGLIO_BUILD_TESTS=OFF -DINTAGLIO_CUDA=ON -DINTAGLIO_CUDA_ARCHITECTURES=all >/dev/null; \
	cmake --build $(BUILD)/cuda --target clean; \
	cmake --build $(BUILD)/cuda -j $(JOBS) --target intaglio intaglio_shared >$(BUILD)/cuda/build.log 2>&1 || { grep -E "error|FAILED" $(BUILD)/cuda/build.log; exit 1; }; \
	scripts/check_kernel_resources.py $(BUILD)/cuda/build.log >$(BUILD)/cuda/kernels.txt; \
	tail -n 1 $(BUILD)/cuda/kernels.txt

# Coverage-guided fuzzing of everything that reads untrusted bytes; `make test` replays the stored corpora.
fuzz: .setup-test
	scripts/fuzz.sh $(BUILD)/fuzz $(FUZZ_SECONDS)

lint: .setup-test
	scripts/lint.sh $(BUILD)/test

# Paths through the functions that read untrusted bytes, as clang's analyzer walks them: slower than all of lint.
analyze: .setup-test
	scripts/tidy.py $(BUILD)/test '-*,clang-analyzer-core*,clang-analyzer-cplusplus*'

# Plants the faults of tests/mutants one at a time and counts those that make a test fail; takes long, and goes on where it was stopped.
mutants: .setup-test
	scripts/mutants.py

format: .setup-test
	git ls-files '*.h' '*.cpp' '*.cu' '*.cuh' | xargs clang-format-14 -i

bench: build
	scripts/bench.py $(BUILD)/release/bin/intaglio

tables:
	scripts/make_tables.py

# The page of the server. web/dist is committed, so that building the engine needs no node; scripts/check_web_dist.sh says when it is stale.
CHROMIUM ?= /usr/bin/chromium
web:
	@command -v npm >/dev/null || { echo "web: npm is not there; web/dist can be used as it is"; exit 1; }
	cd web && npm ci && npm run check && npm test && npm run build && npm run size
	@if [ -x $(CHROMIUM) ]; then cd web && CHROMIUM=$(CHROMIUM) npm run e2e; else echo "web: no browser tests, there is no $(CHROMIUM)"; fi

clean:
	rm -rf $(BUILD)
