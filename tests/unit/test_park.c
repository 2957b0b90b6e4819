/* park: mail that waits takes few octets, and is again what it was when it is needed. The queue, its schedule and its spool are the real ones; the
 * programs around them are this test. */
#include "common/peer.h"
#include "qmgr/disk.h"
#include "qmgr/queue.h"
#include "qmgr/recipients.h"
#include "qmgr/reroute.h"
#include "qmgr/spool_file.h"
#include "tests/unit/fake_clock.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

/* ---- the programs around it -------------------------------------------------------------------------------------- */

enum { ASKED_MOST = 64 };
static struct asked {
    uint16_t type;
    peer_answer_fn *answer;
    void *arg;
    uint64_t id;
    uint32_t recipients;
    char first[64], body[64];
} asked[ASKED_MOST];
static size_t asked_count;

uint32_t peer_ask(struct peer *peer, const struct message *m, peer_answer_fn *answer, void *arg)
{
    (void)peer;
    assert_true(asked_count < ASKED_MOST);
    struct asked *a = &asked[asked_count++];
    *a = (struct asked){.type = (uint16_t)m->type, .answer = answer, .arg = arg};
    if (m->type == MESSAGE_DELIVER) {
        struct list rest = m->deliver.recipients;
        struct record_recipient rcpt;
        a->id = m->deliver.id;
        a->recipients = rest.count;
        assert_true(record_recipient_next(&rest, &rcpt));
        snprintf(a->first, sizeof a->first, "%.*s", SPAN_ARG(rcpt.address));
        snprintf(a->body, sizeof a->body, "%.*s", SPAN_ARG(m->deliver.body));
    }
    return (uint32_t)asked_count;
}

void peer_cancel(struct peer *peer, uint32_t id)
{
    (void)peer, (void)id;
}

static struct asked take_asked(uint16_t type)
{
    assert_true(asked_count > 0);
    struct asked a = asked[0];
    assert_int_equal(a.type, type);
    asked_count--;
    memmove(asked, asked + 1, asked_count * sizeof *asked);
    return a;
}

static size_t hurry_all(uint64_t now, size_t *held)
{
    uint64_t *ids = calloc(park_count() + 1, sizeof *ids);
    size_t n = park_ids(ids), hurried = 0;
    for (size_t i = 0; i < n; i++)
        hurried += park_hurry(ids[i], now);
    *held = n - hurried;
    free(ids);
    return hurried;
}

static void answer_delivery(struct asked a, const uint16_t *verdicts, bool site_failed)
{
    struct buf outcomes = BUF_EMPTY(0);
    struct message m = {.type = MESSAGE_RESULT, .fd = -1, .result = {.site_failed = site_failed}};
    for (uint32_t i = 0; i < a.recipients; i++) {
        bool deferred = verdicts[i] == VERDICT_DEFERRED;
        struct record_outcome o = {.index = (uint16_t)i,
                                   .verdict = verdicts[i],
                                   .status = deferred ? SPAN_LITERAL("4.2.1") : SPAN_LITERAL("2.0.0"),
                                   .reply = deferred ? SPAN_LITERAL("450 come again") : SPAN_LITERAL("250 taken")};
        record_outcome_add(&outcomes, &o);
    }
    m.result.outcomes = (struct list){.count = a.recipients, .bytes = buf_span(&outcomes)};
    a.answer(&m, a.arg);
    buf_free(&outcomes);
}

/* ---- the queue --------------------------------------------------------------------------------------------------- */

static char root_path[64];
static int root = -1;
static struct settings *settings;
static uint64_t last;
static struct disk_ops broken;

static void open_queue(void)
{
    struct error error;
    queue = (struct queue){.settings = settings, .next_id = last + 1};
    queue.schedule = schedule_new(queue_now(), 1);
    schedule_probing(queue.schedule, 1000, 1000);
    queue.spool = spool_open(root, 0, &error);
    assert_non_null(queue.spool);
    hash_init(&queue.mails);
    warning_start(queue_now());
    park_start(queue_now());
    assert_true(spool_recover(queue.spool, queue_recover, NULL, &error) >= 0);
    last = queue.next_id = spool_last_id(queue.spool) > last ? spool_last_id(queue.spool) + 1 : last + 1;
}

/* What is parked has no end of its own: it is read back for this. */
static void close_queue(void)
{
    uint64_t ids[64];
    disk = &disk_real;
    assert_true(park_count() <= 64);
    for (size_t i = 0; i < asked_count; i++) {
        if (asked[i].type == MESSAGE_RCPT)
            asked[i].answer(NULL, asked[i].arg);
    }
    for (size_t n = park_ids(ids); n > 0; n--)
        mail_find(ids[n - 1]);
    for (struct hash_node *n; (n = hash_first(&queue.mails));)
        mail_forget(HASH_OWNER(n, struct mail, node));
    hash_free(&queue.mails);
    spool_close(queue.spool);
    schedule_free(queue.schedule);
    asked_count = 0;
}

enum { PATIENCE = 30000 }; /* turns: a minute for what a busy machine's writer has not come to yet */

static void turn(void)
{
    spool_turn(queue.spool);
    delivery_pump();
    queue_check_all();
    spool_turn(queue.spool);
    struct pollfd p = {.fd = spool_fd(queue.spool), .events = POLLIN};
    poll(&p, 1, 2);
    clock_pass(0.002);
}

