# postino-qmgr: the spool, the schedule, the reports.
QMGR_SPOOL    := qmgr/disk.c qmgr/spool.c qmgr/spool_format.c qmgr/spool_file.c qmgr/spool_recover.c qmgr/spool_writer.c qmgr/hash.c
QMGR_SCHEDULE := qmgr/schedule.c qmgr/wheel.c qmgr/hash.c

TESTS += test_schedule
test_schedule_SRC  := $(QMGR_SCHEDULE)
TESTS += test_spool
test_spool_SRC     := $(QMGR_SPOOL)
FUZZERS += fuzz_spool
fuzz_spool_SRC     := qmgr/disk.c qmgr/spool_format.c qmgr/spool_file.c
TESTS += test_bounce
test_bounce_SRC    := qmgr/bounce.c
