# postino-local
PROGRAMS += postino-local
local_PARTS := delivery/child.c delivery/mailbox.c delivery/maildir.c delivery/local_outcome.c
postino-local_SRC := delivery/local.c delivery/local_job.c $(local_PARTS)
postino-local_LIBS = $(COMMON_LIBS)
MANUALS += delivery/postino-local.8
TESTS += test_maildir test_mailbox
test_maildir_SRC := delivery/maildir.c delivery/local_outcome.c
test_maildir_LIBS := -Wl,--wrap=clock_gettime,--wrap=fsync,--wrap=renameat2
test_mailbox_SRC := delivery/mailbox.c delivery/local_outcome.c
