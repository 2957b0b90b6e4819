#include "tests/load/clients.h"
#include "tests/load/books.h"
#include "tests/load/sink.h"
#include "tests/load/wire.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OPENING_MOST 128 /* held sessions that connect at a time */
#define KEPT_MOST    20  /* messages in a kept connection */
#define BODY_LINES   50
#define SAMPLES_MOST 4000000
#define TOLD_MOST    8

static void *allocate(size_t n, size_t size)
{
    void *p = calloc(n ? n : 1, size);
    if (p == NULL)
        die("out of memory");
    return p;
}

/* ---- held ------------------------------------------------------------------------------------------------------------------------ */

static struct actor *held;
static struct held_sums sums;
static unsigned held_plain, held_next, held_opening;

enum { HELD_GREETING, HELD_EHLO, HELD_STARTTLS, HELD_OPEN };

static void held_more(void)
{
    while (held_next < sums.wanted && held_opening < OPENING_MOST) {
        held_opening++;
        actor_open(&held[held_next++]);
    }
}

static void held_is_open(struct actor *a)
{
    a->step = HELD_OPEN;
    sums.open++;
    held_opening--;
    held_more();
}

static void held_ended(struct actor *a, bool ours)
{
    (void)ours;
    if (a->step == HELD_OPEN) {
        sums.open--;
        sums.lost++;
        return;
    }
    sums.refused++;
    held_opening--;
    held_more();
}

static void held_reply(struct actor *a, int code)
{
    if (code / 100 != 2) {
        actor_close(a, false);
        held_ended(a, false);
    } else if (a->step == HELD_GREETING) {
        a->step = HELD_EHLO;
        actor_say(a, "EHLO held.example\r\n");
    } else if (a->step == HELD_EHLO && a->index >= held_plain && !a->ssl) {
        a->step = HELD_STARTTLS;
        actor_say(a, "STARTTLS\r\n");
    } else if (a->step == HELD_STARTTLS) {
        actor_start_tls(a);
    } else if (a->step == HELD_EHLO) {
        held_is_open(a);
    }
}

static void held_secured(struct actor *a)
{
    a->step = HELD_EHLO;
    actor_say(a, "EHLO held.example\r\n");
}

static const struct kind held_kind = {.name = "held", .reply = held_reply, .ended = held_ended, .secured = held_secured};

void held_begin(unsigned plain, unsigned tls)
{
    held_plain = plain;
    sums.wanted = plain + tls;
    held = allocate(sums.wanted, sizeof *held);
    for (unsigned i = 0; i < sums.wanted; i++)
        held[i] = (struct actor){.kind = &held_kind, .index = i, .fd = -1, .source = 0x7f020000u + (i / 250 << 8) + i % 250 + 1};
    held_more();
}

bool held_settled(void)
{
    return held_opening == 0 && held_next == sums.wanted;
}

struct held_sums held_sums(void)
{
    return sums;
}

/* ---- good ------------------------------------------------------------------------------------------------------------------------ */

enum { GOOD_AWAY, GOOD_GREETING, GOOD_EHLO, GOOD_MAIL, GOOD_RCPT, GOOD_DATA, GOOD_END, GOOD_IDLE };

static struct actor *good;
static unsigned good_count, under_way, told;
static uint64_t interval_us;
static bool stopping;
static char body[BODY_LINES * 78 + 8];

static struct {
    unsigned sent, refused, broken;
    unsigned missed;        /* were due while the client still waited for one before */
    unsigned dropped;       /* kept connections, between messages */
    uint32_t *waits, *ends; /* microseconds: for the whole message; for the answer to its end */
} counts;

static void tell(const struct actor *a, const char *what)
{
    if (told++ < TOLD_MOST)
        fprintf(stderr, "load: a good client was %s at step %d: %s\n", what, a->step, a->line);
}

static void next_message(struct actor *a)
{
    uint64_t now = clock_us();
    a->wake = a->planned + interval_us; /* so that we ourselves, when we are late, do not offer less */
    for (; interval_us && a->wake + interval_us < now; a->wake += interval_us)
        counts.missed++;
    under_way--;
}

static void failed(struct actor *a)
{
    books_fate(a->message, a->step == GOOD_END ? FATE_UNKNOWN : FATE_REFUSED);
    a->step = GOOD_AWAY;
    next_message(a);
}

static void good_ended(struct actor *a, bool ours)
{
    if (a->step == GOOD_IDLE || a->step == GOOD_AWAY) {
        counts.dropped += a->step == GOOD_IDLE;
        a->step = GOOD_AWAY;
        return;
    }
    counts.broken++;
    tell(a, ours ? "without a port" : "cut off");
    failed(a);
}

static void mail(struct actor *a)
{
    a->step = GOOD_MAIL;
    actor_say(a, "MAIL FROM:<good@good.example>\r\n");
}

