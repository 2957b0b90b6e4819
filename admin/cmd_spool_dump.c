/* postino spool dump: the messages, to be read, or to be carried to another host. */
#include "admin/cmd_spool.h"
#include "admin/queue_print.h"
#include "common/crc32c.h"
#include "common/queueid.h"
#include "qmgr/disk.h"
#include "qmgr/memory.h"
#include "qmgr/orders.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#define PIECE ((size_t)64 << 10)

struct dump {
    const struct spool_command *command;
    bool *found;     /* of each id */
    uint64_t count;  /* messages that were printed or written */
    uint64_t broken; /* of them: what is left of a damaged message */
    int status;
};

/* ---- the envelope ------------------------------------------------------------------------------------------------ */

/* A terminal is not to obey a stranger; a file has what was said. */
static void text(FILE *out, struct span s)
{
    if (isatty(fileno(out)))
        queue_print_text(out, s);
    else
        (void)fwrite(s.p ? s.p : "", 1, s.n, out);
}

static void line(FILE *out, const char *name, struct span value)
{
    if (value.n == 0)
        return;
    (void)fprintf(out, "%s: ", name);
    text(out, value);
    (void)fputc('\n', out);
}

static void path_line(FILE *out, const char *name, struct span value)
{
    (void)fprintf(out, "%s: <", name);
    text(out, value);
    (void)fputs(">\n", out);
}

static void format_time(uint64_t seconds, char to[40])
{
    time_t t = (time_t)seconds;
    struct tm tm;
    if (!localtime_r(&t, &tm) || strftime(to, 40, "%Y-%m-%d %H:%M:%S %z", &tm) == 0)
        (void)snprintf(to, 40, "%" PRIu64, seconds);
}

static const char *state_of(const struct spool_state *s)
{
    static const char *const done[] = {
        [VERDICT_DELIVERED] = "delivered", [VERDICT_RELAYED] = "relayed", [VERDICT_FAILED] = "failed", [VERDICT_PASSED_ON] = "relayed"};
    if (s->state != RECIPIENT_DONE)
        return s->verdict == VERDICT_DELIVERED || s->verdict == VERDICT_RELAYED ? "delivered, to be reported" : "waiting";
    return s->verdict < sizeof done / sizeof *done && done[s->verdict] ? done[s->verdict] : "done";
}

/* To whom it still has to go. */
static bool waits(const struct spool_state *s)
{
    return s->state == RECIPIENT_WAITING && s->verdict != VERDICT_DELIVERED && s->verdict != VERDICT_RELAYED;
}

/* One who waits says whether all are held. */
static uint16_t orders_of(const struct spool_file *f)
{
    for (uint32_t i = 0; i < f->envelope.recipients.count; i++)
        if (waits(&f->states[i]) && f->states[i].orders)
            return f->states[i].orders;
    return 0;
}

static bool held(const struct spool_file *f)
{
    return orders_hold(orders_of(f), f->envelope.flags);
}

static const char *priority(const struct spool_file *f)
{
    return queue_print_priority((uint16_t)orders_priority(orders_of(f), f->envelope.flags, f->envelope.times.mt_priority));
}

static void recipient(FILE *out, const struct record_recipient *as_it_came, const struct spool_state *s)
{
    char due[40];
    struct record_recipient way = *as_it_came, *r = &way;
    spool_state_way(s, r);
    path_line(out, "recipient", r->address);
    (void)fprintf(out, "  state: %s\n  attempts: %" PRIu32 "\n", state_of(s), s->attempts);
    if (waits(s) && s->due > 0) {
        format_time(s->due, due);
        (void)fprintf(out, "  next-attempt: %s\n", due);
    }
    line(out, "  status", s->status);
    line(out, "  reason", s->reason);
    line(out, "  original", r->original);
    line(out, "  orcpt", r->orcpt);
    line(out, "  transport", r->transport);
    line(out, "  nexthop", r->nexthop);
    line(out, "  mailbox", r->mailbox);
    if (r->notify)
        (void)fprintf(out, "  notify: %s%s%s%s\n", r->notify & NOTIFY_NEVER ? " never" : "", r->notify & NOTIFY_SUCCESS ? " success" : "",
                      r->notify & NOTIFY_FAILURE ? " failure" : "", r->notify & NOTIFY_DELAY ? " delay" : "");
}

/* In single quotes, as a shell takes it. */
static void quoted(FILE *out, struct span s)
{
    (void)fputc('\'', out);
    while (s.n) {
        const char *quote = memchr(s.p, '\'', s.n);
        size_t plain = quote ? (size_t)(quote - s.p) : s.n, step = plain + (quote ? 1 : 0);
        text(out, span_make(s.p, plain));
        (void)fputs(quote ? "'\\''" : "", out);
        s = span_make(s.p + step, s.n - step);
    }
    (void)fputc('\'', out);
}

