# All of smtpd but its beginning: what unit tests and fuzz targets of sessions run.
smtpd_tls_SRC     := smtpd/tls.c smtpd/tls_key.c smtpd/tls_tickets.c smtpd/tls_choice.c
smtpd_session_SRC := $(filter-out smtpd/smtpd.c $(smtpd_tls_SRC),$(wildcard smtpd/*.c))
smtpd_LIBS        := -lssl -lcrypto $(COMMON_LIBS)

PROGRAMS           += postino-smtpd
postino-smtpd_SRC  := smtpd/smtpd.c $(smtpd_tls_SRC) $(smtpd_session_SRC)
postino-smtpd_LIBS := $(smtpd_LIBS)

TESTS += test_command test_data test_trace
test_command_SRC := smtpd/command.c smtpd/parameters.c smtpd/parameters_times.c
test_data_SRC    := smtpd/data.c
test_trace_SRC   := smtpd/trace.c smtpd/reply.c smtpd/complete.c

session_client_SRC := tests/unit/session_world.c tests/unit/session_client.c tests/unit/fake_clock.c
session_script_SRC := $(session_client_SRC) tests/unit/session_script.c

TESTS += test_session
test_session_SRC  := $(smtpd_session_SRC) $(session_client_SRC)
test_session_LIBS := $(smtpd_LIBS)

TESTS += test_bdat
test_bdat_SRC  := $(smtpd_session_SRC) $(session_client_SRC) tests/unit/session_hear.c
test_bdat_LIBS := $(smtpd_LIBS)

TESTS += test_session_times
test_session_times_SRC  := $(smtpd_session_SRC) $(session_client_SRC) tests/unit/session_hear.c
test_session_times_LIBS := $(smtpd_LIBS)

FUZZERS += fuzz_command fuzz_data fuzz_bdat fuzz_session
fuzz_command_SRC  := smtpd/command.c smtpd/parameters.c smtpd/parameters_times.c
fuzz_command_LIBS := -ldb-5.3 $(smtpd_LIBS)
fuzz_data_SRC     := smtpd/data.c
fuzz_data_LIBS    := -ldb-5.3 $(smtpd_LIBS)
fuzz_bdat_SRC     := smtpd/data.c delivery/stuff.c
fuzz_bdat_LIBS    := -ldb-5.3 $(smtpd_LIBS)
fuzz_session_SRC  := $(smtpd_session_SRC) tests/unit/session_world.c
fuzz_session_LIBS := -ldb-5.3 $(smtpd_LIBS)

MANUALS += smtpd/postino-smtpd.8

TESTS += test_smuggling
test_smuggling_SRC := smtpd/data.c delivery/stuff.c

TESTS += test_session_time
test_session_time_SRC  := $(smtpd_session_SRC) $(session_script_SRC)
test_session_time_LIBS := $(smtpd_LIBS)

TESTS += test_shed
test_shed_SRC  := $(smtpd_session_SRC) tests/unit/session_world.c tests/unit/fake_clock.c
test_shed_LIBS := $(smtpd_LIBS)

TESTS += test_strangers
test_strangers_SRC  := $(smtpd_session_SRC) $(session_script_SRC) tests/unit/logged.c
test_strangers_LIBS := $(smtpd_LIBS)

TESTS += test_envelope
test_envelope_SRC := smtpd/envelope.c smtpd/clients.c

TESTS += test_session_answers
test_session_answers_SRC  := $(smtpd_session_SRC) $(session_script_SRC)
test_session_answers_LIBS := $(smtpd_LIBS)

FUZZERS += fuzz_answers
fuzz_answers_SRC  := $(smtpd_session_SRC) tests/unit/session_world.c
fuzz_answers_LIBS := -ldb-5.3 $(smtpd_LIBS)

TESTS += test_proxy
test_proxy_SRC := smtpd/proxy.c

FUZZERS += fuzz_proxy
fuzz_proxy_SRC  := smtpd/proxy.c
fuzz_proxy_LIBS := -ldb-5.3 $(smtpd_LIBS)

TESTS += test_xclient
test_xclient_SRC := smtpd/xclient.c

FUZZERS += fuzz_xclient
fuzz_xclient_SRC  := smtpd/xclient.c
fuzz_xclient_LIBS := -ldb-5.3 $(smtpd_LIBS)

TESTS += test_proxy_door
test_proxy_door_SRC  := $(smtpd_session_SRC) $(session_script_SRC) tests/unit/logged.c
test_proxy_door_LIBS := $(smtpd_LIBS)

TESTS += test_session_xclient
test_session_xclient_SRC  := $(smtpd_session_SRC) $(session_script_SRC) tests/unit/logged.c
test_session_xclient_LIBS := $(smtpd_LIBS)

TESTS += test_tls
test_tls_SRC  := $(smtpd_tls_SRC) smtpd/tls_client.c smtpd/tls_binding.c tlsmgr/sign.c
test_tls_LIBS := $(smtpd_LIBS)

TESTS += test_session_envelope
test_session_envelope_SRC  := $(smtpd_session_SRC) $(session_script_SRC) tests/unit/logged.c
test_session_envelope_LIBS := $(smtpd_LIBS)
