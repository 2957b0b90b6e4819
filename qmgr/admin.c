/* The socket "queue": mailq and `postino queue`. The kernel says who asks (SO_PEERCRED). Everybody may list messages and sites; to see a text
 * or to change something one must be root, the user that qmgr's master runs as, or one of `admins`. */
#include "qmgr/admin.h"
#include "common/date.h"
#include "common/program.h"
#include "qmgr/limits.h"
#include "qmgr/memory.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#define CLIENTS_MOST  100
#define OTHERS_MOST   60  /* of them, who are no administrators: these find a place also when others take all they can get */
#define USER_MOST     4   /* of one user among these */
#define IDLE          300 /* seconds */
#define ADMINS_MOST   64
#define PAGE          ((size_t)256 << 10)
#define PAGE_MOST     ((size_t)3 << 20)
#define PAGE_TIME     10000 /* microseconds for a page, as mail that is parked is read for it */
#define SHOW_MOST     ((size_t)256 << 10)
#define LISTED_REASON 256
#define WAY_MOST      2048

static uid_t admins[ADMINS_MOST];
static size_t admin_count;
static LIST_HEAD(, client) clients = LIST_HEAD_INITIALIZER(clients);

void admin_resolve(const struct settings *s)
{
    admin_count = 0;
    admins[admin_count++] = 0;
    admins[admin_count++] = geteuid(); /* before the sandbox: whom the master runs as */
    for (size_t i = 0; i < s->admins.n && admin_count < ADMINS_MOST; i++) {
        const struct passwd *pw = getpwnam(s->admins.v[i]);
        if (pw)
            admins[admin_count++] = pw->pw_uid;
        else
            log_warning("admins: there is no user \"%s\" on this host", s->admins.v[i]);
    }
}

static bool is_admin(uid_t uid)
{
    for (size_t i = 0; i < admin_count; i++) {
        if (admins[i] == uid)
            return true;
    }
    return false;
}

void admin_done(struct client *c, uint32_t question, unsigned code, const char *words, size_t count, size_t left)
{
    struct message out = {.type = MESSAGE_DONE, .id = question, .fd = -1};
    out.done = (struct message_done){.code = (uint16_t)code, .reply = span_of(words), .count = (uint32_t)count, .left = (uint32_t)left};
    channel_send(c->channel, &out);
}

/* ---- LIST -------------------------------------------------------------------------------------------------------- */