static void turns(void)
{
    for (int i = 0; i < 20; i++)
        turn();
}

/* Until nothing gathers any more. */
static void settled(void)
{
    for (int i = 0; i < PATIENCE && !spool_idle(queue.spool); i++) {
        spool_settle_now(queue.spool);
        turn();
    }
    assert_true(spool_idle(queue.spool));
}

static void stored(int status, void *arg)
{
    *(int *)arg = status;
}

static uint16_t put_flags; /* of what is put next */

static uint64_t put_to(const char *sender, const char *nexthop, unsigned count, uint16_t notify)
{
    int status = -1;
    struct buf recipients = BUF_EMPTY(0);
    for (unsigned i = 0; i < count; i++) {
        char address[32];
        snprintf(address, sizeof address, "r%u@example.org", i);
        struct record_recipient r = {.address = span_of(address),
                                     .transport = SPAN_LITERAL("smtp"),
                                     .nexthop = span_of(nexthop),
                                     .tls = SPAN_LITERAL("may"),
                                     .notify = notify};
        record_recipient_add(&recipients, &r);
    }
    struct spool_envelope e = {.id = ++last,
                               .arrived = queue_now_us(),
                               .flow = SPAN_LITERAL("flow"),
                               .flags = put_flags,
                               .sender = span_of(sender),
                               .recipients = {.count = count, .bytes = buf_span(&recipients)}};
    char body[32];
    int n = snprintf(body, sizeof body, "body of %s\r\n", ID_TEXT(e.id));
    queue_put(&e, span_make(body, (size_t)n), (uint64_t)n, stored, &status);
    buf_free(&recipients);
    for (int i = 0; i < PATIENCE && status < 0; i++)
        turn();
    assert_int_equal(status, 0);
    turns();
    return e.id;
}

static uint64_t put(unsigned count)
{
    return put_to("alice@example.com", "[192.0.2.1]", count, 0);
}

/* One message, deferred, settled, parked. */
static uint64_t parked(unsigned count)
{
    static const uint16_t deferred[] = {VERDICT_DEFERRED, VERDICT_DEFERRED, VERDICT_DEFERRED};
    uint64_t id = put(count);
    answer_delivery(take_asked(MESSAGE_DELIVER), deferred, false);
    settled();
    park_turn(queue_now());
    assert_int_equal(queue.mails.count, 0);
    assert_true(park_has(id));
    return id;
}

static void deliver_rest(uint64_t id)
{
    static const uint16_t delivered[] = {VERDICT_RELAYED, VERDICT_RELAYED, VERDICT_RELAYED};
    hurry_all(queue_now(), &(size_t){0});
    turns();
    struct asked a = take_asked(MESSAGE_DELIVER);
    char body[32];
    snprintf(body, sizeof body, "body of %s\r\n", ID_TEXT(id));
    assert_true(a.id == id);
    assert_string_equal(a.body, body);
    answer_delivery(a, delivered, false);
    settled();
    assert_false(spool_has(queue.spool, id));
    assert_int_equal(queue.mails.count + park_count() + queue.octets + asked_count, 0);
}

static int fresh(void **state)
{
    (void)state;
    const char *tmp = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp"; /* thousands of flushes */
    snprintf(root_path, sizeof root_path, "%s/postino-park-XXXXXX", tmp);
    assert_non_null(mkdtemp(root_path));
    root = open(root_path, O_RDONLY | O_DIRECTORY);
    assert_true(root >= 0);
    settings = settings_new();
    assert_non_null(settings);
    settings->limit_queue_memory = 0;
    settings->queue_retry_first = settings->queue_retry_most = 1000;
    last = queue_now_us() << 8;
    spool_log_size(0);
    open_queue();
    return 0;
}

static int end(void **state)
{
    char command[128];
    (void)state;
    close_queue();
    close(root);
    settings_free(settings);
    snprintf(command, sizeof command, "rm -rf %s", root_path);
    return system(command);
}

/* ---- tests ------------------------------------------------------------------------------------------------------- */

static void what_waits_is_parked_and_comes_back_as_it_was(void **state)
{
    (void)state;
    uint64_t id = put(3);
    answer_delivery(take_asked(MESSAGE_DELIVER), (uint16_t[]){VERDICT_DEFERRED, VERDICT_RELAYED, VERDICT_DEFERRED}, false);
    settled();
    park_turn(queue_now());
    assert_int_equal(park_count(), 1);
    assert_int_equal(queue.mails.count + queue.octets + queue.bodies, 0);
    const struct mail *m = mail_look(id);
    assert_non_null(m);
    assert_int_equal(m->rcpt[1].state, RECIPIENT_DONE);
    assert_int_equal(m->rcpt[2].state, RECIPIENT_WAITING);
    assert_int_equal(m->rcpt[2].attempts, 1);
    assert_true(m->rcpt[2].due > queue_now() + 800 && m->rcpt[2].due < queue_now() + 1200);
    assert_string_equal(m->rcpt[2].reason, "450 come again");
    mail_looked(m);
    assert_int_equal(park_count(), 1);
    assert_int_equal(queue.octets, 0);
    hurry_all(queue_now(), &(size_t){0});
    m = mail_look(id);
    assert_true(m->rcpt[2].due <= queue_now());
    mail_looked(m);
    turns();
    assert_int_equal(asked[0].recipients, 2);
    assert_string_equal(asked[0].first, "r0@example.org");
    assert_int_equal(park_count(), 0);
    answer_delivery(take_asked(MESSAGE_DELIVER), (uint16_t[]){VERDICT_RELAYED, VERDICT_DEFERRED}, false);
    assert_int_equal(mail_find(id)->rcpt[2].attempts, 2);
    settled();
    park_turn(queue_now());
    deliver_rest(id);
}