/* The command that sends it to those who still wait. */
static void command(FILE *out, const char *name, const struct spool_file *f)
{
    struct list list = f->envelope.recipients;
    struct record_recipient r;
    char file[264];
    (void)fputs("to-send: sendmail -i -f ", out);
    quoted(out, f->envelope.sender.n ? f->envelope.sender : SPAN_LITERAL("<>"));
    (void)fputs(" --", out);
    for (size_t i = 0; record_recipient_next(&list, &r); i++) {
        if (waits(&f->states[i])) {
            (void)fputc(' ', out);
            quoted(out, r.address);
        }
    }
    (void)snprintf(file, sizeof file, "%.255s.eml", name);
    (void)fputs(" <", out);
    quoted(out, span_of(file));
    (void)fputc('\n', out);
}

static const char *name_of(const struct survey_message *m, struct queueid_text *id)
{
    *id = queueid_format(m->id);
    return m->place == SURVEY_ASIDE ? strchr(m->name, '/') + 1 : id->text;
}

static void envelope(FILE *out, const struct survey_message *m)
{
    static const char *const rets[] = {"", "full", "headers"};
    const struct spool_envelope *e = &m->f->envelope;
    char arrived[40];
    struct queueid_text id;
    (void)fprintf(out, "queue-id: %s\nplace: ", queueid_format(m->id).text);
    queue_print_text(out, span_of(m->name));
    (void)fprintf(out, "\nsize: %" PRIu64 "\n%s", m->octets, m->whole ? "" : "damaged: yes\n");
    if (!m->f->states) {
        (void)fputs("envelope: lost\n", out);
        return;
    }
    format_time(e->arrived / 1000000, arrived);
    (void)fprintf(out, "arrived: %s\n", arrived);
    path_line(out, "sender", e->sender);
    line(out, "envid", e->envid);
    if (e->ret == RET_FULL || e->ret == RET_HDRS)
        (void)fprintf(out, "ret: %s\n", rets[e->ret]);
    (void)fputs(e->flags & ENVELOPE_SMTPUTF8 ? "smtputf8: yes\n" : "", out);
    (void)fputs(held(m->f) ? "held: yes\n" : "", out);
    (void)fprintf(out, "priority: %s\n", priority(m->f));
    if (e->parent)
        (void)fprintf(out, "report-about: %s\n", queueid_format(e->parent).text);
    struct list list = e->recipients;
    struct record_recipient r;
    for (size_t i = 0; record_recipient_next(&list, &r); i++)
        recipient(out, &r, &m->f->states[i]);
    command(out, name_of(m, &id), m->f);
}

/* ---- the message ------------------------------------------------------------------------------------------------- */

/* On a terminal what is no printable text is shown as '?', and lines end in LF. */
static void piece(FILE *out, const char *p, size_t n)
{
    if (!isatty(fileno(out))) {
        (void)fwrite(p, 1, n, out);
        return;
    }
    for (const char *end = p + n; p < end;) {
        size_t plain = 0;
        while (p + plain < end && p[plain] != '\r' && p[plain] != '\n' && p[plain] != '\t')
            plain++;
        queue_print_text(out, span_make(p, plain));
        p += plain;
        if (p < end && *p++ != '\r')
            (void)fputc(p[-1], out);
    }
}

/* 0, EBADMSG when it is not what it was, or an errno. */
static int body(FILE *out, const struct survey_message *m)
{
    char *octets = malloc(PIECE);
    uint32_t crc = 0;
    int status = octets ? 0 : ENOMEM;
    for (uint64_t at = 0; at < m->octets && status == 0;) {
        size_t n = m->octets - at < PIECE ? (size_t)(m->octets - at) : PIECE;
        status = disk_read(m->fd, octets, n, m->body + at);
        if (status == 0) {
            crc = crc32c(crc, octets, n);
            piece(out, octets, n);
        }
        at += n;
    }
    free(octets);
    return status == 0 && crc != m->body_crc ? EBADMSG : status;
}

/* ---- where to ---------------------------------------------------------------------------------------------------- */

