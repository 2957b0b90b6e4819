# What two or more programs share; all of it is in libcommon.a.
common_SRC := $(wildcard common/*.c) conf/settings.c conf/value.c conf/slice.c conf/pool.c conf/proxy_spec.c

# Sources in common/ that need a library; a program that uses them names the library in its _LIBS:
#   channel.c peer.c program.c: -levent_core     sandbox.c: -lseccomp     stream.c: -lssl -lcrypto     map.c: -ldb-5.3     idn.c: $(IDN_LIBS)
COMMON_LIBS := -levent_core -lseccomp
IDN_LIBS    := -lidn2 -lunistring

TESTS += test_idn
test_idn_LIBS := $(IDN_LIBS)

TESTS += test_base64 test_span test_httpsurl test_buf test_file test_date test_address test_messages test_channel
test_channel_SRC  := tests/unit/fake_clock.c
test_channel_LIBS := -levent_core
TESTS += test_stream
test_stream_SRC  := tests/unit/fake_clock.c
test_stream_LIBS := -lssl -lcrypto -levent_core
TESTS += test_log test_queueid test_crc32c test_sandbox
test_sandbox_LIBS := -lseccomp
FUZZERS += fuzz_address fuzz_frame
fuzz_frame_LIBS := -ldb-5.3 -lssl -lcrypto $(COMMON_LIBS)
fuzz_address_LIBS := $(COMMON_LIBS) -lssl -lcrypto -ldb-5.3
