/* question: one name and type asked of libunbound, or of a resolver whose AD bit is believed (stub.h), on our event loop. Equal questions under way are one.
 *
 *   ASKED --answer--> ANSWERED --next turn: every waiter is told--> freed
 *     \---timeout---> ABANDONED (waiters are told; nobody joins it any more) --answer, ignored--> freed
 *
 * A waiter's callback never runs inside question_ask(), and its question_wait is gone when the callback is called. */
#ifndef POSTINO_QUESTION_H
#define POSTINO_QUESTION_H

#include "common/error.h"
#include "resolver/wire.h"

struct event_base;
struct ub_ctx;
struct question_wait;

enum question_result { QUESTION_OK, QUESTION_NO_DATA, QUESTION_NO_NAME, QUESTION_DEFERRED };

#define QUESTION_RECORDS 200 /* more are not looked at; of MX, the best */

struct question_answer {
    enum question_result result;
    bool secure;           /* proved by DNSSEC */
    const char *why;       /* the result in words, when not OK */
    const char *canonical; /* OK, NO_DATA: where the CNAMEs end */
    size_t count;          /* when OK: at least one */
    const struct wire_record *records;
};

typedef void question_fn(const struct question_answer *, void *arg); /* the answer is valid during the call */

/* Once. The context stays the caller's; nothing may be asked after it is gone. NULL: stub_setup() was called, and that is asked. */
int question_setup(struct event_base *, struct ub_ctx *, unsigned timeout_seconds, struct error *);
struct question_wait *question_ask(const char *name, uint16_t type, question_fn *, void *arg);
void question_cancel(struct question_wait *); /* NULL is ignored; the callback will not be called */

#endif