static void what_is_not_yet_settled_on_disk_is_not_parked(void **state)
{
    (void)state;
    uint64_t id = put(1);
    park_turn(queue_now());
    assert_int_equal(park_count(), 0); /* under way */
    answer_delivery(take_asked(MESSAGE_DELIVER), (uint16_t[]){VERDICT_DEFERRED}, false);
    queue_check_all();
    for (int i = 0; i < PATIENCE && park_count() == 0; i++) {
        turn();
        park_turn(queue_now());
    }
    const struct mail *m = mail_look(id);
    assert_int_equal(m->rcpt[0].attempts, 1);
    mail_looked(m);
    deliver_rest(id);
}

static void nothing_is_parked_while_there_is_memory(void **state)
{
    (void)state;
    settings->limit_queue_memory = 1000000;
    uint64_t id = put(1);
    answer_delivery(take_asked(MESSAGE_DELIVER), (uint16_t[]){VERDICT_DEFERRED}, false);
    settled();
    park_turn(queue_now());
    assert_int_equal(park_count(), 0);
    assert_true(queue.octets > 300 && queue.octets < 2000);
    settings->limit_queue_memory = 0;
    park_turn(queue_now());
    deliver_rest(id);
}

/* What is in line at a site that is well keeps its body; behind a dead one it does not. */
static void mail_behind_a_dead_site_is_parked_with_its_body(void **state)
{
    (void)state;
    enum { MANY = 12 };
    uint64_t ids[MANY], now = queue_now();
    for (int i = 0; i < MANY; i++)
        ids[i] = put(1);
    assert_int_equal(asked_count, SCHEDULE_WINDOW);
    park_turn(now);
    assert_int_equal(park_count(), 0);
    while (asked_count > 0) {
        answer_delivery(take_asked(MESSAGE_DELIVER), (uint16_t[]){VERDICT_DEFERRED}, true);
        turns();
    }
    settled();
    park_turn(now);
    assert_int_equal(park_count(), MANY);
    assert_int_equal(queue.bodies + queue.octets, 0);
    assert_int_equal(hurry_all(now, &(size_t){0}), MANY);
    for (size_t left = MANY; left > 0; left--) {
        turns();
        answer_delivery(take_asked(MESSAGE_DELIVER), (uint16_t[]){VERDICT_RELAYED}, false);
    }
    settled();
    for (int i = 0; i < MANY; i++)
        assert_false(spool_has(queue.spool, ids[i]));
    assert_int_equal(park_count() + queue.mails.count, 0);
}

static void what_is_too_old_behind_a_dead_site_goes_back(void **state)
{
    (void)state;
    for (int i = 0; i < 8; i++)
        put(1);
    while (asked_count > 0) {
        answer_delivery(take_asked(MESSAGE_DELIVER), (uint16_t[]){VERDICT_DEFERRED}, true);
        turns();
    }
    settled();
    park_turn(queue_now());
    size_t ready = schedule_counts(queue.schedule).ready;
    assert_int_equal(park_count(), 8);
    assert_true(ready > 0);
    struct site *site = schedule_find_site(queue.schedule, SPAN_LITERAL("smtp:[192.0.2.1] may"));
    struct outcome o = {.status = SPAN_LITERAL("4.4.1"), .reply = SPAN_LITERAL("no answer")};
    delivery_fail_stranded(site, &o);
    assert_int_equal(park_count(), 8);
    settings->queue_lifetime = 0;
    delivery_fail_stranded(site, &o);
    assert_int_equal(park_count(), 8 - ready);
    turns();
    assert_int_equal(asked_count, ready); /* for the way of each report */
    assert_int_equal(asked[0].type, MESSAGE_RCPT);
}

static void answer_route_with(struct asked a, struct record_recipient r)
{
    struct buf list = BUF_EMPTY(0);
    record_recipient_add(&list, &r);
    struct message m = {.type = MESSAGE_ROUTED, .fd = -1, .routed = {.code = 250, .recipients = {.count = 1, .bytes = buf_span(&list)}}};
    a.answer(&m, a.arg);
    buf_free(&list);
}

#define A_WAY                                                                                                                              \
    (struct record_recipient)                                                                                                              \
    {                                                                                                                                      \
        .address = SPAN_LITERAL("alice@example.com"), .transport = SPAN_LITERAL("smtp"), .nexthop = SPAN_LITERAL("[192.0.2.9]"),           \
        .tls = SPAN_LITERAL("may")                                                                                                         \
    }

static void answer_route(struct asked a)
{
    answer_route_with(a, A_WAY);
}

static void turn_at(uint64_t now)
{
    park_turn(now);
    warning_turn(now);
    turns();
}

