# What makes a message fit for a host that can't take it as it is
downgrade_PARTS := delivery/downgrade.c delivery/mime.c delivery/encoder.c
TESTS += test_downgrade
test_downgrade_SRC := $(downgrade_PARTS)
FUZZERS += fuzz_downgrade
fuzz_downgrade_SRC := $(downgrade_PARTS)
fuzz_downgrade_LIBS = $(COMMON_LIBS) -lssl -lcrypto -ldb-5.3

# postino-local
PROGRAMS += postino-local
maildir_PARTS := delivery/maildir.c delivery/maildir_file.c delivery/maildir_name.c delivery/flush.c delivery/local_outcome.c $(downgrade_PARTS)
local_PARTS := delivery/workers.c delivery/workers_life.c delivery/workers_slow.c delivery/spawner.c delivery/spawner_run.c delivery/worker.c delivery/mailbox.c $(maildir_PARTS)
postino-local_SRC := delivery/local.c delivery/local_job.c $(local_PARTS)
postino-local_LIBS = $(COMMON_LIBS)
MANUALS += delivery/postino-local.8
TESTS += test_maildir test_mailbox test_workers test_flush
test_flush_SRC := delivery/flush.c
test_flush_LIBS := -Wl,--wrap=fdatasync,--wrap=syscall
test_maildir_SRC := $(maildir_PARTS)
test_maildir_LIBS := -Wl,--wrap=clock_gettime,--wrap=fsync,--wrap=fdatasync,--wrap=renameat2,--wrap=flush_files
test_workers_SRC := $(local_PARTS)
test_workers_LIBS = -Wl,--wrap=fdatasync,--wrap=send,--wrap=flush_files $(COMMON_LIBS)
test_mailbox_SRC := delivery/mailbox.c delivery/local_outcome.c
test_mailbox_LIBS := -Wl,--wrap=getpwnam_r,--wrap=getpwuid_r,--wrap=clock_gettime

# postino-remote
PROGRAMS += postino-remote
remote_PARTS := delivery/session.c delivery/attempt.c delivery/connect.c delivery/source.c delivery/reach.c delivery/blame.c delivery/hello.c delivery/login.c delivery/transaction.c delivery/transaction_command.c delivery/transaction_verdict.c delivery/fit.c delivery/lmtp.c delivery/portion.c delivery/body.c delivery/site.c delivery/job.c delivery/hosts.c delivery/nexthop.c \
                $(downgrade_PARTS) delivery/client_tls.c delivery/security.c delivery/tlsa.c delivery/reply.c delivery/extensions.c delivery/stuff.c delivery/tlsreport.c
remote_PARTS += delivery/connect_proxy.c delivery/socks.c delivery/proxy_out.c
remote_PARTS += delivery/said.c delivery/reuse.c
postino-remote_SRC := delivery/remote.c $(remote_PARTS)
postino-remote_LIBS = $(COMMON_LIBS) -lssl -lcrypto
MANUALS += delivery/postino-remote.8

# postino-lmtp: the same, by its name
PROGRAMS += postino-lmtp
postino-lmtp_SRC := $(postino-remote_SRC)
postino-lmtp_LIBS = $(postino-remote_LIBS)
MANUALS += delivery/postino-lmtp.8

TESTS += test_reply test_stuff test_extensions test_nexthop test_hosts test_blame
test_hosts_SRC := delivery/hosts.c delivery/reach.c delivery/nexthop.c
test_blame_SRC := delivery/blame.c delivery/reply.c
test_reply_SRC := delivery/reply.c
test_stuff_SRC := delivery/stuff.c
test_extensions_SRC := delivery/extensions.c delivery/reply.c
test_nexthop_SRC := delivery/nexthop.c
FUZZERS += fuzz_reply
fuzz_reply_SRC := delivery/reply.c delivery/extensions.c delivery/blame.c
fuzz_reply_LIBS = $(COMMON_LIBS) -lssl -lcrypto -ldb-5.3
TESTS += test_tlsa
test_tlsa_SRC := delivery/tlsa.c
FUZZERS += fuzz_tlsa
fuzz_tlsa_SRC := delivery/tlsa.c
fuzz_tlsa_LIBS = $(COMMON_LIBS) -lssl -lcrypto -ldb-5.3
# By a proxy
proxy_PARTS := delivery/socks.c delivery/proxy_out.c
TESTS += test_socks
test_socks_SRC := $(proxy_PARTS)
FUZZERS += fuzz_socks
fuzz_socks_SRC := delivery/socks.c
fuzz_socks_LIBS = $(COMMON_LIBS) -lssl -lcrypto -ldb-5.3