static FILE *create(const struct spool_command *c, const char *name, const char *suffix)
{
    char full[300];
    (void)snprintf(full, sizeof full, "%.255s%s", name, suffix);
    int fd = openat(c->to_directory, full, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    FILE *out = fd >= 0 ? fdopen(fd, "w") : NULL;
    if (out)
        return out;
    (void)admin_fail(0, c->name, "%s/%s can't be made: %s%s", c->to, full, strerror(errno),
                     errno == EACCES   ? "; name a directory that is not there yet: it is made for the user to whom the spool belongs"
                     : errno == EEXIST ? "; name another directory"
                                       : "");
    return NULL;
}

static int finish(const struct spool_command *c, FILE *out)
{
    bool good = fflush(out) == 0 && !ferror(out) && fsync(fileno(out)) == 0;
    int status = errno;
    if (fclose(out) == 0 && good)
        return 0;
    return admin_fail(-1, c->name, "%s can't be written: %s", c->to, strerror(status));
}

static int to_files(struct dump *d, const struct survey_message *m)
{
    const struct spool_command *c = d->command;
    struct queueid_text id;
    const char *name = name_of(m, &id);
    FILE *out = create(c, name, ".envelope");
    if (!out)
        return -1;
    envelope(out, m);
    if (finish(c, out) != 0 || !(out = create(c, name, ".eml")))
        return -1;
    int status = body(out, m);
    if (status != 0)
        (void)admin_fail(0, c->name, "%s.eml: %s", name, status == EBADMSG ? "its checksum is wrong: it is damaged" : strerror(status));
    d->broken += !m->whole || status != 0;
    return finish(c, out);
}

static void to_stdout(struct dump *d, const struct survey_message *m)
{
    envelope(stdout, m);
    (void)fputc('\n', stdout);
    d->broken += body(stdout, m) != 0 || !m->whole;
}

static void listing(const struct survey_message *m)
{
    char arrived[40] = "?";
    struct list list = m->f->envelope.recipients;
    struct record_recipient r;
    if (m->f->states)
        format_time(m->f->envelope.arrived / 1000000, arrived);
    (void)printf("%s  %s  %" PRIu64 " octets  %s%s%s", queueid_format(m->id).text, arrived, m->octets, m->name, m->whole ? "" : " damaged",
                 m->f->states && held(m->f) ? " held" : "");
    if (m->f->states && strcmp(priority(m->f), "normal") != 0)
        (void)printf(" priority=%s", priority(m->f));
    (void)fputs("  <", stdout);
    text(stdout, m->f->envelope.sender);
    (void)puts(">");
    for (size_t i = 0; m->f->states && record_recipient_next(&list, &r); i++) {
        (void)fputs("    <", stdout);
        text(stdout, r.address);
        (void)printf("> %s", state_of(&m->f->states[i]));
        if (m->f->states[i].reason.n) {
            (void)fputs(": ", stdout);
            text(stdout, m->f->states[i].reason);
        }
        (void)putchar('\n');
    }
}

/* ---- which ------------------------------------------------------------------------------------------------------- */

static bool wanted(struct dump *d, const struct survey_message *m)
{
    bool any = false;
    uint64_t id;
    for (size_t i = 0; d->command->ids[i]; i++) {
        if (queueid_parse(span_of(d->command->ids[i]), &id) && id == m->id)
            any = d->found[i] = true;
    }
    return any || !d->command->ids[0];
}

static bool any_waits(const struct spool_file *f)
{
    for (uint32_t i = 0; f->states && i < f->envelope.recipients.count; i++) {
        if (waits(&f->states[i]))
            return true;
    }
    return false;
}

static int each(const struct survey_message *m, void *arg)
{
    struct dump *d = arg;
    bool all = !d->command->ids[0];
    if (m->copy || !wanted(d, m) || (all && m->place == SURVEY_ASIDE))
        return 0;
    if (all && d->command->to && m->whole && !any_waits(m->f))
        return 0; /* nobody has to get it any more */
    spool_progress_wipe();
    d->count++;
    if (d->command->to)
        return to_files(d, m);
    if (all)
        listing(m);
    else
        to_stdout(d, m);
    return 0;
}

static void nothing(const struct finding *f, void *arg)
{
    (void)f, (void)arg;
}

/* ---- all --------------------------------------------------------------------------------------------------------- */

static int result(const struct dump *d, const struct survey_sums *sums)
{
    const struct spool_command *c = d->command;
    int status = SPOOL_GOOD;
    if (c->to)
        (void)printf("%" PRIu64 " messages were written to %s\n", d->count, c->to);
    if (d->broken > 0)
        status = admin_fail(SPOOL_DAMAGED, c->name, "%" PRIu64 " of these messages are damaged: what is left of them is shown", d->broken);
    if (sums->findings[FINDING_DAMAGED] > 0)
        status = admin_fail(SPOOL_DAMAGED, c->name, "%" PRIu64 " things are damaged in the spool: see postino spool check",
                            sums->findings[FINDING_DAMAGED]);
    for (size_t i = 0; c->ids[i]; i++) {
        if (!d->found[i])
            status = admin_fail(EX_NOINPUT, c->name, "%s: there is no such message in the spool", c->ids[i]);
    }
    return status;
}

int spool_dump(const struct spool_command *c)
{
    size_t ids = 0;
    uint64_t id;
    struct survey_sums sums = {0};
    struct error error = {.text = ""};
    for (; c->ids[ids]; ids++) {
        if (!queueid_parse(span_of(c->ids[ids]), &id))
            return admin_fail(EX_DATAERR, c->name, "%s: no queue id; postino spool dump without one lists them", c->ids[ids]);
    }
    struct dump d = {.command = c, .found = memory_new(ids + 1, sizeof(bool))};
    struct survey_calls calls = {
        .finding = nothing, .message = each, .progress = spool_progress, .arg = &d, .live = c->live, .aside = ids > 0};
    int status = spool_survey(c->directory, &calls, &sums, &error);
    spool_progress_wipe();
    if (status != 0)
        status = error.text[0] ? admin_fail(SPOOL_NOT_LOOKED_AT, c->name, "%s: %s", c->path, error.text) : EX_CANTCREAT;
    else
        status = result(&d, &sums);
    free(d.found);
    return status;
}