static void a_delay_is_told_once(void **state)
{
    (void)state;
    settings->queue_delay_warning = 100;
    uint64_t now = queue_now(), id = parked(2), untold = parked(1);
    turn_at(now + 90);
    assert_int_equal(asked_count, 0);
    close_queue(); /* kill -9 */
    open_queue();
    assert_int_equal(park_count(), 2);
    turn_at(now + 90);
    assert_int_equal(asked_count, 0);
    assert_int_equal(park_count(), 2);
    turn_at(now + 120);
    assert_int_equal(asked_count, 2);
    for (int i = 0; i < 2; i++) {
        answer_route(take_asked(MESSAGE_RCPT));
        turns();
        settled();
    }
    assert_int_equal(asked_count, 2); /* the reports go out */
    for (int i = 0; i < 2; i++)
        answer_delivery(take_asked(MESSAGE_DELIVER), (uint16_t[]){VERDICT_RELAYED}, false);
    settled();
    turn_at(now + 121);
    assert_true(park_has(id) && park_has(untold));
    assert_int_equal(queue.mails.count, 0);
    turn_at(now + 300);
    assert_int_equal(asked_count, 0);
    close_queue();
    open_queue();
    turn_at(now + 300);
    assert_int_equal(asked_count, 0);
    assert_int_equal(park_count(), 2);
}

/* No more than of smtpd's: what is too long would fit into no DELIVER. */
static void a_way_that_can_not_be_is_no_report_s(void **state)
{
    (void)state;
    static char much[RECIPIENT_TEXT_MOST + 2];
    memset(much, 'x', sizeof much - 1);
    settings->queue_delay_warning = 100;
    uint64_t now = queue_now();
    struct record_recipient bad[] = {A_WAY, A_WAY, A_WAY, A_WAY, A_WAY};
    bad[0].address = span_of(much);
    bad[1].nexthop = SPAN_LITERAL("two hops");
    bad[2].transport = SPAN_LITERAL("pigeon");
    bad[3].tls = SPAN_LITERAL("perhaps");
    bad[4].mailbox = span_of("");
    bad[4].address = span_of("");
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        parked(1);
    turn_at(now + 120);
    assert_int_equal(asked_count, 5);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        answer_route_with(take_asked(MESSAGE_RCPT), bad[i]);
        turns();
        settled();
    }
    assert_int_equal(asked_count, 0); /* no report goes out; they are tried again later */
    assert_true(queue.reports_wait);
    assert_int_equal(queue.mails.count + park_count(), 5);
}

static void who_wants_no_warning_gets_none(void **state)
{
    (void)state;
    settings->queue_delay_warning = 100;
    uint64_t now = queue_now(), nobody = put_to("", "[192.0.2.1]", 1, 0), never = put_to("a@example.com", "[192.0.2.1]", 1, NOTIFY_NEVER);
    for (int i = 0; i < 2; i++)
        answer_delivery(take_asked(MESSAGE_DELIVER), (uint16_t[]){VERDICT_DEFERRED}, false);
    settled();
    for (int life = 0; life < 2; life++) {
        turn_at(now + 1000 * (uint64_t)life);
        turn_at(now + 1000 * (uint64_t)life);
        assert_true(park_has(nobody) && park_has(never));
        assert_int_equal(asked_count, 0);
        close_queue();
        open_queue();
    }
    settings->queue_delay_warning = 0;
    warning_reconfigure();
    settings->queue_delay_warning = 50;
    uint64_t id = parked(1);
    settings->queue_delay_warning = 500;
    warning_reconfigure();
    turn_at(now + 450);
    assert_true(park_has(id));
    turn_at(now + 520);
    assert_int_equal(asked_count, 1);
}

/* A start parks what it can without a mail in between, whatever memory there is, and schedules it as it was. */
static void a_start_parks(void **state)
{
    (void)state;
    uint64_t one = parked(1), many = parked(3), now = queue_now();
    settings->limit_queue_memory = 1000000;
    close_queue();
    open_queue();
    assert_true(park_has(one));
    assert_false(park_has(many));
    assert_non_null(mail_find(many));
    turns();
    assert_int_equal(asked_count, 0); /* they are not due */
    const struct mail *m = mail_look(one);
    assert_int_equal(m->rcpt[0].attempts, 1);
    assert_true(m->rcpt[0].due > now + 800);
    mail_looked(m);
    settings->limit_queue_memory = 0;
    close_queue();
    open_queue();
    assert_int_equal(park_count(), 2);
    mail_find(many)->deleted = true;
    mail_check(mail_find(many));
    settled();
    deliver_rest(one);
}

static void damage(uint64_t id, off_t at)
{
    char path[SPOOL_PATH];
    spool_path(path, SPOOL_IN_MSG, id);
    int fd = openat(root, path, O_RDWR);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, "damage", 6, at), 6);
    close(fd);
}

static void what_is_damaged_meanwhile_leaves_the_queue(void **state)
{
    (void)state;
    uint64_t a = parked(1), b = parked(1), c = parked(1);
    char path[SPOOL_PATH];
    damage(a, 4);
    damage(b, 64 + 30); /* its envelope */
    spool_path(path, SPOOL_IN_MSG, c);
    assert_int_equal(unlinkat(root, path, 0), 0);
    assert_null(mail_look(a));
    assert_null(mail_find(b));
    assert_int_equal(park_count(), 1);
    hurry_all(queue_now(), &(size_t){0});
    turns();
    assert_int_equal(park_count() + asked_count, 0);
    struct schedule_counts n = schedule_counts(queue.schedule);
    assert_int_equal(n.active + n.ready + n.waiting, 0);
    settled();
    assert_false(spool_has(queue.spool, a) || spool_has(queue.spool, b) || spool_has(queue.spool, c));
}

