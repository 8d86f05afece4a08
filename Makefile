# SPDX-License-Identifier: Apache-2.0
#
# Two commands do everything on a fresh Debian 12: `make demo` and `make test`. Each installs what it needs from Debian if it
# is missing (with sudo where not root), and nothing that is there.

PRESET ?= release
BUILD := build/$(PRESET)
JOBS ?= $(shell nproc)
# Where the demo's page is.
DEMO ?= 127.0.0.1:9123
# A Debian package each; scripts/need.sh asks dpkg and installs the missing ones in one go.
BUILD_PACKAGES := g++ cmake ninja-build ccache pkg-config libev-dev libcivetweb-dev prometheus-cpp-dev \
  nlohmann-json3-dev libcli11-dev libdw-dev libncurses-dev nodejs npm python3
TEST_PACKAGES := libgtest-dev libgmock-dev catch2 python3 python3-pytest python3-yaml tmux strace curl binutils openssl \
  libtcmalloc-minimal4 libclang-rt-14-dev clang valgrind
# Real programs for the probe's tests. Languages and libraries are installed; servers are unpacked below build/tools, so that
# no service starts, with the libraries that they need.
REAL_PACKAGES := ruby ruby-eventmachine ruby-cool.io ruby-async ruby-rack ruby-daemons python3-tornado python3-gevent \
  libanyevent-perl libev-perl libjemalloc2 liblzf1 liblua5.3-0 libopentracing-c-wrapper0 libnghttp2-14 libev4 \
  libevent-2.1-7 libsasl2-2 libpcre2-8-0 libjansson4 libxml2 libglib2.0-0 libatomic1 libsystemd0 libcrypt1 libssl3 zlib1g \
  git openssh-client sqlite3 python3-pytest perl make gdb bc xz-utils
REAL_SERVERS := nginx redis-server redis-tools:redis-cli haproxy memcached nghttp2-server:nghttpd nghttp2-client:h2load \
  hitch multiwatch thin
FUZZ_PACKAGES := clang libclang-rt-14-dev llvm xz-utils
SLOW_PACKAGES := libpython3.11-testsuite net-tools valgrind
BENCH_PACKAGES := libbenchmark-dev python3 strace valgrind linux-perf bpftrace wrk liblttng-ust-dev liblttng-ctl0 \
  liblttng-ust-ctl5 libpopt0 libxml2 libjemalloc2 liblzf1 liblua5.3-0
LINT_PACKAGES := clang-format clang-tidy shellcheck

.DEFAULT_GOAL := help
.PHONY: help build demo screenshots bench-page test test-slow asan tsan fuzz soak reliability bench format lint install sbom clean

help: ## show this
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "  PRESET=$(PRESET) (dev, release, asan, tsan, tidy, bench), JOBS=$(JOBS)"

build: ## build everything (PRESET=release)
	scripts/need.sh $(BUILD_PACKAGES) $(TEST_PACKAGES)
	cmake --preset $(PRESET)
	cmake --build $(BUILD) -j $(JOBS)

demo: ## build and run the demo under loopscope run: live page, /metrics, and buttons to make a TCP server misbehave
	scripts/need.sh $(BUILD_PACKAGES)
	cmake --preset release -DLOOPSCOPE_BUILD_TESTS=OFF
	cmake --build build/release -j $(JOBS) --target loopscope_demo loopscope_cli loopscope_probe
	build/release/cli/loopscope run --listen $(DEMO) --linger forever --summary none -- \
	  build/release/examples/demo --no-inspector --page http://$(DEMO)/ $(ARGS)

screenshots: ## take the pictures of docs/images anew, from the demo in Chromium
	scripts/need.sh $(BUILD_PACKAGES) $(TEST_PACKAGES)
	scripts/need.sh --tool chromium chromium
	cmake --preset release -DLOOPSCOPE_BUILD_TESTS=ON
	cmake --build build/release -j $(JOBS) --target loopscope_demo loopscope_cli loopscope_probe
	ctest --test-dir build/release -R '^browser\.(copy|install)$$'
	scripts/screenshots.sh build/release

test: ## run every test: unit, integration, browser, Prometheus, crash, torture (with sanitizers), consumer
	scripts/need.sh $(BUILD_PACKAGES) $(TEST_PACKAGES)
	scripts/need.sh --tool prometheus --tool promtool --unpack prometheus
	scripts/need.sh --tool prometheus-pushgateway --unpack prometheus-pushgateway
	scripts/need.sh --tool chromium chromium
	scripts/need.sh $(REAL_PACKAGES)
	for server in $(REAL_SERVERS); do scripts/need.sh --tool "$${server#*:}" --unpack "$${server%:*}" || exit 1; done
	cmake --preset release -DLOOPSCOPE_BUILD_TESTS=ON
	cmake --build build/release -j $(JOBS)
	scripts/ctest.sh build/release -j $(JOBS)
	$(MAKE) --no-print-directory asan tsan
	SEED=1 $(MAKE) --no-print-directory fuzz SECONDS=5

test-slow: ## what takes long: the long forms of the reliability tests, CPython's and Tornado's own suites, the victims beside valgrind, each fuzzer for a minute (about an hour)
	scripts/need.sh $(BUILD_PACKAGES) $(TEST_PACKAGES) $(REAL_PACKAGES) $(SLOW_PACKAGES)
	scripts/need.sh --tool chromium chromium
	cmake --preset release -DLOOPSCOPE_BUILD_TESTS=ON
	cmake --build build/release -j $(JOBS)
	LOOPSCOPE_PROBE_LIB=$(CURDIR)/build/release/instrumentation/probe/libloopscope-probe.so \
	  LOOPSCOPE_BIN=$(CURDIR)/build/release/cli/loopscope python3 tests/real/slow_suites.py
	scripts/need.sh --tool prometheus --tool promtool --unpack prometheus
	PROCESSES=1000 LOOPSCOPE_BIN=$(CURDIR)/build/release/cli/loopscope TOOLS=$(CURDIR)/build/tools/usr/bin \
	  /usr/bin/python3 tests/dashboards/cardinality_test.py
	LOOPSCOPE_BIN=$(CURDIR)/build/release/cli/loopscope VICTIMS_BIN=$(CURDIR)/build/release/tests/victims \
	  python3 tests/victims/valgrind_compare.py
	SLOW=1 scripts/ctest.sh build/release -L reliability -j 1
	$(MAKE) --no-print-directory fuzz SECONDS=60

asan: ## unit and torture tests under AddressSanitizer and UndefinedBehaviorSanitizer
	cmake --preset asan
	cmake --build build/asan -j $(JOBS) --target sanitized-tests
	ROW=address-sanitizer scripts/ctest.sh build/asan -L 'unit|torture|http' -j $(JOBS)

tsan: ## unit and torture tests under ThreadSanitizer
	cmake --preset tsan
	cmake --build build/tsan -j $(JOBS) --target sanitized-tests
	ROW=thread-sanitizer scripts/ctest.sh build/tsan -L 'unit|torture|http' -j $(JOBS)

# Each target for so long, two at once where there are two cores.
SECONDS ?= 60
fuzz: ## libFuzzer on whatever reads what others wrote (SECONDS=60 each, beginning with tests/fuzz/corpus)
	scripts/need.sh $(BUILD_PACKAGES) $(FUZZ_PACKAGES)
	cmake --preset fuzz
	cmake --build build/fuzz -j $(JOBS) --target fuzzers
	tests/fuzz/run.sh build/fuzz/tests/fuzz $(SECONDS)

soak: ## full load with 20 browsers and a 1 s scrape, watched by loopscope itself (30 minutes; MINUTES=N)
	scripts/need.sh $(BUILD_PACKAGES) $(TEST_PACKAGES)
	scripts/need.sh --tool prometheus --tool promtool --unpack prometheus
	scripts/need.sh --tool chromium chromium
	cmake --preset release -DLOOPSCOPE_BUILD_TESTS=ON
	cmake --build build/release -j $(JOBS) --target soak-programs
	MINUTES=$(or $(MINUTES),30) ctest --test-dir build/release -R '^soak$$' -V

reliability: ## run what docs/reliability.md promises and renew the table's figures (SLOW=1: the long form; ROWS='killed stopped': these alone)
	scripts/need.sh $(BUILD_PACKAGES) $(TEST_PACKAGES)
	cmake --preset release -DLOOPSCOPE_BUILD_TESTS=ON
	cmake --build build/release -j $(JOBS)
	scripts/reliability.py build/release $(ROWS)

bench: ## measure against the budgets and print the table (about 17 minutes; ARGS=--quick for a look)
	scripts/need.sh $(BUILD_PACKAGES) $(BENCH_PACKAGES)
	scripts/need.sh --tool nginx --unpack nginx
	scripts/need.sh --tool redis-server --tool redis-benchmark --unpack redis-server --unpack redis-tools
	scripts/need.sh --tool lttng --unpack lttng-tools
	cmake --preset bench
	cmake --build build/bench -j $(JOBS)
	python3 tests/bench/run.py --programs build/bench/tests/bench --loopscope build/bench/cli/loopscope \
	  --probe build/bench/instrumentation/probe/libloopscope-probe.so $(ARGS)

bench-page: ## measure the page's frames and memory in Chromium (about 15 minutes; ARGS='--minutes 1' for a look)
	scripts/need.sh $(BUILD_PACKAGES) $(TEST_PACKAGES)
	scripts/need.sh --tool chromium chromium
	cmake --preset release -DLOOPSCOPE_BUILD_TESTS=ON
	cmake --build build/release -j $(JOBS) --target loopscope_page
	ctest --test-dir build/release -R '^browser\.(copy|install)$$'
	cd build/release/tests/browser/story && PAGE=$(CURDIR)/webui/page BUILT_PAGE=$(CURDIR)/build/release/webui/page \
	  node performance.mjs $(ARGS)

format: ## format the whole tree
	scripts/need.sh clang-format
	git ls-files '*.cpp' '*.h' '*.c' | xargs clang-format -i

lint: ## formatting, clang-tidy, shellcheck, TypeScript
	scripts/need.sh $(BUILD_PACKAGES) $(TEST_PACKAGES) $(LINT_PACKAGES)
	git ls-files '*.cpp' '*.h' '*.c' | xargs clang-format --dry-run -Werror
	git ls-files '*.sh' .ci/run | xargs shellcheck
	cd webui/page && npm ci --loglevel=error && npm run check
	cmake --preset tidy
	cmake --build build/tidy -j $(JOBS)

install: ## build and install to PREFIX (default /usr/local)
	scripts/need.sh $(BUILD_PACKAGES)
	cmake --preset release -B build/install -DLOOPSCOPE_BUILD_TESTS=OFF -DLOOPSCOPE_BUILD_EXAMPLES=OFF \
	  -DCMAKE_INSTALL_PREFIX="$(or $(PREFIX),/usr/local)"
	cmake --build build/install -j $(JOBS)
	cmake --install build/install

sbom: ## write build/release/loopscope.spdx.json: what loopscope holds and stands on, with versions and licences (SPDX 2.3)
	scripts/need.sh $(BUILD_PACKAGES)
	cmake --preset release -DLOOPSCOPE_BUILD_TESTS=OFF
	cmake --build build/release --target loopscope_sbom

clean: ## remove build/
	rm -rf build
