#include "common/peer.h"

#include "common/channel.h"
#include "common/log.h"

#include <event2/event.h>
#include <stdlib.h>
#include <unistd.h>

/* A server that closed on us although it lives found fault with us: then nobody sends a replacement, and we end (docs/architecture.md,
 * "Who hangs up"). Seconds in which we run: while a host stands still nobody can be replaced. */
#define REPLACEMENT_SECONDS 5

/* A question that a server died of this often is not asked again: it may be what kills it. */
#define TRIES_MOST 3

#define SLOT_BITS 20
#define SLOTS_MAX ((uint32_t)1 << SLOT_BITS)
#define NO_SLOT   UINT32_MAX

/* One question. Its id is the slot's number and, above it, a count of the slot's uses: a late answer to a former use finds nobody. */
struct question {
    peer_answer_fn *answer; /* NULL: cancelled, or the slot is free */
    void *arg;
    struct link *link; /* where it was asked; NULL: waits for a server */
    char *frame;       /* REPEAT, or not sent yet: what to ask again */
    size_t frame_size;
    uint32_t id;
    uint32_t next_free;
    uint8_t tries;
    bool open, repeat;
};

/* One process that we are or were connected to. */
struct link {
    struct link *next;
    struct peer *peer;
    struct channel *channel;
    size_t open;
    bool retired;
};

struct peer {
    struct event_base *base;
    struct event *patience; /* a tick a second while there is no server */
    unsigned waited;        /* ticks */
    char *name;
    struct question *slots;
    uint32_t slot_count, first_free;
    size_t open;
    struct link *links, *current;
    unsigned protocols;
};

static void answered(struct channel *channel, const struct message *m, void *arg);
static void link_closed(struct channel *channel, void *arg);
static const struct channel_handler link_handler = {.message = answered, .closed = link_closed};

static void patience_tick(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct peer *p = arg;
    if (++p->waited < REPLACEMENT_SECONDS)
        return;
    log_error("postino-%s hung up and was not replaced: this process ends, so that the master starts a fresh one", p->name);
    log_flush();
    _exit(70); /* EX_SOFTWARE */
}

struct peer *peer_new(struct event_base *base, const char *name, unsigned protocols)
{
    struct peer *p = calloc(1, sizeof(*p));
    if (p == NULL)
        log_die("out of memory for the edge to %s", name);
    p->base = base;
    p->protocols = protocols;
    p->first_free = NO_SLOT;
    p->name = strdup(name);
    p->patience = event_new(base, -1, EV_PERSIST, patience_tick, p);
    if (p->name == NULL || p->patience == NULL)
        log_die("out of memory for the edge to %s", name);
    return p;
}

/* ---- questions ----------------------------------------------------------------------------------------------------------------- */

static bool more_slots(struct peer *p)
{
    uint32_t count = p->slot_count ? p->slot_count * 2 : 64;
    if (count > SLOTS_MAX)
        return false;
    struct question *more = realloc(p->slots, count * sizeof(*more));
    if (more == NULL)
        return false;
    memset(more + p->slot_count, 0, (count - p->slot_count) * sizeof(*more));
    for (uint32_t i = count; i-- > p->slot_count;) {
        more[i].id = i + SLOTS_MAX;
        more[i].next_free = p->first_free;
        p->first_free = i;
    }
    p->slots = more;
    p->slot_count = count;
    return true;
}

static struct question *question_new(struct peer *p)
{
    if (p->first_free == NO_SLOT && !more_slots(p))
        return NULL;
    struct question *q = &p->slots[p->first_free];
    p->first_free = q->next_free;
    q->open = true;
    p->open++;
    return q;
}

static struct question *question_find(const struct peer *p, uint32_t id)
{
    uint32_t slot = id & (SLOTS_MAX - 1);
    if (slot >= p->slot_count || !p->slots[slot].open || p->slots[slot].id != id)
        return NULL;
    return &p->slots[slot];
}

static void question_free(struct peer *p, struct question *q)
{
    uint32_t slot = q->id & (SLOTS_MAX - 1);
    free(q->frame);
    if (q->link)
        q->link->open--;
    uint32_t id = q->id + SLOTS_MAX;
    if (id < SLOTS_MAX) /* wrapped: the count 0 is left out, so that no id is 0 */
        id += SLOTS_MAX;
    *q = (struct question){.id = id, .next_free = p->first_free};
    p->first_free = slot;
    p->open--;
}

static void question_end(struct peer *p, struct question *q, const struct message *m)
{
    peer_answer_fn *answer = q->answer;
    void *arg = q->arg;
    question_free(p, q);
    if (answer)
        answer(m, arg);
    else if (m && m->fd >= 0)
        close(m->fd);
}

/* ---- links --------------------------------------------------------------------------------------------------------------------- */

static void link_free(struct link *l)
{
    for (struct link **at = &l->peer->links; *at; at = &(*at)->next) {
        if (*at == l) {
            *at = l->next;
            break;
        }
    }
    channel_free(l->channel);
    free(l);
}

static void link_retire_if_done(struct link *l)
{
    if (l->retired && l->open == 0)
        link_free(l);
}