static ssize_t no_read(int fd, void *to, size_t n, off_t at)
{
    (void)fd, (void)to, (void)n, (void)at;
    errno = EIO;
    return -1;
}

static void what_cannot_be_read_stays(void **state)
{
    (void)state;
    settings->queue_delay_warning = 100;
    uint64_t id = parked(1), now = queue_now();
    broken = disk_real;
    broken.pread = no_read;
    disk = &broken;
    assert_null(mail_find(id));
    assert_true(mail_here(id));
    hurry_all(now, &(size_t){0});
    turn_at(now + 110);
    assert_int_equal(asked_count, 0);
    assert_true(park_has(id));
    assert_int_equal(schedule_counts(queue.schedule).waiting, 1);
    disk = &disk_real;
    turn_at(now + 160);
    assert_int_equal(asked_count, 0);
    turn_at(now + 171); /* the warning comes after all */
    assert_int_equal(asked_count, 1);
    assert_int_equal(asked[0].type, MESSAGE_RCPT);
}

/* In the log as in files. */
static void wait_for_log(void)
{
    close_queue();
    spool_log_size(1 << 20);
    open_queue();
    for (int i = 0; i < PATIENCE && !spool_log_ready(queue.spool); i++)
        turn();
    assert_true(spool_log_ready(queue.spool));
}

static void mail_in_the_log_is_parked_too(void **state)
{
    wait_for_log();
    what_waits_is_parked_and_comes_back_as_it_was(state);
    what_is_not_yet_settled_on_disk_is_not_parked(state);
    a_start_parks(state);
    settings->limit_queue_memory = 0;
    a_delay_is_told_once(state);
}

#define T(name) cmocka_unit_test_setup_teardown(name, fresh, end)

static void restart(void)
{
    close_queue();
    open_queue();
    park_turn(queue_now());
}

/* Said of mail that is parked, read back for it, parked again, read at a start, read back once more. */
static void what_an_administrator_said_stays(void **state)
{
    (void)state;
    for (unsigned count = 1; count <= 2; count++) { /* more than one recipient is not parked at once at a start */
        uint64_t id = parked(count);
        assert_true(mail_hold(mail_find(id)));
        assert_false(mail_hold(mail_find(id)));
        mail_set_priority(mail_find(id), PRIORITY_HIGH);
        settled();
        park_turn(queue_now());
        for (int i = 0; i < 3; i++) {
            assert_true(park_has(id));
            assert_int_equal(schedule_counts(queue.schedule).held, 1);
            hurry_all(queue_now(), &(size_t){0});
            turns();
            assert_int_equal(asked_count, 0);
            const struct mail *m = mail_look(id);
            assert_true(m->held && mail_priority(m) == PRIORITY_HIGH);
            mail_looked(m);
            restart();
        }
        assert_int_equal(mail_find(id)->deliveries->job.priority, 4);
        assert_true(mail_release(mail_find(id)));
        assert_false(mail_release(mail_find(id)));
        mail_set_priority(mail_find(id), PRIORITY_LOW);
        settled();
        restart();
        assert_int_equal(schedule_counts(queue.schedule).held, 0);
        assert_int_equal(mail_find(id)->deliveries->job.priority, -4);
        turns();
        park_turn(queue_now());
        deliver_rest(id);
    }
}

static void held_mail_is_neither_warned_about_nor_too_old(void **state)
{
    (void)state;
    uint64_t id = parked(1), late = queue_now() + 10;
    settings->queue_delay_warning = 1; /* not before: a busy machine may need two seconds for that */
    settings->queue_lifetime = 2;
    mail_hold(mail_find(id));
    settled();
    park_turn(late);
    warning_turn(late);
    turns();
    park_turn(late + 1);
    assert_true(park_has(id));
    assert_int_equal(asked_count, 0); /* no report */
    restart();
    park_turn(late);
    warning_turn(late);
    turns();
    assert_true(mail_find(id)->held);
    assert_int_equal(asked_count, 0);
}

/* As an attempt that was under way comes back deferred, after the end of its life. */
static void an_attempt_s_end_does_not_end_held_mail(void **state)
{
    (void)state;
    settings->queue_lifetime = 0;
    uint64_t id = put(1);
    mail_hold(mail_find(id));
    answer_delivery(take_asked(MESSAGE_DELIVER), (uint16_t[]){VERDICT_DEFERRED}, false);
    turns();
    assert_int_equal(mail_find(id)->rcpt[0].state, RECIPIENT_WAITING);
    assert_int_equal(schedule_counts(queue.schedule).held, 1);
    assert_int_equal(asked_count, 0);
    settled();
}

/* ---- flushing ---------------------------------------------------------------------------------------------------- */

static void answer_resolve(struct asked a, const char *host)
{
    struct buf hosts = BUF_EMPTY(0);
    struct record_host h = {.preference = 10, .name = span_of(host)};
    struct message m = {.type = MESSAGE_RESOLVED, .fd = -1, .resolved = {.verdict = RESOLVE_OK}};
    record_host_add(&hosts, &h);
    m.resolved.hosts = (struct list){.count = 1, .bytes = buf_span(&hosts)};
    a.answer(&m, a.arg);
    buf_free(&hosts);
}

