#include "admin/queue_print.h"

#include "common/queueid.h"
#include "common/utf8.h"

#include <inttypes.h>
#include <sysexits.h>
#include <time.h>

void queue_print_text(FILE *out, struct span s)
{
    while (s.n > 0) {
        bool plain = s.p[0] >= ' ' && s.p[0] <= '~';
        size_t n = plain ? 1 : utf8_length(s);
        if (n > 0)
            (void)fwrite(s.p, 1, n, out);
        else
            (void)fputc('?', out);
        n += n == 0;
        s = span_make(s.p + n, s.n - n);
    }
}

const char *queue_print_priority(uint16_t priority)
{
    return priority == PRIORITY_HIGH ? "high" : priority == PRIORITY_LOW ? "low" : "normal";
}

/* ---- a table --------------------------------------------------------------------------------------------------------------------- */

enum { REASON_COLUMNS = 76, ADDRESS_COLUMN = 42 };

static struct span or_daemon(struct span sender)
{
    return sender.n ? sender : SPAN_LITERAL("MAILER-DAEMON");
}

/* "Mon Jan  2 15:04:05 ", as ctime has it. */
static void arrival(uint64_t seconds, char to[32])
{
    time_t t = (time_t)seconds;
    struct tm tm;
    if (!localtime_r(&t, &tm) || strftime(to, 32, "%a %b %e %H:%M:%S ", &tm) == 0)
        (void)snprintf(to, 32, "%-20s", "?");
}

/* As Postfix marks what is in its active and hold queues. */
static const char *mark_of(const struct record_entry *e)
{
    return e->state == RECIPIENT_ACTIVE ? "*" : e->held ? "!" : "";
}

static void table_message(struct queue_printer *p, const struct record_entry *e)
{
    char id[QUEUEID_TEXT + 2], when[32];
    if (p->messages == 1)
        (void)fprintf(p->out, "-Queue ID-  --Size-- ----Arrival Time---- -Sender/Recipient-------\n");
    else
        (void)fputc('\n', p->out);
    (void)snprintf(id, sizeof id, "%s%s", queueid_format(e->id).text, mark_of(e));
    arrival(e->arrived, when);
    (void)fprintf(p->out, "%-13s %6llu %20.20s ", id, (unsigned long long)e->size, when);
    queue_print_text(p->out, or_daemon(e->sender));
    (void)fputc('\n', p->out);
}

static void table_recipient(struct queue_printer *p, const struct record_entry *e)
{
    const char *owed = e->state == RECIPIENT_DONE ? "its sender is still to be told" : "", *colon = *owed && e->reason.n ? ": " : "";
    size_t n = strlen(owed) + strlen(colon) + e->reason.n;
    if (n) {
        (void)fprintf(p->out, "%*s(%s%s", n < REASON_COLUMNS ? REASON_COLUMNS - (int)n : 0, "", owed, colon);
        queue_print_text(p->out, e->reason);
        (void)fprintf(p->out, ")\n");
    }
    (void)fprintf(p->out, "%*s", ADDRESS_COLUMN, "");
    queue_print_text(p->out, e->recipient);
    (void)fputc('\n', p->out);
}

/* ---- JSON ------------------------------------------------------------------------------------------------------------------------ */

/* Octets that are no UTF-8 are shown as the characters of Latin-1, so that the output always is. */
void queue_print_json(FILE *out, struct span s)
{
    bool utf8 = utf8_is_printable(s);
    (void)fputc('"', out);
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if (c == '"' || c == '\\')
            (void)fprintf(out, "\\%c", c);
        else if (c < 32 || c == 127 || (c > 127 && !utf8))
            (void)fprintf(out, "\\u%04x", c);
        else
            (void)fputc(c, out);
    }
    (void)fputc('"', out);
}

static void json_message(struct queue_printer *p, const struct record_entry *e)
{
    if (p->messages > 1)
        (void)fprintf(p->out, "]}\n");
    (void)fprintf(p->out, "{\"queue_name\": \"%s\", \"queue_id\": \"%s\", \"arrival_time\": %llu, \"message_size\": %llu, \"sender\": ",
                  e->state == RECIPIENT_ACTIVE ? "active"
                  : e->held                    ? "hold"
                                               : "deferred",
                  queueid_format(e->id).text, (unsigned long long)e->arrived, (unsigned long long)e->size);
    queue_print_json(p->out, e->sender);
    (void)fprintf(p->out, ", \"priority\": \"%s\"", queue_print_priority(e->priority));
    if (e->release)
        (void)fprintf(p->out, ", \"release_time\": %llu", (unsigned long long)e->release);
    if (e->by_mode)
        (void)fprintf(p->out, ", \"deliver_by_time\": %llu, \"deliver_by_mode\": \"%s\"", (unsigned long long)e->deliver_by,
                      e->by_mode & BY_RETURN ? "return" : "notify");
    if (e->mt_priority)
        (void)fprintf(p->out, ", \"mt_priority\": %d", (int)e->mt_priority - MT_PRIORITY_ZERO);
    (void)fprintf(p->out, ", \"recipients\": [");
    p->any_recipient = false;
}

static void json_recipient(struct queue_printer *p, const struct record_entry *e)
{
    static const char *const states[] = {"", "waiting", "active", "done"};
    (void)fprintf(p->out, "%s{\"address\": ", p->any_recipient ? ", " : "");
    queue_print_json(p->out, e->recipient);
    if (e->reason.n) {
        (void)fprintf(p->out, ", \"delay_reason\": ");
        queue_print_json(p->out, e->reason);
    }
    (void)fprintf(p->out, ", \"way\": ");
    queue_print_json(p->out, e->way);
    (void)fprintf(p->out, ", \"state\": \"%s\", \"attempts\": %lu, \"next_attempt\": %llu}", states[e->state < 4 ? e->state : 0],
                  (unsigned long)e->attempts, (unsigned long long)e->due);
    p->any_recipient = true;
}

/* ---- all ------------------------------------------------------------------------------------------------------------------------- */

bool queue_print_entry(const struct record_entry *e, void *printer)
{
    struct queue_printer *p = printer;
    if (p->messages == 0 || p->id != e->id) {
        p->id = e->id;
        p->messages++;
        p->octets += e->size;
        (p->form == QUEUE_JSON ? json_message : table_message)(p, e);
    }
    (p->form == QUEUE_JSON ? json_recipient : table_recipient)(p, e);
    return !ferror(p->out);
}

void queue_print_end(struct queue_printer *p)
{
    if (p->form == QUEUE_JSON) {
        if (p->messages)
            (void)fprintf(p->out, "]}\n");
    } else if (p->messages == 0) {
        (void)fprintf(p->out, "Mail queue is empty\n");
    } else {
        (void)fprintf(p->out, "\n-- %" PRIu64 " Kbytes in %" PRIu64 " Request%s.\n", p->octets / 1024 + (p->octets % 1024 != 0),
                      p->messages, p->messages == 1 ? "" : "s");
    }
}

int queue_print_all(const char *run, uint64_t only, enum queue_form form, FILE *out, struct error *error)
{
    struct queue_client q;
    struct queue_printer p = {.out = out, .form = form};
    int status = queue_open(&q, run, error);
    if (status == EX_OK)
        status = queue_list(&q, only, queue_print_entry, &p, error);
    if (status == EX_OK)
        queue_print_end(&p);
    queue_close(&q);
    if (status == EX_OK && (fflush(out) != 0 || ferror(out))) {
        (void)error_set(error, "the output can't be written");
        return EX_IOERR;
    }
    return status;
}
