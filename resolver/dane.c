#include "resolver/dane.h"

#include "common/log.h"
#include "resolver/question.h"

#include <stdio.h>
#include <stdlib.h>

#define RECORDS_MOST 16
#define TEXT_MOST    ((size_t)24 << 10) /* of all records of a host */
#define FRONT        ((size_t)20)       /* ", 255 255 255 " and some */

struct dane {
    char bases[2][256]; /* to be asked for, in this order */
    unsigned at, count;
    unsigned port;
    struct question_wait *wait;
    dane_fn *done;
    void *arg;
};

static void finish(struct dane *d, enum dane_verdict verdict, struct span records)
{
    d->done(&(struct dane_answer){.verdict = verdict, .base = d->at < d->count ? d->bases[d->at] : "", .records = records}, d->arg);
    dane_cancel(d);
}

void dane_cancel(struct dane *d)
{
    if (d == NULL)
        return;
    question_cancel(d->wait);
    free(d);
}

/* ---- records --------------------------------------------------------------------------------------------------------------------- */

/* One that there is no room for is left as an unusable one: it still says that TLS is a must (RFC 7672 2.2). */
static void add_record(struct buf *out, const struct wire_record *r)
{
    size_t n = r->length - 3u;
    bool fits = out->len + 2 * n + RECORDS_MOST * FRONT <= TEXT_MOST;
    if (out->len > 0)
        buf_add_text(out, ", ");
    buf_printf(out, "%u %u %u ", r->data[0], r->data[1], fits ? r->data[2] : 255u);
    for (size_t i = 0; i < n && fits; i++)
        buf_printf(out, "%02x", r->data[3 + i]);
}

static void records_found(struct dane *d, const struct question_answer *a)
{
    struct buf text = BUF_EMPTY(TEXT_MOST);
    for (size_t i = 0; i < a->count && i < RECORDS_MOST; i++)
        add_record(&text, &a->records[i]);
    finish(d, text.failed ? DANE_TROUBLE : DANE_RECORDS, buf_span(&text));
    buf_free(&text);
}

static void ask_base(struct dane *d);

static void base_answer(const struct question_answer *a, void *arg)
{
    struct dane *d = arg;
    d->wait = NULL;
    if (a->result == QUESTION_DEFERRED) {
        finish(d, DANE_TROUBLE, SPAN_LITERAL(""));
    } else if (a->result == QUESTION_OK && a->secure) {
        records_found(d, a);
    } else {
        d->at++;
        ask_base(d);
    }
}

static void ask_base(struct dane *d)
{
    char name[300];
    if (d->at == d->count) {
        finish(d, DANE_NONE, SPAN_LITERAL(""));
        return;
    }
    snprintf(name, sizeof name, "_%u._tcp.%s", d->port, d->bases[d->at]);
    d->wait = question_ask(name, WIRE_TLSA, base_answer, d);
}

/* ---- begin ----------------------------------------------------------------------------------------------------------------------- */

static void alias_answer(const struct question_answer *a, void *arg)
{
    struct dane *d = arg;
    d->wait = NULL;
    if (a->result == QUESTION_DEFERRED)
        finish(d, DANE_TROUBLE, SPAN_LITERAL(""));
    else if (a->result == QUESTION_OK && a->secure)
        ask_base(d);
    else
        finish(d, DANE_NONE, SPAN_LITERAL(""));
}

static void add_base(struct dane *d, const char *name)
{
    if (strlen(name) < sizeof d->bases[0])
        snprintf(d->bases[d->count++], sizeof d->bases[0], "%s", name);
}

struct dane *dane_start(const char *host, const char *canonical, bool secure, unsigned port, dane_fn *done, void *arg)
{
    bool alias = strcmp(host, canonical) != 0;
    if (!secure && !alias)
        return NULL;
    struct dane *d = calloc(1, sizeof *d);
    if (d == NULL)
        log_die("out of memory for TLSA records");
    *d = (struct dane){.port = port, .done = done, .arg = arg};
    if (secure && alias)
        add_base(d, canonical);
    add_base(d, host);
    if (secure)
        ask_base(d);
    else
        d->wait = question_ask(host, WIRE_CNAME, alias_answer, d);
    return d;
}