static void question_send(struct question *q, struct link *l)
{
    struct message m;
    size_t used;
    bool wants_fd;
    struct error error;
    if (message_decode(span_make(q->frame, q->frame_size), ~0u, SIDE_CLIENT, &m, &used, &wants_fd, &error) != 1)
        log_die("a held question is malformed: %s", error.text);
    q->link = l;
    q->tries++;
    l->open++;
    channel_send(l->channel, &m);
    if (!q->repeat) {
        free(q->frame);
        q->frame = NULL;
    }
}

static void ask_what_waits(struct peer *p)
{
    for (uint32_t i = 0; i < p->slot_count; i++) {
        struct question *q = &p->slots[i];
        if (q->open && q->link == NULL && q->frame)
            question_send(q, p->current);
    }
}

void peer_connect(struct peer *p, int fd)
{
    struct link *former = p->current;
    struct link *l = calloc(1, sizeof(*l));
    if (l == NULL)
        log_die("out of memory for the edge to %s", p->name);
    l->peer = p;
    l->channel = channel_new(p->base, fd, p->name, p->protocols, SIDE_CLIENT, &link_handler, l);
    l->next = p->links;
    p->links = p->current = l;
    event_del(p->patience);
    if (former) {
        former->retired = true;
        link_retire_if_done(former);
    }
    ask_what_waits(p);
}

static void answered(struct channel *channel, const struct message *m, void *arg)
{
    (void)channel;
    struct link *l = arg;
    struct question *q = question_find(l->peer, m->id);
    if (q && q->link == l)
        question_end(l->peer, q, m);
    else if (m->fd >= 0)
        close(m->fd);
    link_retire_if_done(l);
}

/* The server is gone. What may be asked again waits for the next one; the rest fails now. */
static void link_closed(struct channel *channel, void *arg)
{
    (void)channel;
    struct link *l = arg;
    struct peer *p = l->peer;
    if (p->current == l) {
        p->current = NULL;
        p->waited = 0;
        event_add(p->patience, &(struct timeval){.tv_sec = 1});
    }
    for (uint32_t i = 0; i < p->slot_count; i++) {
        struct question *q = &p->slots[i]; /* an answer callback may ask, and so move the slots: index, don't keep */
        if (!q->open || q->link != l)
            continue;
        if (q->repeat && q->answer && q->tries < TRIES_MOST) {
            q->link = NULL;
            l->open--;
        } else {
            question_end(p, q, NULL);
        }
    }
    link_free(l);
    if (p->current)
        ask_what_waits(p);
}

/* ---- the asker's calls --------------------------------------------------------------------------------------------------------- */

static bool question_keep(struct question *q, const struct message *m)
{
    struct buf frame = BUF_EMPTY(FRAME_HEADER + FRAME_MAX);
    bool ok = m->fd < 0 && message_encode(&frame, m);
    if (ok) {
        q->frame = frame.data;
        q->frame_size = frame.len;
    } else {
        buf_free(&frame);
    }
    return ok;
}

/* A question that can't even be put is answered from the event loop, as any other: nobody expects a callback from within peer_ask(). */

static void answer_stillborn(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct peer *p = arg;
    for (uint32_t i = 0; i < p->slot_count; i++) {
        struct question *q = &p->slots[i];
        if (q->open && q->link == NULL && q->frame == NULL)
            question_end(p, q, NULL);
    }
}

static void fail_later(struct peer *p)
{
    event_base_once(p->base, -1, EV_TIMEOUT, answer_stillborn, p, &(struct timeval){0});
}

uint32_t peer_ask(struct peer *p, const struct message *m, peer_answer_fn *answer, void *arg)
{
    struct question *q = question_new(p);
    if (q == NULL)
        log_die("more than %u open questions to %s", SLOTS_MAX, p->name);
    struct message with_id = *m;
    with_id.id = q->id;
    q->answer = answer;
    q->arg = arg;
    q->repeat = message_repeatable(m->type);
    bool keep = q->repeat || p->current == NULL;
    if (keep && !question_keep(q, &with_id)) {
        log_error("a %s can't be asked of %s now", message_name(m->type), p->name);
        if (m->fd >= 0)
            close(m->fd);
        fail_later(p);
        return q->id;
    }
    if (p->current) {
        q->link = p->current;
        q->tries = 1;
        p->current->open++;
        channel_send(p->current->channel, &with_id);
    }
    return with_id.id;
}

void peer_tell(struct peer *p, const struct message *m)
{
    if (p->current)
        channel_send(p->current->channel, m);
    else if (m->fd >= 0)
        close(m->fd);
}

size_t peer_backlog(const struct peer *p)
{
    return p->current ? channel_backlog(p->current->channel) : 0;
}

/* The slot stays until the answer comes, so that the id is not used for another question meanwhile. */
void peer_cancel(struct peer *p, uint32_t id)
{
    struct question *q = question_find(p, id);
    if (q == NULL)
        return;
    if (q->link)
        q->answer = NULL;
    else
        question_free(p, q);
}

size_t peer_open(const struct peer *p)
{
    return p->open;
}

void peer_free(struct peer *p)
{
    if (p == NULL)
        return;
    while (p->links)
        link_free(p->links);
    for (uint32_t i = 0; i < p->slot_count; i++)
        free(p->slots[i].frame);
    event_free(p->patience);
    free(p->slots);
    free(p->name);
    free(p);
}
