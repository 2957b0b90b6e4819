# Postino. `make` builds; `make run` shows it at work; `make check` tests it; `make install PREFIX= DESTDIR=` installs it.
#
# VARIANT=release (default), asan (AddressSanitizer and UBSan) or try (a debug build that can be told to try what its sandbox forbids).

PREFIX      ?= /usr/local
SYSCONFDIR  ?= /etc
LIBEXEC     ?= $(PREFIX)/libexec/postino
VARIANT     ?= release
B           := build/$(VARIANT)
# V=1 shows the commands.
Q           := $(if $(V),,@)

CC          ?= cc
WARNINGS    := -Wall -Wextra -Werror -Wshadow -Wconversion -Wsign-conversion -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith -Wcast-qual \
               -Wwrite-strings -Wformat=2 -Wundef -Wvla -Wimplicit-fallthrough -Wnull-dereference -Wno-error=null-dereference
HARDENING   := -fPIE -fstack-protector-strong -fstack-clash-protection -fcf-protection -ftrivial-auto-var-init=zero
OPTIMIZE    := -O2 -g
ALL_CFLAGS   = -std=gnu11 -D_GNU_SOURCE -I. -DPROGRAMS_DIRECTORY='"$(LIBEXEC)"' -DSYSCONFDIR='"$(SYSCONFDIR)"' $(WARNINGS) $(HARDENING) $(OPTIMIZE) $(VARIANT_CFLAGS) $(CFLAGS)
ALL_LDFLAGS  = -pie -Wl,-z,relro,-z,now,-z,noexecstack $(VARIANT_LDFLAGS) $(LDFLAGS)

ifeq ($(VARIANT),release)
VARIANT_CFLAGS  := -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=3
else ifeq ($(VARIANT),asan)
VARIANT_CFLAGS  := -O1 -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer -DPOSTINO_SANITIZER
VARIANT_LDFLAGS := -fsanitize=address,undefined
else ifeq ($(VARIANT),try)
VARIANT_CFLAGS  := -DPOSTINO_TRY
else
$(error VARIANT is release, asan or try)
endif

# Each folder says in files.mk which sources make which program, and which unit tests and fuzz targets need which of them.
#   PROGRAMS += postino-smtpd        postino-smtpd_SRC = ...        postino-smtpd_LIBS = ...
#   TESTS += test_address            test_address_SRC = (sources beside tests/unit/test_address.c and common/)    test_address_LIBS = ...
#   FUZZERS += fuzz_address          fuzz_address_SRC = (sources beside tests/fuzz/fuzz_address.c and common/)
#   MANUALS += smtpd/postino-smtpd.8
.DEFAULT_GOAL := all
PROGRAMS :=
TESTS    :=
FUZZERS  :=
MANUALS  :=
include common/files.mk
include $(wildcard conf/files.mk master/files.mk smtpd/files.mk tlsmgr/files.mk sts/files.mk creds/files.mk auth/files.mk qmgr/files.mk delivery/files.mk resolver/files.mk admin/files.mk)

BINARIES := $(PROGRAMS:%=$(B)/bin/%)

all: $(BINARIES) $(filter build/%,$(MANUALS))

# Other paths or flags than those of the last time: everything that has them in it is built anew.
FLAGS := $(subst ','\'',$(CC) $(LIBEXEC) $(SYSCONFDIR) $(CFLAGS) $(LDFLAGS))
build/flags: force
	@mkdir -p $(@D)
	@printf '%s\n' '$(FLAGS)' | cmp -s - $@ 2>/dev/null || printf '%s\n' '$(FLAGS)' >$@
force:
build/man/postino.conf.5: build/flags

$(B)/obj/%.o: %.c build/flags
	@mkdir -p $(@D)
	@echo '  CC   $<'
	$(Q)$(CC) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

$(B)/libcommon.a: $(common_SRC:%.c=$(B)/obj/%.o)
	@rm -f $@
	@echo '  AR   $@'
	$(Q)$(AR) rcs $@ $^

