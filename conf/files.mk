# Reading postino.conf: only what links $(conf_parse_SRC) needs libConfuse.
conf_parse_SRC  := conf/parse.c conf/source.c conf/report.c conf/places.c conf/nearest.c conf/check.c conf/check_sections.c conf/check_host.c
conf_parse_LIBS := -lconfuse -lssl -lcrypto $(COMMON_LIBS)

TESTS += test_settings test_parse
test_parse_SRC  := $(conf_parse_SRC)
test_parse_LIBS := $(conf_parse_LIBS)

FUZZERS += fuzz_settings

# postino.conf(5) is printed by a tool from the table and the prose around it.
conf_manual_SRC := conf/manual.c
build/conf-manual: $(conf_manual_SRC:%.c=$(B)/obj/%.o) $(B)/libcommon.a
	@mkdir -p $(@D)
	$(CC) $(ALL_LDFLAGS) -o $@ $^

build/man/postino.conf.5: build/conf-manual
	@mkdir -p $(@D)
	build/conf-manual >$@.new
	mv $@.new $@

MANUALS += build/man/postino.conf.5
