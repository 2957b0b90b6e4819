#include "tlsmgr/requests.h"

#include "tlsmgr/pair.h"
#include "tlsmgr/sign.h"

#include <stdlib.h>

void requests_init(struct requests *r)
{
    STAILQ_INIT(&r->list);
    r->count = 0;
}

const char *requests_add(struct requests *all, uint32_t id, const struct message_sign *m)
{
    if (m->key.n != PAIR_KEY_NAME || m->input.n == 0 || m->input.n > SIGN_INPUT_MOST)
        return "no TLS signature has such a size";
    if (all->count == REQUESTS_MOST)
        return "too many signatures at a time";
    struct request *r = malloc(sizeof *r + m->key.n + m->input.n);
    if (!r)
        return "out of memory";
    r->id = id;
    r->form = m->form;
    r->key_size = m->key.n;
    r->input_size = m->input.n;
    memcpy(r->octets, m->key.p, m->key.n);
    memcpy(r->octets + m->key.n, m->input.p, m->input.n);
    STAILQ_INSERT_TAIL(&all->list, r, link);
    all->count++;
    return NULL;
}

struct request *requests_take(struct requests *all)
{
    struct request *r = STAILQ_FIRST(&all->list);
    if (!r)
        return NULL;
    STAILQ_REMOVE_HEAD(&all->list, link);
    all->count--;
    return r;
}

void requests_free(struct requests *all)
{
    struct request *r;
    while ((r = requests_take(all)))
        free(r);
}
