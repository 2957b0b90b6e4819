# sendmail, mailq
TESTS += test_headers
test_headers_SRC := admin/headers.c
FUZZERS += fuzz_headers
fuzz_headers_SRC := admin/headers.c
fuzz_headers_LIBS = -ldb-5.3 -lssl -lcrypto -levent_core -lseccomp