static bool site_is_dead(const char *name)
{
    const struct site *site = schedule_find_site(queue.schedule, span_of(name));
    return site && schedule_site_dead(site);
}

/* The mail of a domain whose site is dead: some READY there, some deferred in the domain's own line. */
static void kill_site(unsigned more)
{
    static const uint16_t deferred[] = {VERDICT_DEFERRED};
    for (unsigned i = 0; i < 8; i++) {
        put_to("alice@example.com", "example.org", 1, 0);
        if (asked_count > 0 && asked[0].type == MESSAGE_RESOLVE)
            answer_resolve(take_asked(MESSAGE_RESOLVE), "MX.example.net");
        turns();
        if (asked_count > 0)
            answer_delivery(take_asked(MESSAGE_DELIVER), deferred, true);
        turns();
    }
    for (; more > 0; more--)
        put_to("alice@example.com", "example.org", 1, 0);
    assert_true(site_is_dead("smtp:mx.example.net may"));
    assert_int_equal(asked_count, 0);
}

static void a_flush_of_a_domain_is_of_its_line_and_of_its_hosts(void **state)
{
    (void)state;
    static const char *const names[] = {"example.org", "mx.example.net", "EXAMPLE.net", "smtp:mx.example.net may", "dns:example.org"};
    size_t sites;
    kill_site(2);
    site_forget_all(); /* a reload, or a long time */
    assert_true(site_is(SPAN_LITERAL("dns:example.org"), SPAN_LITERAL("Example.ORG")));
    assert_false(site_is(SPAN_LITERAL("smtp:mx.example.net may"), SPAN_LITERAL("example.org"))); /* nobody knows */
    assert_int_equal(site_flush(SPAN_LITERAL("example.org"), &sites), schedule_counts(queue.schedule).waiting);
    assert_int_equal(sites, 1);
    assert_true(site_is_dead("smtp:mx.example.net may"));
    answer_resolve(take_asked(MESSAGE_RESOLVE), "mx.example.net"); /* the flush's own question */
    turns();
    answer_delivery(take_asked(MESSAGE_DELIVER), (uint16_t[]){VERDICT_RELAYED}, false); /* the probe, at once */
    assert_false(site_is_dead("smtp:mx.example.net may"));
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) { /* known now: all of them mean both */
        assert_true(site_is(SPAN_LITERAL("dns:example.org"), span_of(names[i])) || i == 3);
        assert_true(site_is(SPAN_LITERAL("smtp:mx.example.net may"), span_of(names[i])) || i == 4);
    }
    assert_false(site_is(SPAN_LITERAL("dns:example.com"), SPAN_LITERAL("example.org")));
    assert_false(site_is(SPAN_LITERAL("smtp:mx.example.com may"), SPAN_LITERAL("example.org")));
    assert_false(site_is(SPAN_LITERAL("smtp:mx.example.com may"), SPAN_LITERAL("mx")));
    for (int i = 0; i < 100 && park_count() + queue.mails.count > 0; i++) {
        turns();
        while (asked_count > 0)
            answer_delivery(take_asked(MESSAGE_DELIVER), (uint16_t[]){VERDICT_RELAYED}, false);
    }
    assert_int_equal(park_count() + queue.mails.count, 0);
    settled();
}

static void a_site_is_meant_without_the_last_words_of_its_name(void **state)
{
    (void)state;
    static const struct span host = SPAN_LITERAL("smtp:[localhost]:3599 verify route *"),
                             sockets = SPAN_LITERAL("lmtp:unix:/run/lmtp none");
    static const char *const means[] = {"smtp:[localhost]:3599 verify route *",
                                        "smtp:[localhost]:3599 verify",
                                        "smtp:[LOCALHOST]:3599",
                                        "[localhost]:3599",
                                        "localhost:3599",
                                        "localhost"};
    static const char *const others[] = {"smtp:[localhost]",     "[localhost]", "localhost:359", "localhost:35999", "smtp:", ":3599",
                                         "lmtp:[localhost]:3599"};
    for (size_t i = 0; i < sizeof means / sizeof means[0]; i++)
        assert_true(site_is(host, span_of(means[i])));
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        assert_false(site_is(host, span_of(others[i])));
    assert_true(site_is(sockets, SPAN_LITERAL("lmtp:unix:/run/lmtp")) && site_is(sockets, SPAN_LITERAL("unix:/run/lmtp")));
    assert_false(site_is(sockets, SPAN_LITERAL("lmtp:unix:/run")));
}

static void a_flush_of_nothing_says_so(void **state)
{
    (void)state;
    size_t sites = 9;
    put(1);
    assert_int_equal(site_flush(SPAN_LITERAL("nowhere.example"), &sites), 0);
    assert_int_equal(sites, 0);
    answer_delivery(take_asked(MESSAGE_DELIVER), (uint16_t[]){VERDICT_RELAYED}, false);
    settled();
}

/* ---- orders outlive what the spool does with a message ------------------------------------------------------------ */

static bool in_file(uint64_t id)
{
    char path[SPOOL_PATH];
    spool_path(path, SPOOL_IN_MSG, id);
    return faccessat(root, path, F_OK, 0) == 0;
}