define program
$(B)/bin/$(1): $($(1)_SRC:%.c=$(B)/obj/%.o) $(B)/libcommon.a
	@mkdir -p $$(@D)
	@echo '  LD   $$@'
	$$(Q)$$(CC) $$(ALL_LDFLAGS) -o $$@ $$^ $($(1)_LIBS)
endef
$(foreach p,$(PROGRAMS),$(eval $(call program,$(p))))

define unit
$(B)/unit/$(1): $(B)/obj/tests/unit/$(1).o $($(1)_SRC:%.c=$(B)/obj/%.o) $(B)/libcommon.a
	@mkdir -p $$(@D)
	@echo '  LD   $$@'
	$$(Q)$$(CC) $$(ALL_LDFLAGS) -o $$@ $$^ $($(1)_LIBS) -lcmocka
endef
$(foreach t,$(TESTS),$(eval $(call unit,$(t))))

units: $(TESTS:%=$(B)/unit/%)

# Fuzz targets are built from source in one go by clang, with libFuzzer.
FUZZ_CFLAGS := -std=gnu11 -D_GNU_SOURCE -I. -DPROGRAMS_DIRECTORY='"/"' -DSYSCONFDIR='"/etc"' -O1 -g -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all
define fuzzer
build/fuzz/$(1): tests/fuzz/$(1).c $($(1)_SRC) $(common_SRC) $(wildcard common/*.h common/*.def conf/*.h conf/*.def)
	@mkdir -p $$(@D)
	@echo '  FUZZ $$@'
	$$(Q)clang $$(FUZZ_CFLAGS) -o $$@ $$(filter %.c,$$^) $($(1)_LIBS) $(IDN_LIBS)
endef
$(foreach f,$(FUZZERS),$(eval $(call fuzzer,$(f))))

fuzzers: $(FUZZERS:%=build/fuzz/%)

# smtpd's unit tests and fuzz targets, built to count which lines they reach.
COVER_CFLAGS := $(filter-out -O1 -fsanitize=% -fno-sanitize-recover=%,$(FUZZ_CFLAGS)) -O0 -fprofile-instr-generate -fcoverage-mapping
COVERED_TESTS   := $(foreach t,$(TESTS),$(if $(filter smtpd/%,$($(t)_SRC)),$(t)))
COVERED_FUZZERS := $(foreach f,$(FUZZERS),$(if $(filter smtpd/%,$($(f)_SRC)),$(f)))
define covered
build/coverage/$(1): tests/$(2)/$(1).c $($(1)_SRC) $(common_SRC) $(wildcard common/*.h common/*.def conf/*.h conf/*.def)
	@mkdir -p $$(@D)
	@echo '  COVER $$@'
	$$(Q)clang $$(COVER_CFLAGS) $(3) -o $$@ $$(filter %.c,$$^) $($(1)_LIBS) -ldb-5.3 $$(smtpd_LIBS) $(IDN_LIBS)
endef
$(foreach t,$(COVERED_TESTS),$(eval $(call covered,$(t),unit,-lcmocka)))
$(foreach f,$(COVERED_FUZZERS),$(eval $(call covered,$(f),fuzz,-fsanitize=fuzzer)))

# Queue managers whose flushes do nothing, or can be held: for tests/e2e/test_powercut.py and test_crash.py. The other programs beside them are $(B)'s.
SHIMS := nosync holdsync
define shim
build/$(1)/bin/postino-qmgr: $(postino-qmgr_SRC:%.c=$(B)/obj/%.o) $(B)/obj/tests/e2e/$(1).o $(B)/libcommon.a
	@mkdir -p $$(@D)
	@echo '  LD   $$@'
	$$(Q)ln -sf $(patsubst %,../../../$(B)/bin/%,$(filter-out postino-qmgr,$(PROGRAMS))) $$(@D)
	$$(Q)$$(CC) $$(ALL_LDFLAGS) -o $$@ $$^ $(postino-qmgr_LIBS)
endef
$(foreach s,$(SHIMS),$(eval $(call shim,$(s))))

shims: all $(SHIMS:%=build/%/bin/postino-qmgr)

# The load generator of `make load`.
$(B)/load/load: $(patsubst %.c,$(B)/obj/%.o,$(wildcard tests/load/*.c))
	@mkdir -p $(@D)
	@echo '  LD   $@'
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^ -lssl -lcrypto

# ---- what people call ---------------------------------------------------------------------------------------------------------------------

BUILD_PACKAGES := gcc libc6-dev libssl-dev libevent-dev libdb5.3-dev libunbound-dev libconfuse-dev libseccomp-dev libidn2-dev libunistring-dev libcurl4-openssl-dev zlib1g-dev libgsasl-dev libpam0g-dev
RUN_PACKAGES   := python3 openssl ca-certificates procps
CHECK_PACKAGES := $(RUN_PACKAGES) libcmocka-dev clang libclang-rt-14-dev llvm clang-tidy mandoc postfix nsd unbound postgrey ldnsutils swaks msmtp pyflakes3 haproxy microsocks postfwd curl iproute2 util-linux mount e2fsprogs libio-socket-ssl-perl gsasl dovecot-core dovecot-lmtpd libpam-modules testssl.sh python3-cryptography

# Builds, starts the whole MTA on loopback ports, sends two messages through it and shows their way. ONCE=1 ends after that.
run: need-build
	@$(MAKE) -s all
	@tests/need $(RUN_PACKAGES)
	@/usr/bin/python3 tests/demo.py $(if $(ONCE),--once) --programs $(B)/bin

check: need-check
	@$(MAKE) -s all units VARIANT=release
	@$(MAKE) -s all units VARIANT=asan
	@$(MAKE) -s all VARIANT=try
	@$(MAKE) -s fuzzers
	@$(MAKE) -s shims build/release/load/load VARIANT=release
	@/usr/bin/python3 tests/run.py $(if $(ONLY),--only "$(ONLY)")

# The rules of SMTP, a test a rule, against Postino and against Debian's Postfix. ONLY=rfc1870 for some of them.
conformance: need-check
	@$(MAKE) -s all
	@/usr/bin/python3 tests/conformance/conformance.py $(if $(ONLY),--only "$(ONLY)")

# Programs are killed at random under load, ROUNDS times, and the power is cut ROUNDS/20 times: the books must balance. SEED=N makes the choices of
# another run again.
crash: need-check
	@$(MAKE) -s shims
	@cd tests/e2e && ROUNDS=$(or $(ROUNDS),300) SEED=$(SEED) /usr/bin/python3 -m unittest -v test_crash test_powercut

# Every fuzz target for TIME seconds (600), on what former runs have kept. ONLY=session for some of them; KEEP=1 keeps what was found in tests/fuzz/corpus/.
fuzz: need-check
	@$(MAKE) -s fuzzers
	@/usr/bin/python3 tests/fuzz/fuzz.py --time $(or $(TIME),600) $(if $(ONLY),--only "$(ONLY)") $(if $(KEEP),--keep)

# Which lines of smtpd the unit tests and the kept corpora reach. SHOW=smtpd/verbs.c: those that nothing reaches.
coverage: need-check
	@$(MAKE) -s $(COVERED_TESTS:%=build/coverage/%) $(COVERED_FUZZERS:%=build/coverage/%)
	@/usr/bin/python3 tests/coverage.py $(if $(SHOW),--show $(SHOW))

# All 6,046 messages of the corpus that tests/corpus/ has a sample of.
corpus: need-check
	@$(MAKE) -s all
	@command -v npm >/dev/null || tests/need npm
	@/usr/bin/python3 tests/corpus.py

# Beside Debian's Postfix, OpenSMTPD and the bare tools, in one run on one filesystem; writes the tables of docs/performance.md. Ten minutes.
# BENCH= options of tests/bench/bench.py. `measure` is one workload, in half a minute; BENCH=--profile there tells where the time goes.
BENCH_PACKAGES := $(RUN_PACKAGES) postfix linux-perf strace e2fsprogs mount util-linux iproute2
bench: need-build
	@$(MAKE) -s all
	@tests/need $(BENCH_PACKAGES)
	@/usr/bin/python3 tests/bench/bench.py $(BENCH)

measure: need-build
	@$(MAKE) -s all
	@tests/need $(BENCH_PACKAGES)
	@/usr/bin/python3 tests/bench/bench.py --quick $(BENCH)

# 10,000 sessions held, good clients, 200 hostile ones, and floods of connections: good-put with and without them. TIME=60 seconds in all; LOAD= options
# of tests/load/load.py (--postfix: the same beside Debian's Postfix).
load: need-build
	@$(MAKE) -s all $(B)/load/load
	@tests/need $(RUN_PACKAGES) util-linux iproute2
	@/usr/bin/python3 tests/load/load.py --time $(or $(TIME),60) $(LOAD)

# The scheduler against a fake clock and scripted receivers, with 1,000,000 messages; prints its tables (docs/scheduler.md).
simulate: need-check
	@$(MAKE) -s $(B)/unit/test_simulator
	@$(B)/unit/test_simulator full

need-build:
	@tests/need make $(BUILD_PACKAGES)

need-check: need-build
	@tests/need $(CHECK_PACKAGES)

# clang-tidy (.clang-tidy says what it looks for), a stamp a source that was found clean; and the tests' own mistakes, as names that hide each other.
LINT_SRC := $(sort $(wildcard common/*.c conf/*.c master/*.c smtpd/*.c tlsmgr/*.c sts/*.c creds/*.c auth/*.c qmgr/*.c delivery/*.c resolver/*.c admin/*.c))
build/lint/%.ok: %.c .clang-tidy
	@mkdir -p $(@D)
	@clang-tidy --quiet $< -- -std=gnu11 -D_GNU_SOURCE -I. -DPROGRAMS_DIRECTORY='"/"' -DSYSCONFDIR='"/etc"' >$@.text 2>&1 || { cat $@.text; exit 1; }
	@mv $@.text $@
lint: $(LINT_SRC:%.c=build/lint/%.ok)
	@pyflakes3 $(wildcard tests/*.py tests/*/*.py)

