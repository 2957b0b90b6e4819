/* requests: the signatures that smtpd processes ask for, each process in its turn, so that one that asks for many (as it was taken over, or is
 * flooded) takes no more from the others than its share. */
#ifndef POSTINO_REQUESTS_H
#define POSTINO_REQUESTS_H

#include "common/messages.h"

#include <sys/queue.h>

#define REQUESTS_MOST                                                                                                                      \
    256 /* of one smtpd that wait: four times as many as it has handshakes under way (STREAM_WAITS), for those that it gave up */

struct request {
    STAILQ_ENTRY(request) link;
    uint32_t id;
    uint16_t form;
    size_t key_size, input_size;
    char octets[]; /* the key's name, the input */
};

struct requests {
    STAILQ_HEAD(, request) list;
    size_t count;
};

void requests_init(struct requests *);
/* NULL: it is kept. Otherwise why not. */
const char *requests_add(struct requests *, uint32_t id, const struct message_sign *);
struct request *requests_take(struct requests *); /* the caller frees it; NULL: none */
void requests_free(struct requests *);

static inline struct span request_key(const struct request *r)
{
    return span_make(r->octets, r->key_size);
}

static inline struct span request_input(const struct request *r)
{
    return span_make(r->octets + r->key_size, r->input_size);
}

#endif