static void forget_asked(void)
{
    while (asked_count)
        take_asked(MESSAGE_DELIVER);
}

static void with_log(void)
{
    close_queue();
    spool_log_size(65536);
    open_queue();
    for (int i = 0; i < PATIENCE && !spool_log_ready(queue.spool); i++)
        turn();
    assert_true(spool_log_ready(queue.spool));
    for (int i = 0; i < 5; i++) /* all that the site takes: what comes behind waits */
        put_to("alice@example.com", "[192.0.2.1]", 1, 0);
    assert_int_equal(asked_count, 5);
}

/* Other mail comes and goes until reclaim has moved it out of the log. */
static void move_to_file(uint64_t id)
{
    assert_false(in_file(id));
    for (int i = 0; i < 300 && !in_file(id); i++) {
        put_to("alice@example.com", "[192.0.2.2]", 1, 0);
        struct asked a = asked[asked_count - 1];
        asked_count--;
        answer_delivery(a, (uint16_t[]){VERDICT_RELAYED}, false);
        settled();
    }
    assert_true(in_file(id));
    for (int i = 0; i < 20; i++)
        turn();
}

static void start_anew(void)
{
    forget_asked();
    close_queue();
    open_queue();
    turns();
}

static void a_hold_outlives_the_move_to_a_file(void **state)
{
    (void)state;
    with_log();
    uint64_t id = put_to("alice@example.com", "[192.0.2.1]", 1, 0);
    assert_true(mail_hold(mail_find(id)));
    settled();
    move_to_file(id);
    park_turn(queue_now());
    assert_true(mail_find(id)->held);
    start_anew();
    assert_true(mail_find(id)->held);
    forget_asked();
}

static void a_release_and_a_priority_outlive_the_move_to_a_file(void **state)
{
    (void)state;
    with_log();
    put_flags = ENVELOPE_HOLD;
    uint64_t id = put_to("alice@example.com", "[192.0.2.1]", 1, 0);
    put_flags = 0;
    assert_true(mail_find(id)->held);
    assert_true(mail_release(mail_find(id)));
    mail_set_priority(mail_find(id), PRIORITY_HIGH);
    settled();
    move_to_file(id);
    start_anew();
    assert_false(mail_find(id)->held);
    assert_int_equal(mail_find(id)->priority, PRIORITY_HIGH);
    forget_asked();
}

static void a_release_counts_though_a_report_is_owed(void **state)
{
    (void)state;
    uint64_t id = put_to("alice@example.com", "[192.0.2.1]", 2, NOTIFY_SUCCESS);
    struct asked a = take_asked(MESSAGE_DELIVER);
    assert_int_equal(a.recipients, 2);
    mail_hold(mail_find(id));
    answer_delivery(a, (uint16_t[]){VERDICT_RELAYED, VERDICT_DEFERRED}, false);
    settled();
    assert_true(mail_release(mail_find(id)));
    settled();
    close_queue(); /* route gives no answer */
    open_queue();
    assert_false(mail_find(id)->held);
}

static void a_retry_of_all_leaves_what_is_held(void **state)
{
    (void)state;
    size_t held;
    uint64_t id = parked(1);
    mail_hold(mail_find(id));
    settled();
    park_turn(queue_now());
    assert_true(park_has(id));
    assert_int_equal(hurry_all(queue_now(), &held), 0);
    assert_int_equal(held, 1);
}

/* ---- another way ------------------------------------------------------------------------------------------------- */

static struct reroute_result rerouted;

static void on_rerouted(uint64_t id, const struct reroute_result *r, void *arg)
{
    (void)id, (void)arg;
    rerouted = *r;
}

static void say_way(unsigned code, const char *address, const char *nexthop)
{
    struct buf ways = BUF_EMPTY(0);
    struct asked a = take_asked(MESSAGE_RCPT);
    struct message m = {.type = MESSAGE_ROUTED, .fd = -1, .routed = {.code = (uint16_t)code, .reply = SPAN_LITERAL("Relay access denied")}};
    struct record_recipient r = {
        .address = span_of(address), .transport = SPAN_LITERAL("smtp"), .nexthop = span_of(nexthop), .tls = SPAN_LITERAL("verify")};
    record_recipient_add(&ways, &r);
    m.routed.recipients = (struct list){.count = code == 250, .bytes = buf_span(&ways)};
    a.answer(&m, a.arg);
    buf_free(&ways);
}

static void assert_way(uint64_t id, uint32_t index, const char *nexthop)
{
    struct record_recipient r;
    const struct mail *m = mail_look(id);
    assert_non_null(m);
    mail_recipient(m, index, &r);
    assert_true(span_equal(r.nexthop, span_of(nexthop)));
    mail_looked(m);
}

static bool start(uint64_t id)
{
    const struct mail *m = mail_look(id);
    bool any = reroute_start(m, on_rerouted, NULL);
    mail_looked(m);
    return any;
}

static void a_new_way_outlives_the_move_to_a_file(void **state)
{
    (void)state;
    with_log();
    uint64_t id = put_to("alice@example.com", "[192.0.2.1]", 2, 0);
    mail_hold(mail_find(id));
    forget_asked();
    assert_true(start(id));
    say_way(250, "R0@example.org", "[192.0.2.3]");
    say_way(250, "r1@example.org", "[192.0.2.4]");
    assert_int_equal(rerouted.moved, 2);
    assert_int_equal(asked_count, 0); /* it is still held */
    settled();
    move_to_file(id);
    start_anew();
    assert_way(id, 0, "[192.0.2.3]");
    assert_way(id, 1, "[192.0.2.4]");
    assert_true(mail_find(id)->held);
    mail_set_priority(mail_find(id), PRIORITY_HIGH); /* settles it once more */
    settled();
    start_anew();
    assert_way(id, 1, "[192.0.2.4]");
}