static void accepted(struct actor *a)
{
    books_fate(a->message, FATE_ACCEPTED);
    if (counts.sent < SAMPLES_MOST) {
        uint64_t now = clock_us();
        counts.waits[counts.sent] = (uint32_t)(now - a->began);
        counts.ends[counts.sent] = (uint32_t)(now - a->wake);
    }
    counts.sent++;
    a->messages++;
    a->step = GOOD_IDLE;
    if (a->index % 2 == 0 || a->messages >= KEPT_MOST) {
        actor_say(a, "QUIT\r\n");
        actor_close(a, false);
        a->step = GOOD_AWAY;
    }
    next_message(a);
}

static void text(struct actor *a)
{
    char head[200];
    int n = snprintf(head, sizeof head, "From: good@good.example\r\n" SUBJECT "%u\r\n\r\n", a->message);
    a->step = GOOD_END;
    actor_send(a, head, (size_t)n);
    actor_say(a, body);
    a->wake = clock_us(); /* not looked at while it is under way */
}

static void good_reply(struct actor *a, int code)
{
    static const int wanted[] = {0, 220, 250, 250, 250, 354, 250, 0};
    if (a->step == GOOD_IDLE) { /* 421: it is told that its connection ends */
        counts.dropped++;
        actor_close(a, false);
        a->step = GOOD_AWAY;
        return;
    }
    if (code != wanted[a->step]) {
        counts.refused++;
        tell(a, "refused");
        actor_close(a, false);
        failed(a);
        return;
    }
    switch (a->step) {
    case GOOD_GREETING:
        actor_say(a, "EHLO good.example\r\n");
        a->step = GOOD_EHLO;
        break;
    case GOOD_EHLO:
        mail(a);
        break;
    case GOOD_MAIL:
        actor_say(a, "RCPT TO:<someone@sink.example>\r\n");
        a->step = GOOD_RCPT;
        break;
    case GOOD_RCPT:
        actor_say(a, "DATA\r\n");
        a->step = GOOD_DATA;
        break;
    case GOOD_DATA:
        text(a);
        break;
    default:
        accepted(a);
    }
}

static const struct kind good_kind = {.name = "good", .reply = good_reply, .ended = good_ended};

void good_begin(unsigned count, unsigned interval_ms)
{
    for (int i = 0; i < BODY_LINES; i++)
        memcpy(body + i * 78, "What a good client says in a line of its message, which is seventy-six long.\r\n", 78);
    memcpy(body + BODY_LINES * 78, ".\r\n", 4);
    good_count = count;
    interval_us = (uint64_t)interval_ms * 1000;
    good = allocate(count, sizeof *good);
    counts.waits = allocate(SAMPLES_MOST, sizeof *counts.waits);
    counts.ends = allocate(SAMPLES_MOST, sizeof *counts.ends);
    for (unsigned i = 0; i < count; i++)
        good[i] = (struct actor){
            .kind = &good_kind, .index = i, .fd = -1, .source = 0x7f010000u + (i << 8) + 1, .wake = now_us + interval_us * i / count};
}

void good_pace(unsigned interval_ms)
{
    interval_us = (uint64_t)interval_ms * 1000;
    for (unsigned i = 0; i < good_count; i++)
        if (good[i].step == GOOD_AWAY || good[i].step == GOOD_IDLE)
            good[i].wake = now_us + interval_us * i / good_count;
}

static void begin_message(struct actor *a)
{
    under_way++;
    a->planned = a->wake;
    a->began = clock_us();
    a->message = books_new();
    if (a->fd >= 0) {
        mail(a);
        return;
    }
    a->messages = 0;
    actor_open(a);
    a->step = GOOD_GREETING;
    if (a->fd < 0)
        good_ended(a, true);
}

void good_tick(void)
{
    for (unsigned i = 0; i < good_count && !stopping; i++)
        if (good[i].wake <= now_us && (good[i].step == GOOD_AWAY || good[i].step == GOOD_IDLE))
            begin_message(&good[i]);
}

void good_stop(void)
{
    stopping = true;
}

bool good_stopped(void)
{
    return under_way == 0;
}

void good_mark(void)
{
    counts.sent = counts.refused = counts.broken = counts.missed = counts.dropped = 0;
}

static int by_size(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static double part(uint32_t *v, unsigned n, double share)
{
    return n ? v[(unsigned)((n - 1) * share)] / 1000.0 : 0;
}

void good_report(uint64_t us)
{
    unsigned n = counts.sent < SAMPLES_MOST ? counts.sent : SAMPLES_MOST;
    qsort(counts.waits, n, sizeof *counts.waits, by_size);
    qsort(counts.ends, n, sizeof *counts.ends, by_size);
    printf("sent=%u refused=%u broken=%u missed=%u dropped=%u seconds=%.3f median=%.3f p99=%.3f most=%.3f end_median=%.3f end_p99=%.3f",
           counts.sent, counts.refused, counts.broken, counts.missed, counts.dropped, (double)us / 1e6, part(counts.waits, n, 0.5),
           part(counts.waits, n, 0.99), part(counts.waits, n, 1), part(counts.ends, n, 0.5), part(counts.ends, n, 0.99));
}
