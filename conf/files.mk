# Reading postino.conf: only what links $(conf_parse_SRC) needs libConfuse.
conf_parse_SRC  := conf/parse.c conf/parse_confuse.c conf/parse_assign.c conf/parse_error.c conf/source.c conf/report.c conf/places.c conf/nearest.c conf/check.c conf/check_sections.c conf/check_listeners.c conf/check_peers.c conf/check_lmtp.c conf/check_login.c conf/check_host.c conf/check_reach.c conf/alabels.c conf/access_words.c
conf_parse_SRC  += conf/include.c conf/check_sources.c
conf_parse_SRC  += conf/check_shaping.c
conf_parse_LIBS := $(IDN_LIBS) -lconfuse -lssl -lcrypto $(COMMON_LIBS)

TESTS += test_settings test_parse test_include
test_parse_SRC  := $(conf_parse_SRC)
test_parse_LIBS := $(conf_parse_LIBS)
test_include_SRC := $(conf_parse_SRC)
test_include_LIBS := $(conf_parse_LIBS)

FUZZERS += fuzz_settings fuzz_parse
fuzz_parse_SRC := $(conf_parse_SRC)
fuzz_parse_LIBS := $(conf_parse_LIBS) -ldb-5.3
fuzz_settings_LIBS := -ldb-5.3 -lssl -lcrypto $(COMMON_LIBS)

# postino.conf(5) is printed by a tool from the table and the prose around it.
build/man/postino.conf.5: conf/postino.conf.5.in conf/manual.c conf/settings.h conf/settings.def $(wildcard conf/examples/*.conf) | $(B)/conf-manual
	@mkdir -p $(@D)
	@echo '  MAN  $@'
	@$(B)/conf-manual <conf/postino.conf.5.in >$@.new
	@mv $@.new $@

$(B)/conf-manual: $(B)/obj/conf/manual.o $(B)/libcommon.a
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^

MANUALS += build/man/postino.conf.5
