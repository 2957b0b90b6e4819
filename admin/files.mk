# sendmail, mailq
TESTS += test_headers
test_headers_SRC := admin/headers.c
FUZZERS += fuzz_headers
fuzz_headers_SRC := admin/headers.c
fuzz_headers_LIBS = -ldb-5.3 -lssl -lcrypto -levent_core -lseccomp

# postino: a subcommand is a file, admin/cmd_NAME.c
PROGRAMS += postino
postino_SRC = admin/postino.c $(wildcard admin/cmd_*.c) auth/secret.c $(conf_parse_SRC)
postino_SRC += admin/site_limits.c admin/strays.c qmgr/limits.c
postino_SRC += admin/why_door.c resolver/fairtable.c resolver/users.c resolver/nameservers.c resolver/anchor.c resolver/context.c $(routing_SRC) $(filter-out conf/access_words.c,$(access_SRC))
postino_SRC += resolver/question.c resolver/stub.c resolver/wire.c resolver/resolve.c resolver/dane.c delivery/security.c delivery/tlsa.c delivery/hosts.c delivery/reach.c delivery/nexthop.c \
               sts/fetch.c sts/policy.c sts/rua.c
# libunbound is bound to libevent as a whole.
postino_LIBS = $(subst -levent_core,-levent,$(conf_parse_LIBS)) -ldb-5.3 -lunbound -lcurl -lgsasl -lcrypt
MANUALS += admin/postino.8
queue_PARTS := admin/place.c admin/queue_client.c admin/queue_print.c $(conf_parse_SRC)
PROGRAMS += sendmail mailq
sendmail_SRC := admin/sendmail.c admin/headers.c admin/letter.c admin/submit.c $(queue_PARTS)
sendmail_LIBS = $(conf_parse_LIBS)
mailq_SRC := admin/mailq.c $(queue_PARTS)
mailq_LIBS = $(conf_parse_LIBS)
MANUALS += admin/sendmail.8 admin/mailq.1
postino_SRC += $(queue_PARTS)
PROGRAMS += newaliases
newaliases_SRC  = admin/newaliases.c $(conf_parse_SRC)
newaliases_LIBS = $(conf_parse_LIBS) -ldb-5.3
MANUALS += admin/newaliases.1
TESTS += test_queue_print
test_queue_print_SRC = $(queue_PARTS)
test_queue_print_LIBS = $(conf_parse_LIBS)

# postino spool
spool_PARTS := admin/spool_survey.c admin/spool_survey_file.c admin/spool_survey_log.c admin/spool_mend.c admin/spool_mend_log.c qmgr/spool_lock.c qmgr/orders.c $(QMGR_READ)
postino_SRC += $(spool_PARTS)
TESTS += test_spool_mend
test_spool_mend_SRC = $(sort $(spool_PARTS) $(QMGR_SPOOL))
test_spool_mend_LIBS := -lpthread
TESTS += test_spool_freed
test_spool_freed_SRC = $(sort $(spool_PARTS) $(SPOOL_SCRIPT))
test_spool_freed_LIBS = -lpthread $(ALLOC_FAIL)
FUZZERS += fuzz_survey
fuzz_survey_SRC  = $(spool_PARTS)
fuzz_survey_LIBS := -levent_core -lseccomp -lssl -lcrypto -ldb-5.3