list-covered:
	@echo $(COVERED_TESTS:%=build/coverage/%) $(COVERED_FUZZERS:%=build/coverage/%)

list-manuals:
	@echo $(MANUALS)

install: all manuals
	install -d $(DESTDIR)$(PREFIX)/sbin $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(LIBEXEC) $(DESTDIR)$(SYSCONFDIR)/postino
	install -m 755 $(B)/bin/postino $(B)/bin/sendmail $(DESTDIR)$(PREFIX)/sbin/
	install -m 755 $(B)/bin/mailq $(B)/bin/newaliases $(DESTDIR)$(PREFIX)/bin/
	install -m 755 $(filter $(B)/bin/postino-%,$(BINARIES)) $(DESTDIR)$(LIBEXEC)/
	[ -e $(DESTDIR)$(SYSCONFDIR)/postino/postino.conf ] || install -m 644 conf/postino.conf $(DESTDIR)$(SYSCONFDIR)/postino/postino.conf
	install -m 644 conf/shaping.conf $(DESTDIR)$(SYSCONFDIR)/postino/shaping.conf
	for page in $(MANUALS); do \
	    section=$${page##*.}; install -d $(DESTDIR)$(PREFIX)/share/man/man$$section && install -m 644 $$page $(DESTDIR)$(PREFIX)/share/man/man$$section/ || exit 1; \
	done

manuals: $(MANUALS)

clean:
	rm -rf build run

-include $(shell find $(B)/obj -name '*.d' 2>/dev/null)

.PHONY: all run check conformance fuzz coverage crash corpus bench measure load simulate need-build need-check lint list-manuals list-covered install manuals units fuzzers shims clean force
.SECONDARY:
