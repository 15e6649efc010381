# pgberth: CMake builds the broker (broker/), PGXS the extension (extension/).
# `make help` lists the targets.

PREFIX ?= /usr/local
SYSCONFDIR ?= /etc
DESTDIR ?=
PYTHON ?= /usr/bin/python3
JOBS ?= $(shell nproc)
FUZZ_SECONDS ?= 600

# Equal sources in two clones are one entry of the compiler cache.
export CCACHE_BASEDIR := $(CURDIR)
export CCACHE_NOHASHDIR := 1

# Sanitizer builds at -O1 and with line numbers only: half the time to compile, and reports name lines all the same.
sanitized := -DCMAKE_BUILD_TYPE=RelWithDebInfo -DCMAKE_CXX_FLAGS_RELWITHDEBINFO='-O1 -g1 -DNDEBUG'
cmake_release := -DCMAKE_BUILD_TYPE=Release
cmake_asan := $(sanitized) -DBERTH_ASAN=ON
cmake_tsan := $(sanitized) -DBERTH_TSAN=ON
cmake_fuzz := $(sanitized) -DBERTH_FUZZ=ON -DCMAKE_CXX_COMPILER=clang++-14
cmake_faults := -DCMAKE_BUILD_TYPE=Release -DBERTH_FAULTS=ON
cmake_bare := -DCMAKE_BUILD_TYPE=Release -DBERTH_RECORDING=OFF -DBERTH_TESTS=OFF

# Configures a build directory once; Ninja runs CMake again when its files change. A directory that was made with other
# options, or for a clone at another path, starts anew.
define configure
	@mkdir -p build/$(1); echo "$(CURDIR) $(cmake_$(1))" >build/$(1)/wanted; \
	if ! cmp -s build/$(1)/wanted build/$(1)/configured; then \
	  cmake --fresh -S broker -B build/$(1) -G Ninja $(cmake_$(1)) >build/$(1)/cmake.log 2>&1 || \
	    { cat build/$(1)/cmake.log; exit 1; }; cp build/$(1)/wanted build/$(1)/configured; fi
endef

.PHONY: all
all: build/pgberth extension ## build the broker and the extension

.PHONY: FORCE
FORCE:

build/pgberth: FORCE
	$(call configure,release)
	@cmake --build build/release -j $(JOBS) --target pgberth
	@ln -sfn release/pgberth build/pgberth

# The same without what broker/stats/recording.h speaks of: for the bench, which says what that costs. Never installed.
.PHONY: bench-bare
bench-bare: FORCE
	$(call configure,bare)
	@cmake --build build/bare -j $(JOBS) --target pgberth

# Everything of one kind of build, tests included: build-release, build-asan, build-tsan, build-fuzz, build-faults.
build-%: FORCE
	$(call configure,$*)
	@cmake --build build/$* -j $(JOBS)

.PHONY: extension
extension:
	@$(MAKE) --no-print-directory -C extension WERROR=1

.PHONY: deps
deps: ## install what building and testing needs (Debian 12; apt as root or by sudo)
	@bash tests/deps.sh

# The service has a user of its own, who may read its files, others may not. (Below DESTDIR, and without root, that is
# somebody else's to do: sysusers.d/pgberth.conf says it.)
define make_user
if [ -z "$(DESTDIR)" ] && [ "$$(id -u)" = 0 ] && ! getent passwd pgberth >/dev/null; then \
  systemd-sysusers $(PREFIX)/lib/sysusers.d/pgberth.conf 2>/dev/null || \
  useradd --system --user-group --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin pgberth; fi
endef
owner = $$([ -z "$(DESTDIR)" ] && [ "$$(id -u)" = 0 ] && getent group pgberth >/dev/null && echo -g pgberth)

.PHONY: install
install: all ## install to PREFIX (default /usr/local), below DESTDIR
	install -D -m 0755 build/release/pgberth $(DESTDIR)$(PREFIX)/bin/pgberth
	install -d $(DESTDIR)$(PREFIX)/lib/systemd/system
	sed 's|@PREFIX@|$(PREFIX)|; s|@SYSCONFDIR@|$(SYSCONFDIR)|' etc/pgberth.service \
	  >$(DESTDIR)$(PREFIX)/lib/systemd/system/pgberth.service
	install -D -m 0644 etc/pgberth.sysusers $(DESTDIR)$(PREFIX)/lib/sysusers.d/pgberth.conf
	$(make_user)
	install -d $(DESTDIR)$(PREFIX)/share/doc/pgberth $(DESTDIR)$(SYSCONFDIR)/pgberth
	install -m 0644 LICENSE README.md CHANGELOG.md docs/*.md $(DESTDIR)$(PREFIX)/share/doc/pgberth
	if [ ! -e $(DESTDIR)$(SYSCONFDIR)/pgberth/pgberth.ini ]; then \
	  install -m 0640 $(owner) etc/pgberth.ini $(DESTDIR)$(SYSCONFDIR)/pgberth/pgberth.ini; \
	  sed -i 's|^auth_file = userlist|auth_file = $(SYSCONFDIR)/pgberth/userlist|' $(DESTDIR)$(SYSCONFDIR)/pgberth/pgberth.ini; fi
	if [ ! -e $(DESTDIR)$(SYSCONFDIR)/pgberth/userlist.txt ]; then \
	  install -m 0640 $(owner) etc/userlist.txt $(DESTDIR)$(SYSCONFDIR)/pgberth/userlist.txt; fi
	$(MAKE) -C extension install DESTDIR=$(DESTDIR)

.PHONY: demo demo-up demo-down
demo: deps ## from nothing to load through both ports: a private PostgreSQL, the broker, pgbench; leaves nothing running
	@$(MAKE) --no-print-directory all
	@$(PYTHON) tests/demo/demo.py run

demo-up: deps ## the same PostgreSQL and broker, left running for you to use
	@$(MAKE) --no-print-directory all
	@$(PYTHON) tests/demo/demo.py up

demo-down: ## stop what demo-up started
	@$(PYTHON) tests/demo/demo.py down

.PHONY: check
check: deps ## run every test; ends with one line "N passed, N failed" (CHECK_STEPS=a,b for some of them)
	@$(PYTHON) tests/check.py

.PHONY: installcheck
installcheck: all ## the tests of the extension alone (pgTAP, against a private PostgreSQL; nothing is installed)
	@$(PYTHON) -B tests/sql/run.py

.PHONY: check-postgresql
check-postgresql: all ## the tests of the extension on PostgreSQL 17 and 18 (fetches a Debian trixie and a sid; root; not in check)
	@bash tests/other_version.sh 17 trixie python3 -B tests/sql/run.py
	@bash tests/other_version.sh 18 sid python3 -B tests/sql/run.py

newer_tests := tests/e2e/newer tests/e2e/test_startup.py tests/e2e/test_auth.py tests/e2e/test_tls_clients.py \
  tests/e2e/test_tls_client_certificates.py tests/e2e/test_tls_servers.py tests/e2e/test_tls_own_connections.py
.PHONY: check-libpq
check-libpq: all ## psql and libpq 17 and 18, PostgreSQL 17 and 18 as servers, over TLS (fetches as check-postgresql; root; not in check)
	@bash tests/other_version.sh 17 trixie python3 -B -m pytest -q $(newer_tests)
	@bash tests/other_version.sh 18 sid python3 -B -m pytest -q $(newer_tests)

.PHONY: check-drivers
check-drivers: deps ## JDBC, node-postgres and postgres.js through both ports (installs a JDK and npm packages; not in check)
	@bash tests/e2e/optional/deps.sh
	@$(MAKE) --no-print-directory all
	@$(PYTHON) -m pytest -q tests/e2e/optional

.PHONY: check-tools
check-tools: deps ## migration tools through both ports, their histories adopted (installs Sqitch, a JRE, npm packages; not in check)
	@bash tests/tools/deps.sh
	@$(MAKE) --no-print-directory all
	@$(PYTHON) -B tests/tools/run.py

.PHONY: bench bench-peers
bench: deps ## side by side with other brokers, as ratios
	@$(MAKE) --no-print-directory all bench-bare
	@$(PYTHON) tests/bench/bench.py
	@$(PYTHON) -B tests/bench/security.py
	@$(PYTHON) -B tests/bench/migrations.py

bench-peers: ## fetch current peers into a folder of their own, for make bench (root)
	@bash tests/bench/peers.sh

.PHONY: fuzz
fuzz: build-fuzz ## fuzz every target for FUZZ_SECONDS (default 600) of CPU time each
	@$(PYTHON) tests/fuzz/run.py --seconds $(FUZZ_SECONDS)

sources = $(shell git ls-files --cached --others --exclude-standard '*.cc' '*.h' '*.cpp')

.PHONY: format format-check
format: ## format all C++ sources in place
	@clang-format-14 -i $(sources)

format-check: ## say which sources are not formatted
	@clang-format-14 --dry-run --Werror $(sources)

.PHONY: tidy lint
tidy: ## layers, sizes and habits that compilers do not check
	@$(PYTHON) tests/tidy.py

lint: build-release ## clang-tidy over the broker (slow)
	@printf "%s\n" $(filter broker/%.cc,$(sources)) | xargs -P $(JOBS) -n 1 clang-tidy-14 -p build/release --quiet

.PHONY: docs
docs: build/pgberth ## write the generated pages of docs/ anew from the lists in the sources
	@$(PYTHON) tests/docs.py

.PHONY: sbom
sbom: build/pgberth ## the libraries that the broker is made of, as CycloneDX JSON, for a scanner of advisories
	@$(PYTHON) -B tests/sbom.py

.PHONY: clean
clean: demo-down ## remove build/
	rm -rf build
	$(MAKE) -C extension clean

.PHONY: help
help: ## this list
	@grep -hE '^[a-z-]+( [a-z-]+)*:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+).*## (.*)/\1\t\2/' | \
	  awk -F '\t' '{ printf "  make %-13s %s\n", $$1, $$2 }'
