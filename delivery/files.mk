# postino-local
PROGRAMS += postino-local
local_PARTS := delivery/child.c delivery/mailbox.c delivery/maildir.c delivery/local_outcome.c
postino-local_SRC := delivery/local.c delivery/local_job.c $(local_PARTS)
postino-local_LIBS = $(COMMON_LIBS)
MANUALS += delivery/postino-local.8
TESTS += test_maildir test_mailbox test_child
test_maildir_SRC := delivery/maildir.c delivery/local_outcome.c
test_maildir_LIBS := -Wl,--wrap=clock_gettime,--wrap=fsync,--wrap=renameat2
test_mailbox_SRC := delivery/mailbox.c delivery/local_outcome.c

# postino-remote
PROGRAMS += postino-remote
remote_PARTS := delivery/session.c delivery/attempt.c delivery/hello.c delivery/transaction.c delivery/body.c delivery/site.c delivery/job.c delivery/hosts.c delivery/nexthop.c \
                delivery/client_tls.c delivery/reply.c delivery/extensions.c delivery/stuff.c
postino-remote_SRC := delivery/remote.c $(remote_PARTS)
postino-remote_LIBS = $(COMMON_LIBS) -lssl -lcrypto
MANUALS += delivery/postino-remote.8
TESTS += test_reply test_stuff test_extensions test_nexthop
test_reply_SRC := delivery/reply.c
test_stuff_SRC := delivery/stuff.c
test_extensions_SRC := delivery/extensions.c delivery/reply.c
test_nexthop_SRC := delivery/nexthop.c
FUZZERS += fuzz_reply
fuzz_reply_SRC := delivery/reply.c delivery/extensions.c
fuzz_reply_LIBS = $(COMMON_LIBS) -lssl -lcrypto -ldb-5.3
test_child_SRC := $(local_PARTS)
test_child_LIBS = -Wl,--wrap=fsync,--wrap=write $(COMMON_LIBS)
