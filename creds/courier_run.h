/* courier_run: the courier's own process, and the form of what it is told and tells: one packet each. */
#ifndef POSTINO_CREDS_COURIER_RUN_H
#define POSTINO_CREDS_COURIER_RUN_H

#include "common/sandbox.h"
#include "creds/token_answer.h"

#define COURIER_URL     1024
#define COURIER_RESOLVE 1024
#define COURIER_BODY    ((size_t)32768)

struct courier_order {
    char url[COURIER_URL], resolve[COURIER_RESOLVE];
    uint32_t size;
    char body[COURIER_BODY];
};

struct courier_report {
    uint32_t status, size;
    char text[TOKEN_ANSWER_MOST];
};

__attribute__((noreturn)) void courier_run(int fd, const char *authorities, const struct sandbox *box, bool unprivileged);

#endif
