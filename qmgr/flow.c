/* Flows and classes: whose turn it is inside a site.
 *
 * Deficit round robin: a flow at its turn gets a quantum, sends what it can pay, and saves the rest (less than its next job's cost) while
 * it has jobs. In one turn it sends less than a quantum and one job's cost; jobs of one recipient: exactly a quantum. Turns without a job
 * go by only while a job costs more than the quantum: cost/quantum visits a job, however many are queued. */
#include "qmgr/schedule_private.h"

/* ---- senders: the names of flows, once each ---------------------------------------------------------------------- */

struct sender *sender_get(struct schedule *s, struct span name)
{
    uint64_t key = hash_bytes(s->secret, name);
    for (struct hash_node *n = hash_find(&s->senders, key); n; n = hash_same(n)) {
        struct sender *sender = HASH_OWNER(n, struct sender, node);
        if (span_equal(span_make(sender->name, sender->name_length), name)) {
            sender->jobs++;
            return sender;
        }
    }
    if (name.n > UINT16_MAX)
        log_die("schedule: a flow's name is too long");
    struct sender *sender = memory_new(1, sizeof *sender + name.n);
    if (name.n)
        memcpy(sender->name, name.p, name.n);
    sender->name_length = (uint32_t)name.n;
    sender->jobs = 1;
    hash_add(&s->senders, &sender->node, key);
    return sender;
}

void sender_put(struct schedule *s, struct sender *sender)
{
    if (--sender->jobs > 0)
        return;
    hash_remove(&s->senders, &sender->node);
    free(sender);
}

/* ---- flows ------------------------------------------------------------------------------------------------------- */

static struct job *job_of(struct wheel_item *item)
{
    return HASH_OWNER(item, struct job, link);
}

static uint8_t class_of(const struct job *job)
{
    return job->priority > 0 ? 0 : job->priority == 0 ? 1 : 2;
}

static struct flow *flow_of(struct schedule *s, const struct job *job)
{
    uint8_t class = class_of(job);
    uint64_t key = job->site->node.key + job->sender->node.key * (2u * class + 3u);
    for (struct hash_node *n = hash_find(&s->flows, key); n; n = hash_same(n)) {
        struct flow *flow = HASH_OWNER(n, struct flow, node);
        if (flow->site == job->site && flow->sender == job->sender && flow->class == class)
            return flow;
    }
    struct flow *flow = memory_new(1, sizeof *flow);
    flow->site = job->site;
    flow->sender = job->sender;
    flow->class = class;
    wheel_list_init(&flow->ready);
    hash_add(&s->flows, &flow->node, key);
    RING_ADD(flow->site->turns[class], flow);
    return flow;
}

/* In a flow of several priorities of one class the higher ones go first, past no more than SCHEDULE_OVERTAKE others. */
static struct wheel_item *place_of(struct flow *flow, const struct job *job)
{
    struct wheel_item *before = &flow->ready;
    for (int i = 0; i < SCHEDULE_OVERTAKE && before->prev != &flow->ready && job_of(before->prev)->priority < job->priority; i++)
        before = before->prev;
    return before;
}

void flow_push(struct schedule *s, struct job *job)
{
    struct flow *flow = flow_of(s, job);
    job->flow = flow;
    wheel_list_add(place_of(flow, job), &job->link); /* in front of that: a head is as good as an item */
    job->site->ready++;
}

void flow_take(struct schedule *s, struct job *job)
{
    struct flow *flow = job->flow;
    struct site *site = job->site;
    wheel_list_remove(&job->link);
    job->sender = flow->sender;
    site->ready--;
    if (flow->ready.next != &flow->ready)
        return;
    RING_REMOVE(site->turns[flow->class], flow);
    if (!site->turns[flow->class])
        site->passed[flow->class] = 0;
    hash_remove(&s->flows, &flow->node);
    free(flow);
}

/* ---- turns ------------------------------------------------------------------------------------------------------- */

/* The highest class, unless another has let enough go past. */
static unsigned class_turn(struct site *site)
{
    unsigned chosen = CLASSES;
    for (unsigned i = CLASSES; i-- > 0;) {
        if (site->turns[i] && (chosen == CLASSES || site->passed[chosen] < SCHEDULE_PATIENCE || site->passed[i] >= SCHEDULE_PATIENCE))
            chosen = i;
    }
    for (unsigned i = 0; i < CLASSES; i++) {
        if (i != chosen && site->turns[i])
            site->passed[i]++;
    }
    site->passed[chosen] = 0;
    return chosen;
}

/* Each turn adds a quantum, so this ends. */
struct job *flow_next(struct site *site)
{
    struct flow **turn = &site->turns[class_turn(site)];
    for (;;) {
        struct flow *flow = *turn;
        struct job *job = job_of(flow->ready.next);
        if (!flow->has_turn) {
            flow->has_turn = true;
            flow->deficit += SCHEDULE_QUANTUM;
        }
        if (flow->deficit >= job->cost) {
            flow->deficit -= job->cost;
            return job;
        }
        flow->has_turn = false;
        *turn = flow->next;
    }
}

/* `each` may remove its job, and with the last one the flow goes: what comes next is looked up first. */
static void flow_each_job(struct flow *flow, void (*each)(struct job *, void *arg), void *arg)
{
    struct wheel_item *item = flow->ready.next, *last = flow->ready.prev;
    for (;;) {
        struct wheel_item *next = item->next;
        bool is_last = item == last;
        each(job_of(item), arg);
        if (is_last)
            return;
        item = next;
    }
}

void flow_each(const struct site *site, void (*each)(struct job *, void *arg), void *arg)
{
    for (unsigned i = 0; i < CLASSES; i++) {
        struct flow *flow = site->turns[i], *last = flow ? flow->prev : NULL;
        while (flow) {
            struct flow *next = flow == last ? NULL : flow->next;
            flow_each_job(flow, each, arg);
            flow = next;
        }
    }
}
