/* What local and its spawner say to each other: one order or report a packet. Both are the same binary. */
#ifndef POSTINO_SPAWNER_INTERNAL_H
#define POSTINO_SPAWNER_INTERNAL_H

#include "delivery/spawner.h"

enum spawner_order_what { SPAWNER_MAKE = 1, SPAWNER_KILL };
enum spawner_report_what { SPAWNER_READY = 1, SPAWNER_FAILED, SPAWNER_MADE /* with a descriptor */, SPAWNER_NOT_MADE, SPAWNER_ENDED };

struct spawner_order {
    uint32_t what, worker;
    struct mailbox where;
};

struct spawner_report {
    uint32_t what, worker;
    int32_t error, status;
    int64_t pid;
    struct error words; /* FAILED */
};

/* spawner_run.c: the process itself. */
__attribute__((noreturn)) void spawner_run(const struct sandbox *, const struct spawner_barred *, const char *hostname, bool unprivileged,
                                           int fd);

#endif
