# postino-qmgr: the spool, the schedule, the reports.
# What reads a spool: postino-qmgr, `postino spool`, the fuzz targets.
QMGR_READ     := qmgr/disk.c qmgr/log_format.c qmgr/log_store.c qmgr/log_read.c qmgr/log_recover.c qmgr/spool_format.c qmgr/spool_file.c \
                 qmgr/spool_version.c qmgr/hash.c
QMGR_SPOOL    := $(QMGR_READ) qmgr/spool.c qmgr/spool_room.c qmgr/spool_done.c qmgr/spool_read.c qmgr/spool_settle.c qmgr/spool_batch.c qmgr/spool_recover.c qmgr/spool_ahead.c qmgr/spool_writer.c \
                 qmgr/spool_rewrite.c qmgr/pool.c
QMGR_SCHEDULE := qmgr/schedule.c qmgr/schedule_site.c qmgr/share.c qmgr/brake.c qmgr/trouble.c qmgr/flow.c qmgr/window.c qmgr/pace.c qmgr/retry.c qmgr/wheel.c

PROGRAMS += postino-qmgr
# The queue in memory, and what is done with it.
QMGR_QUEUE    := qmgr/queue.c qmgr/deliver.c qmgr/deliver_make.c qmgr/grant.c qmgr/site.c qmgr/limits.c qmgr/sources.c qmgr/hold.c qmgr/ways.c qmgr/reroute.c qmgr/orders.c \
                 qmgr/outcome.c qmgr/deadline.c qmgr/etrn.c qmgr/report.c qmgr/recipients.c qmgr/warning.c qmgr/park.c qmgr/bounce.c qmgr/telling.c qmgr/shaping.c qmgr/reply_rules.c

postino-qmgr_SRC   := qmgr/qmgr.c qmgr/intake.c qmgr/admin.c qmgr/admin_sites.c qmgr/admin_snapshot.c qmgr/admin_turn.c qmgr/order.c qmgr/selection.c qmgr/ids.c qmgr/spool_lock.c \
                      $(QMGR_QUEUE) $(QMGR_SPOOL) $(QMGR_SCHEDULE)
postino-qmgr_LIBS  = $(COMMON_LIBS) -lpthread -lm $(IDN_LIBS)
MANUALS += qmgr/postino-qmgr.8

TESTS += test_limits test_schedule test_simulator test_spool test_spool_log test_spool_room test_spool_torture test_bounce test_telling test_park test_pool
ALLOC_FAIL         := -Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc,--wrap=strdup,--wrap=strndup
test_limits_SRC    := qmgr/limits.c
test_limits_LIBS   = $(IDN_LIBS)
test_schedule_SRC  := $(QMGR_SCHEDULE) qmgr/hash.c tests/unit/alloc_fail.c
test_schedule_LIBS := $(ALLOC_FAIL)
test_simulator_SRC := $(QMGR_SCHEDULE) qmgr/hash.c tests/sim/simulator.c tests/sim/instructions.c
test_simulator_LIBS := -lm
test_spool_SRC     := $(QMGR_SPOOL)
test_spool_LIBS    := -lpthread
# What is asked of the spool and what it promised, a disk that fails, and a heap that does.
SPOOL_SCRIPT       := $(QMGR_SPOOL) tests/unit/disk_model.c tests/unit/spool_script.c tests/unit/alloc_fail.c
test_spool_log_SRC := $(SPOOL_SCRIPT)
test_spool_log_LIBS := -lpthread $(ALLOC_FAIL)
test_spool_room_SRC := $(SPOOL_SCRIPT)
test_spool_room_LIBS := -lpthread $(ALLOC_FAIL)
test_spool_torture_SRC := $(SPOOL_SCRIPT)
test_spool_torture_LIBS := -lpthread $(ALLOC_FAIL)
test_bounce_SRC    := qmgr/bounce.c qmgr/telling.c
test_telling_SRC   := qmgr/telling.c
test_park_SRC      := $(QMGR_QUEUE) $(QMGR_SPOOL) $(QMGR_SCHEDULE) tests/unit/fake_clock.c
test_park_LIBS     = -lpthread -lm $(IDN_LIBS)
test_pool_SRC      := qmgr/pool.c
TESTS += test_times test_sources test_hash
test_hash_SRC      := qmgr/hash.c qmgr/ids.c
test_sources_SRC   := qmgr/sources.c
test_sources_LIBS  := -lm
test_times_SRC     := $(test_park_SRC)
test_times_LIBS    = -lpthread -lm $(IDN_LIBS)

FUZZERS += fuzz_spool fuzz_log
fuzz_spool_SRC     := qmgr/disk.c qmgr/spool_format.c qmgr/spool_file.c
fuzz_spool_LIBS    := -levent_core -lseccomp -lssl -lcrypto -ldb-5.3
fuzz_log_SRC       := qmgr/disk.c qmgr/log_format.c qmgr/log_store.c qmgr/log_read.c qmgr/log_recover.c qmgr/spool_format.c qmgr/spool_file.c
fuzz_log_LIBS      := -levent_core -lseccomp -lssl -lcrypto -ldb-5.3

TESTS += test_shaping
test_shaping_SRC   := $(QMGR_SCHEDULE) qmgr/hash.c

TESTS += test_reply_rules
test_reply_rules_SRC = qmgr/reply_rules.c qmgr/limits.c $(conf_parse_SRC)
test_reply_rules_LIBS = $(conf_parse_LIBS)
FUZZERS += fuzz_reply_rules
fuzz_reply_rules_SRC := qmgr/reply_rules.c qmgr/limits.c
fuzz_reply_rules_LIBS = $(COMMON_LIBS) $(IDN_LIBS) -lssl -lcrypto -ldb-5.3