static void what_is_parked_goes_the_new_way_after_a_start(void **state)
{
    (void)state;
    uint64_t id = parked(1);
    assert_true(start(id));
    assert_true(park_has(id));
    say_way(250, "r0@example.org", "[192.0.2.3]");
    turns(); /* it is due now */
    answer_delivery(take_asked(MESSAGE_DELIVER), (uint16_t[]){VERDICT_DEFERRED}, false);
    settled();
    start_anew();
    assert_true(park_has(id));
    assert_non_null(schedule_find_site(queue.schedule, SPAN_LITERAL("smtp:[192.0.2.3] verify")));
    assert_way(id, 0, "[192.0.2.3]");
    deliver_rest(id);
}

static void who_has_no_other_way_stays(void **state)
{
    (void)state;
    uint64_t id = parked(3);
    assert_true(start(id));
    say_way(554, "r0@example.org", "[192.0.2.3]");
    say_way(250, "another@example.org", "[192.0.2.3]"); /* an alias */
    struct asked a = take_asked(MESSAGE_RCPT);
    a.answer(NULL, a.arg);
    assert_true(rerouted.moved == 0 && rerouted.stayed == 3);
    assert_true(park_has(id));
    deliver_rest(id);
}

static void what_is_being_delivered_is_not_touched(void **state)
{
    (void)state;
    uint64_t id = put(2);
    struct asked a = take_asked(MESSAGE_DELIVER);
    assert_false(start(id));
    answer_delivery(a, (uint16_t[]){VERDICT_DEFERRED, VERDICT_DEFERRED}, false);
    settled();
    assert_true(start(id));
    say_way(250, "r0@example.org", "[192.0.2.3]");
    hurry_all(queue_now(), &(size_t){0});
    if (mail_find(id)->deliveries)
        delivery_hurry(mail_find(id)->deliveries, queue_now());
    turns(); /* granted while route is asked */
    assert_int_equal(asked_count, 2);
    struct asked swap = asked[0];
    asked[0] = asked[1];
    asked[1] = swap;
    a = take_asked(MESSAGE_DELIVER);
    say_way(250, "r1@example.org", "[192.0.2.3]");
    assert_true(rerouted.moved == 0 && rerouted.stayed == 2);
    assert_way(id, 1, "[192.0.2.1]");
    answer_delivery(a, (uint16_t[]){VERDICT_RELAYED, VERDICT_RELAYED}, false);
    settled();
    assert_false(spool_has(queue.spool, id));
}

static void what_is_gone_meanwhile_is_gone(void **state)
{
    (void)state;
    uint64_t id = parked(1);
    assert_true(start(id));
    hurry_all(queue_now(), &(size_t){0});
    turns();
    struct asked swap = asked[0];
    asked[0] = asked[1];
    asked[1] = swap;
    answer_delivery(take_asked(MESSAGE_DELIVER), (uint16_t[]){VERDICT_RELAYED}, false);
    settled();
    say_way(250, "r0@example.org", "[192.0.2.3]");
    assert_int_equal(rerouted.moved, 0);
    assert_int_equal(asked_count + queue.mails.count + park_count(), 0);
}

int main(void)
{
    log_open("test", dup(STDERR_FILENO), LOG_TO_STDERR, LOG_LEVEL_ERROR);
    const struct CMUnitTest tests[] = {
        T(what_waits_is_parked_and_comes_back_as_it_was),
        T(what_is_not_yet_settled_on_disk_is_not_parked),
        T(nothing_is_parked_while_there_is_memory),
        T(mail_behind_a_dead_site_is_parked_with_its_body),
        T(what_is_too_old_behind_a_dead_site_goes_back),
        T(a_delay_is_told_once),
        T(a_way_that_can_not_be_is_no_report_s),
        T(who_wants_no_warning_gets_none),
        T(a_start_parks),
        T(what_is_damaged_meanwhile_leaves_the_queue),
        T(what_cannot_be_read_stays),
        T(mail_in_the_log_is_parked_too),
        T(what_an_administrator_said_stays),
        T(held_mail_is_neither_warned_about_nor_too_old),
        T(an_attempt_s_end_does_not_end_held_mail),
        T(a_flush_of_a_domain_is_of_its_line_and_of_its_hosts),
        T(a_site_is_meant_without_the_last_words_of_its_name),
        T(a_flush_of_nothing_says_so),
        T(a_hold_outlives_the_move_to_a_file),
        T(a_release_and_a_priority_outlive_the_move_to_a_file),
        T(a_release_counts_though_a_report_is_owed),
        T(a_retry_of_all_leaves_what_is_held),
        T(a_new_way_outlives_the_move_to_a_file),
        T(what_is_parked_goes_the_new_way_after_a_start),
        T(who_has_no_other_way_stays),
        T(what_is_being_delivered_is_not_touched),
        T(what_is_gone_meanwhile_is_gone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