static int by_number(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

uint64_t *admin_ids(size_t *count)
{
    uint64_t *ids = memory_new(queue.mails.count + park_count() + 1, sizeof *ids);
    *count = park_ids(ids);
    for (struct hash_node *n = hash_first(&queue.mails); n; n = hash_after(&queue.mails, n))
        ids[(*count)++] = n->key;
    qsort(ids, *count, sizeof *ids, by_number);
    return ids;
}

static void fill(struct snapshot *s)
{
    s->ids = admin_ids(&s->count);
}

static void snapshot(struct client *c)
{
    static struct snapshot *newest;
    snapshot_leave(&c->mails);
    c->mails = snapshot_get(&newest, fill, c->privileged);
}

enum { REASON_TEXT = 400 };

/* In whose line it is; NULL: in none. */
static const struct site *line_of(const struct mail *m, uint32_t recipient)
{
    for (const struct delivery *d = m->deliveries; d; d = d->next)
        for (uint32_t i = 0; i < d->count; i++)
            if (d->index[i] == recipient)
                return d->job.site;
    return park_site(mail_id(m));
}

/* A source in warm-up has no failure to tell of, and may let mail wait for a day. */
static void say_warm_up(const struct mail *m, uint32_t recipient, char text[REASON_TEXT])
{
    const struct site *site = m->rcpt[recipient].state == RECIPIENT_WAITING ? line_of(m, recipient) : NULL;
    struct span name = site ? schedule_site_name(site) : (struct span){0}, source = limits_source_of(name);
    unsigned a_day = source.n ? limits_a_day(queue.settings, name, queue_now()) : 0;
    if (a_day > 0)
        snprintf(text, REASON_TEXT, "source \"%.*s\" is in warm-up: %u message%s a day to this site, evenly (warm_up_plan)",
                 (int)(source.n < 200 ? source.n : 200), source.p, a_day, a_day > 1 ? "s" : "");
}

/* What the last attempt said; of one that waits for its time, or its source's, just that. */
static struct span reason_of(const struct mail *m, uint32_t recipient, char text[REASON_TEXT])
{
    char date[DATE_TEXT];
    const char *reason = m->rcpt[recipient].reason;
    text[0] = '\0';
    if (!reason && m->times.release > queue_now()) {
        date_format(m->times.release, date);
        snprintf(text, REASON_TEXT, "its sender wants it to wait until %s", date);
    } else if (!reason) {
        say_warm_up(m, recipient, text);
    }
    return span_of(reason ? reason : text);
}

static void add_entries(const struct mail *m, struct buf *out, uint32_t *count)
{
    char text[REASON_TEXT];
    struct buf way = BUF_EMPTY(WAY_MOST);
    for (uint32_t i = 0; i < m->count && out->len < PAGE_MOST; i++) {
        const struct recipient *r = &m->rcpt[i];
        struct record_recipient rcpt;
        if (r->state == RECIPIENT_DONE && !r->untold)
            continue;
        mail_recipient(m, i, &rcpt);
        struct span reason = reason_of(m, i, text);
        buf_clear(&way);
        way_add(&rcpt, &way);
        struct record_entry e = {.id = mail_id(m),
                                 .arrived = m->arrived / 1000000,
                                 .size = m->size,
                                 .sender = m->sender,
                                 .recipient = rcpt.address,
                                 .state = r->state,
                                 .due = r->due,
                                 .attempts = r->attempts,
                                 .reason = span_make(reason.p, reason.n < LISTED_REASON ? reason.n : LISTED_REASON),
                                 .held = m->held,
                                 .priority = (uint16_t)mail_priority(m),
                                 .release = m->times.release,
                                 .deliver_by = m->times.deliver_by,
                                 .by_mode = m->times.by_mode,
                                 .mt_priority = m->times.mt_priority,
                                 .way = r->state == RECIPIENT_DONE ? (struct span){0} : buf_span(&way)};
        record_entry_add(out, &e);
        (*count)++;
    }
    buf_free(&way);
}

static void list_one(uint64_t id, struct buf *entries, uint32_t *count)
{
    const struct mail *m = mail_look(id);
    if (!m)
        return;
    add_entries(m, entries, count);
    mail_looked(m);
}

static size_t first_after(const struct snapshot *s, uint64_t after)
{
    size_t low = 0, high = s->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (s->ids[middle] <= after)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void on_list(struct client *c, const struct message *m)
{
    struct buf entries = BUF_EMPTY(FRAME_MAX);
    struct message out = {.type = MESSAGE_LISTED, .id = m->id, .fd = -1};
    if (m->list.only) {
        list_one(m->list.only, &entries, &out.listed.entries.count);
    } else {
        if (m->list.after == 0 || !c->mails)
            snapshot(c);
        const struct snapshot *s = c->mails;
        size_t i = first_after(s, m->list.after);
        uint64_t end = queue_now_us() + PAGE_TIME;
        for (; i < s->count && entries.len < PAGE && (entries.len == 0 || queue_now_us() < end); i++)
            list_one(s->ids[i], &entries, &out.listed.entries.count);
        out.listed.more = i < s->count;
    }
    out.listed.entries.bytes = buf_span(&entries);
    channel_send(c->channel, &out);
    buf_free(&entries);
}

/* ---- SHOW ------------------------------------------------------------------------------------------------------ */

static void on_show(struct client *c, const struct message *m)
{
    struct message out = {.type = MESSAGE_SHOWN, .id = m->id, .fd = -1, .shown = {.code = 550}};
    const struct mail *mail = c->privileged ? mail_look(m->show.id) : NULL;
    char *text = memory_new(1, SHOW_MOST);
    long n = mail ? spool_read(queue.spool, mail_id(mail), m->show.offset, text, SHOW_MOST) : -ENOENT;
    if (n >= 0) {
        out.shown.code = 250;
        out.shown.size = mail->size;
        out.shown.piece = span_make(text, (size_t)n);
    }
    channel_send(c->channel, &out);
    free(text);
    if (mail)
        mail_looked(mail);
}

/* ---- clients ----------------------------------------------------------------------------------------------------- */

void admin_answer(struct client *c, const struct message *m)
{
    if (m->type == MESSAGE_LIST)
        on_list(c, m);
    else if (m->type == MESSAGE_SHOW)
        on_show(c, m);
    else if (m->type == MESSAGE_SITES)
        admin_sites(c, m);
}

static void client_free(struct client *c)
{
    LIST_REMOVE(c, link);
    admin_turn_leave(c);
    channel_free(c->channel);
    event_free(c->idle);
    if (c->order)
        order_orphan(c->order);
    snapshot_leave(&c->mails);
    snapshot_leave(&c->sites);
    free(c);
}

static void rest(struct client *c)
{
    event_add(c->idle, &(struct timeval){.tv_sec = IDLE});
}

/* An order may take longer. */
static void on_idle(evutil_socket_t fd, short what, void *arg)
{
    struct client *c = arg;
    (void)fd, (void)what;
    if (c->order)
        rest(c);
    else
        client_free(c);
}

static void on_message(struct channel *channel, const struct message *m, void *arg)
{
    struct client *c = arg;
    (void)channel;
    rest(c);
    if (m->type == MESSAGE_ORDER && c->privileged)
        order_start(c, m);
    else if (m->type == MESSAGE_ORDER)
        admin_done(c, m->id, 550, "Only root and the admins of postino.conf may do that", 0, 0);
    else if (c->privileged)
        admin_answer(c, m);
    else if (!admin_turn_wait(c, m))
        client_free(c);
}

static void on_closed(struct channel *channel, void *arg)
{
    (void)channel;
    client_free(arg);
}

static bool has_place(uid_t uid, bool privileged)
{
    const struct client *c;
    size_t all = 0, others = 0, own = 0;
    LIST_FOREACH(c, &clients, link)
    {
        all++;
        others += !c->privileged;
        own += c->uid == uid;
    }
    return all < CLIENTS_MOST && (privileged || (others < OTHERS_MOST && own < USER_MOST));
}

static void add_client(int fd, uid_t uid)
{
    static const struct channel_handler handler = {.message = on_message, .closed = on_closed};
    struct client *c = memory_new(1, sizeof *c);
    c->uid = uid;
    c->privileged = is_admin(uid);
    c->idle = event_new(program_base(), -1, 0, on_idle, c);
    if (!c->idle)
        log_die("out of memory for the queue socket");
    c->channel = channel_new(program_base(), fd, "admin", 1u << PROTOCOL_ADMIN_QMGR, SIDE_SERVER, &handler, c);
    LIST_INSERT_HEAD(&clients, c, link);
    rest(c);
}

static void on_accept(evutil_socket_t listener, short what, void *arg)
{
    (void)what, (void)arg;
    struct ucred who;
    socklen_t size = sizeof who;
    int fd = accept4((int)listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0)
        return;
    bool known = getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &size) == 0 && !sandbox_is_barred(who.uid);
    if (known && has_place(who.uid, is_admin(who.uid)))
        add_client(fd, who.uid);
    else
        close(fd);
}

void admin_listen(int fd)
{
    evutil_make_socket_nonblocking(fd);
    struct event *e = event_new(program_base(), fd, EV_READ | EV_PERSIST, on_accept, NULL);
    if (!e || event_add(e, NULL) != 0)
        log_die("out of memory for the queue socket");
}
