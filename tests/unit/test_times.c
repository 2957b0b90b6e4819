/* What senders ask about when, and how soon: RFC 4865, 2852, 6710. The queue, its schedule and its spool are the real ones; the programs around them
 * are this test, and the clock goes as it says. */
#include "common/peer.h"
#include "qmgr/queue.h"
#include "tests/unit/fake_clock.h"

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
    struct message_deliver deliver; /* its numbers */
    uint32_t recipients;
    char sender[64], name[64], body[4096];
} asked[ASKED_MOST];
static size_t asked_count;

uint32_t peer_ask(struct peer *peer, const struct message *m, peer_answer_fn *answer, void *arg)
{
    (void)peer;
    assert_true(asked_count < ASKED_MOST);
    struct asked *a = &asked[asked_count++];
    *a = (struct asked){.type = (uint16_t)m->type, .answer = answer, .arg = arg};
    if (m->type == MESSAGE_RESOLVE)
        snprintf(a->name, sizeof a->name, "%.*s", SPAN_ARG(m->resolve.name));
    if (m->type == MESSAGE_DELIVER) {
        a->id = m->deliver.id;
        a->deliver = m->deliver;
        a->recipients = m->deliver.recipients.count;
        snprintf(a->sender, sizeof a->sender, "%.*s", SPAN_ARG(m->deliver.sender));
        snprintf(a->body, sizeof a->body, "%.*s", SPAN_ARG(m->deliver.body));
    }
    return (uint32_t)asked_count;
}

void peer_cancel(struct peer *peer, uint32_t id)
{
    (void)peer, (void)id;
}

static struct asked take_asked_at(uint16_t type, int line)
{
    if (asked_count == 0 || asked[0].type != type)
        fail_msg("line %d: %s was asked, and not %s", line, asked_count ? message_name(asked[0].type) : "nothing", message_name(type));
    struct asked a = asked[0];
    asked_count--;
    memmove(asked, asked + 1, asked_count * sizeof *asked);
    return a;
}

#define take_asked(type) take_asked_at(type, __LINE__)

static void answer_own(struct asked a, uint16_t verdict, bool site_failed, enum own_failure own)
{
    struct buf outcomes = BUF_EMPTY(0);
    struct message m = {.type = MESSAGE_RESULT, .fd = -1, .result = {.site_failed = site_failed, .own = own}};
    bool deferred = verdict == VERDICT_DEFERRED;
    for (uint32_t i = 0; i < a.recipients; i++) {
        struct record_outcome o = {.index = (uint16_t)i,
                                   .verdict = verdict,
                                   .status = deferred ? SPAN_LITERAL("4.2.1") : SPAN_LITERAL("2.0.0"),
                                   .reply = deferred ? SPAN_LITERAL("450 come again") : SPAN_LITERAL("250 taken")};
        record_outcome_add(&outcomes, &o);
    }
    m.result.outcomes = (struct list){.count = a.recipients, .bytes = buf_span(&outcomes)};
    a.answer(&m, a.arg);
    buf_free(&outcomes);
}

static void answer_delivery(struct asked a, uint16_t verdict, bool site_failed)
{
    answer_own(a, verdict, site_failed, OWN_NONE);
}

static void answer_route(struct asked a)
{
    struct buf list = BUF_EMPTY(0);
    struct record_recipient r = {.address = SPAN_LITERAL("alice@example.com"),
                                 .transport = SPAN_LITERAL("smtp"),
                                 .nexthop = SPAN_LITERAL("[192.0.2.9]"),
                                 .tls = SPAN_LITERAL("may")};
    record_recipient_add(&list, &r);
    struct message m = {.type = MESSAGE_ROUTED, .fd = -1, .routed = {.code = 250, .recipients = {.count = 1, .bytes = buf_span(&list)}}};
    a.answer(&m, a.arg);
    buf_free(&list);
}

/* ---- the queue --------------------------------------------------------------------------------------------------- */

static char root_path[64];
static int root = -1;
static struct settings *settings;
static uint64_t last;

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

static void close_queue(void)
{
    uint64_t ids[64];
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
    park_turn(queue_now());
    warning_turn(queue_now());
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

static void settled(void)
{
    for (int i = 0; i < PATIENCE && !spool_idle(queue.spool); i++) {
        spool_settle_now(queue.spool);
        turn();
    }
    assert_true(spool_idle(queue.spool));
}

static void pass(double seconds)
{
    clock_pass(seconds);
    turns();
}

static void kill_queue(void)
{
    settled();
    close_queue();
    open_queue();
    turns();
}

static void stored(int status, void *arg)
{
    *(int *)arg = status;
}

static const char *nexthop = "[192.0.2.1]";

static uint64_t put(struct spool_times times, unsigned count, uint16_t notify, uint16_t flags)
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
    struct spool_envelope e = {.id = last = queue_lease(1),
                               .arrived = queue_now_us(),
                               .flow = SPAN_LITERAL("flow"),
                               .flags = flags,
                               .times = times,
                               .sender = SPAN_LITERAL("alice@example.com"),
                               .recipients = {.count = count, .bytes = buf_span(&recipients)}};
    queue_put(&e, SPAN_LITERAL("Subject: x\r\n\r\nbody\r\n"), 20, stored, &status);
    buf_free(&recipients);
    for (int i = 0; i < PATIENCE && status < 0; i++)
        turn();
    assert_int_equal(status, 0);
    turns();
    return e.id;
}

static uint32_t in(int seconds)
{
    return (uint32_t)((int64_t)queue_now() + seconds);
}

/* The report that is on its way to the sender. */
static struct asked report_at(int line)
{
    turns();
    answer_route(take_asked_at(MESSAGE_RCPT, line));
    settled();
    turns();
    struct asked a = take_asked_at(MESSAGE_DELIVER, line);
    assert_string_equal(a.sender, "");
    return a;
}

#define report() report_at(__LINE__)

static void has(const struct asked *a, const char *text)
{
    if (!strstr(a->body, text))
        fail_msg("no \"%s\" in:\n%s", text, a->body);
}

static int fresh(void **state)
{
    (void)state;
    const char *tmp = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp"; /* thousands of flushes */
    snprintf(root_path, sizeof root_path, "%s/postino-times-XXXXXX", tmp);
    assert_non_null(mkdtemp(root_path));
    root = open(root_path, O_RDONLY | O_DIRECTORY);
    assert_true(root >= 0);
    settings = settings_new();
    assert_non_null(settings);
    settings->limit_queue_memory = 0;
    settings->queue_retry_first = settings->queue_retry_most = 1000;
    nexthop = "[192.0.2.1]";
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

/* ---- RFC 4865 ---------------------------------------------------------------------------------------------------- */

static void mail_is_released_at_its_time_also_after_a_restart_and_once(void **state)
{
    (void)state;
    uint64_t id = put((struct spool_times){.release = in(600)}, 2, 0, 0);
    settled();
    turns();
    assert_true(park_has(id));
    kill_queue();
    pass(590);
    assert_int_equal(asked_count, 0);
    const struct mail *m = mail_look(id);
    assert_true(m->rcpt[0].due == m->times.release);
    mail_looked(m);
    kill_queue();
    pass(15);
    struct asked a = take_asked(MESSAGE_DELIVER);
    assert_int_equal(a.recipients, 2);
    assert_int_equal(asked_count, 0);
    answer_delivery(a, VERDICT_RELAYED, false);
    settled();
    assert_false(spool_has(queue.spool, id));
}

static void what_was_due_while_nobody_looked_goes_at_once(void **state)
{
    (void)state;
    put((struct spool_times){.release = in(60)}, 1, 0, 0);
    settled();
    close_queue();
    clock_pass(1000);
    open_queue();
    pass(1);
    take_asked(MESSAGE_DELIVER);
}

static void neither_a_retry_nor_a_flush_nor_an_order_is_earlier(void **state)
{
    (void)state;
    size_t sites;
    settings->limit_queue_memory = 1 << 20;
    uint64_t id = put((struct spool_times){.release = in(600)}, 1, 0, 0);
    site_flush(SPAN_LITERAL("192.0.2.1"), &sites);
    site_flush(SPAN_LITERAL("release"), &sites);
    turns();
    assert_int_equal(asked_count, 0);
    settings->limit_queue_memory = 0;
    settled();
    turns();
    assert_true(park_has(id));
    assert_false(park_hurry(id, queue_now()));
    mail_hold(mail_find(id));
    kill_queue();
    mail_set_priority(mail_find(id), PRIORITY_HIGH);
    mail_release(mail_find(id));
    kill_queue();
    turns();
    assert_int_equal(asked_count, 0);
    pass(601);
    take_asked(MESSAGE_DELIVER);
}

static void its_life_and_its_warning_begin_with_its_release(void **state)
{
    (void)state;
    settings->queue_lifetime = 5000;
    settings->queue_delay_warning = 500;
    uint64_t id = put((struct spool_times){.release = in(100000)}, 1, 0, 0);
    pass(50000);
    kill_queue();
    pass(50001);
    answer_delivery(take_asked(MESSAGE_DELIVER), VERDICT_DEFERRED, false);
    settled();
    pass(480);
    assert_int_equal(asked_count, 0);
    pass(30);
    struct asked r = report();
    has(&r, "Action: delayed");
    has(&r, "Future-Release-Request: until;");
    answer_delivery(r, VERDICT_RELAYED, false);
    settled();
    pass(5000);
    answer_delivery(take_asked(MESSAGE_DELIVER), VERDICT_DEFERRED, false);
    r = report();
    has(&r, "Status: 4.4.7");
    assert_false(mail_here(id));
}

/* ---- RFC 2852 ---------------------------------------------------------------------------------------------------- */

static void at_the_deadline_mail_goes_back_wherever_it_waits(void **state)
{
    (void)state;
    for (int way = 0; way < 3; way++) { /* for a retry; the same, parked, after a restart; behind a dead site */
        settings->limit_queue_memory = way == 0 ? 1 << 20 : 0;
        uint64_t id = put((struct spool_times){.deliver_by = in(300), .by_mode = BY_RETURN}, 2, 0, 0);
        struct asked a = take_asked(MESSAGE_DELIVER);
        assert_int_equal(a.deliver.by_mode, BY_RETURN);
        answer_delivery(a, VERDICT_DEFERRED, way == 2);
        settled();
        if (way == 1) {
            turns();
            assert_true(park_has(id));
            kill_queue();
            assert_true(park_has(id) || mail_here(id));
        }
        pass(290);
        while (asked_count) /* the last attempt in time, and probes */
            answer_delivery(take_asked(MESSAGE_DELIVER), VERDICT_DEFERRED, way == 2);
        settled();
        pass(15);
        struct asked r = report();
        has(&r, "Action: failed\r\nStatus: 5.4.7\r\n");
        has(&r, "Deliver-By-Date: ");
        has(&r, "450 come again");
        answer_delivery(r, VERDICT_RELAYED, false);
        settled();
        assert_false(spool_has(queue.spool, id));
        pass(2000);
        assert_int_equal(asked_count, 0);
    }
}

static void what_is_under_way_at_the_deadline_may_still_arrive(void **state)
{
    (void)state;
    put((struct spool_times){.deliver_by = in(100), .by_mode = BY_RETURN}, 1, 0, 0);
    struct asked a = take_asked(MESSAGE_DELIVER);
    pass(200);
    assert_int_equal(asked_count, 0);
    answer_delivery(a, VERDICT_RELAYED, false);
    settled();
    assert_int_equal(queue.mails.count + park_count() + asked_count, 0);
    put((struct spool_times){.deliver_by = in(100), .by_mode = BY_RETURN}, 1, 0, 0);
    a = take_asked(MESSAGE_DELIVER);
    pass(200);
    answer_delivery(a, VERDICT_DEFERRED, false);
    turns();
    struct asked r = report();
    has(&r, "Status: 5.4.7");
}

static void nothing_is_begun_behind_the_deadline(void **state)
{
    (void)state;
    nexthop = "example.org";
    put((struct spool_times){.deliver_by = in(100), .by_mode = BY_RETURN}, 1, 0, 0);
    struct asked dns = take_asked(MESSAGE_RESOLVE);
    pass(200);
    struct buf hosts = BUF_EMPTY(0);
    struct record_host h = {.preference = 1, .name = SPAN_LITERAL("mx.example.org")};
    record_host_add(&hosts, &h);
    struct message m = {.type = MESSAGE_RESOLVED, .fd = -1, .resolved = {.verdict = RESOLVE_OK, .hosts = {1, buf_span(&hosts)}}};
    dns.answer(&m, dns.arg);
    buf_free(&hosts);
    turns();
    struct asked r = report();
    has(&r, "Status: 5.4.7");
    has(&r, "it could not be tried yet");
}

static void held_mail_goes_back_when_it_is_released(void **state)
{
    (void)state;
    uint64_t id = put((struct spool_times){.deliver_by = in(100), .by_mode = BY_RETURN}, 1, 0, ENVELOPE_HOLD);
    pass(200);
    assert_int_equal(asked_count, 0);
    mail_release(mail_find(id));
    turns();
    struct asked r = report();
    has(&r, "Status: 5.4.7");
}

/* Once, at the deadline and not at the usual time; and it is tried on. */
static void a_sender_who_wants_to_know_is_told_at_the_deadline(void **state)
{
    (void)state;
    settings->queue_delay_warning = 50;
    uint64_t id = put((struct spool_times){.deliver_by = in(300), .by_mode = BY_NOTIFY}, 1, 0, 0);
    answer_delivery(take_asked(MESSAGE_DELIVER), VERDICT_DEFERRED, false);
    settled();
    pass(100);
    kill_queue();
    pass(180);
    assert_int_equal(asked_count, 0);
    pass(25);
    struct asked r = report();
    has(&r, "Action: delayed\r\nStatus: 4.4.7\r\n");
    has(&r, "Deliver-By-Date: ");
    answer_delivery(r, VERDICT_RELAYED, false);
    settled();
    kill_queue();
    pass(2000);
    struct asked a = take_asked(MESSAGE_DELIVER);
    assert_true(a.id == id && a.deliver.by_mode == BY_NOTIFY);
    assert_int_equal(asked_count, 0);
}

/* Who comes with a deadline that is past was told of it elsewhere; he is warned as others are. */
static void a_deadline_that_had_passed_when_it_came_is_not_told_again(void **state)
{
    (void)state;
    settings->queue_delay_warning = 5000;
    put((struct spool_times){.deliver_by = in(-10), .by_mode = BY_NOTIFY}, 1, 0, 0);
    answer_delivery(take_asked(MESSAGE_DELIVER), VERDICT_DEFERRED, false);
    settled();
    pass(900);
    assert_int_equal(asked_count, 0);
}

static void who_wants_no_report_gets_none(void **state)
{
    (void)state;
    put((struct spool_times){.deliver_by = in(100), .by_mode = BY_NOTIFY}, 1, NOTIFY_FAILURE, 0);
    answer_delivery(take_asked(MESSAGE_DELIVER), VERDICT_DEFERRED, false);
    put((struct spool_times){.deliver_by = in(100), .by_mode = BY_RETURN}, 1, NOTIFY_NEVER, 0);
    answer_delivery(take_asked(MESSAGE_DELIVER), VERDICT_DEFERRED, false);
    put((struct spool_times){.deliver_by = in(100), .by_mode = BY_RETURN | BY_TRACE}, 1, NOTIFY_NEVER, 0);
    answer_delivery(take_asked(MESSAGE_DELIVER), VERDICT_TRACED, false);
    settled();
    pass(200);
    assert_int_equal(asked_count, 0);
    assert_int_equal(queue.mails.count + park_count(), 1);
}

static void a_trace_is_told_also_after_a_crash(void **state)
{
    (void)state;
    uint64_t id = put((struct spool_times){.deliver_by = in(100), .by_mode = BY_NOTIFY | BY_TRACE}, 1, 0, 0);
    answer_delivery(take_asked(MESSAGE_DELIVER), VERDICT_TRACED, false);
    settled();
    close_queue();
    open_queue();
    turns();
    struct asked r = report();
    has(&r, "Action: relayed\r\nStatus: 2.");
    answer_delivery(r, VERDICT_RELAYED, false);
    settled();
    assert_false(spool_has(queue.spool, id));
}

/* ---- RFC 6710 ---------------------------------------------------------------------------------------------------- */

static int8_t class_of(uint64_t id)
{
    return mail_find(id)->deliveries->job.priority;
}

static void an_administrator_s_word_then_the_sender_s_then_the_listener_s(void **state)
{
    (void)state;
    settings->limit_queue_memory = 1 << 20;
    uint64_t listener = put((struct spool_times){0}, 1, 0, ENVELOPE_HIGH),
             sender = put((struct spool_times){.mt_priority = 8}, 1, 0, ENVELOPE_HIGH),
             zero = put((struct spool_times){.mt_priority = MT_PRIORITY_ZERO}, 1, 0, ENVELOPE_LOW),
             plain = put((struct spool_times){0}, 1, 0, 0);
    assert_int_equal(class_of(listener), 4);
    assert_int_equal(class_of(sender), -2);
    assert_int_equal(class_of(zero), 0);
    assert_int_equal(class_of(plain), 0);
    assert_int_equal(mail_priority(mail_find(sender)), PRIORITY_LOW);
    mail_set_priority(mail_find(sender), PRIORITY_HIGH);
    assert_int_equal(class_of(sender), 4);
    assert_int_equal(mail_priority(mail_find(sender)), PRIORITY_HIGH);
    settled();
    settings->limit_queue_memory = 0;
    asked_count = 0;
    kill_queue();
    asked_count = 0;
    assert_int_equal(class_of(sender), 4);
    assert_int_equal(class_of(zero), 0);
    assert_int_equal(mail_find(zero)->times.mt_priority, MT_PRIORITY_ZERO);
}

/* Of one flow and class the higher numbers go first; flows share regardless of them. */
static void a_number_orders_the_mail_of_its_flow(void **state)
{
    (void)state;
    static const uint8_t given[] = {11, 12, 11, 19, 12, 15};
    static const uint8_t order[] = {19, 15, 12, 12, 11, 11};
    settings->limit_queue_memory = 1 << 20;
    uint64_t hold[6];
    for (size_t i = 0; i < 6; i++)
        hold[i] = put((struct spool_times){.mt_priority = given[i]}, 1, 0, ENVELOPE_HOLD);
    settings->queue_site_sessions = 1;
    site_limited(SPAN_LITERAL("smtp:[192.0.2.1] may"));
    for (size_t i = 0; i < 6; i++)
        mail_release(mail_find(hold[i]));
    for (size_t i = 0; i < 6; i++) {
        turns();
        struct asked a = take_asked(MESSAGE_DELIVER);
        assert_int_equal(a.deliver.mt_priority, order[i]);
        answer_delivery(a, VERDICT_RELAYED, false);
    }
}

/* ---- RFC 1985 ---------------------------------------------------------------------------------------------------- */

static void deferred_at(const char *hop)
{
    nexthop = hop;
    put((struct spool_times){0}, 1, 0, 0);
    if (hop[0] == '[') {
        answer_delivery(take_asked(MESSAGE_DELIVER), VERDICT_DEFERRED, false);
    } else {
        struct asked dns = take_asked(MESSAGE_RESOLVE);
        struct message m = {.type = MESSAGE_RESOLVED, .fd = -1, .resolved = {.verdict = RESOLVE_DEFERRED, .status = SPAN_LITERAL("4.4.3")}};
        dns.answer(&m, dns.arg);
    }
    settled();
}

static void route_to(const char *domain, const char *via)
{
    struct settings_route *r = settings_append(settings, SETTINGS_ROUTES, span_of(domain));
    assert_non_null(r);
    free(r->via);
    r->via = strdup(via);
}

static void etrn_makes_mail_due_and_not_twice_at_once(void **state)
{
    (void)state;
    size_t count;
    settings->queue_etrn_wait = 300;
    route_to("backup.example", "smtp:[192.0.2.1]");
    route_to("other.example", "smtp:[192.0.2.1]");
    deferred_at("[192.0.2.1]");
    deferred_at("[192.0.2.1]");
    deferred_at("[192.0.2.2]");
    assert_int_equal(etrn_flush(SPAN_LITERAL("nothing.example"), false, &count), FLUSH_DONE);
    assert_int_equal(count, 0);
    assert_int_equal(etrn_flush(SPAN_LITERAL("Backup.Example"), false, &count), FLUSH_DONE);
    assert_int_equal(count, 2);
    turns();
    for (int i = 0; i < 2; i++)
        answer_delivery(take_asked(MESSAGE_DELIVER), VERDICT_DEFERRED, false);
    assert_int_equal(asked_count, 0);
    settled();
    assert_int_equal(etrn_flush(SPAN_LITERAL("backup.example"), false, &count), FLUSH_TOO_SOON);
    assert_int_equal(etrn_flush(SPAN_LITERAL("other.example"), false, &count), FLUSH_DONE); /* another name of the same site */
    assert_int_equal(count, 0);
    turns();
    assert_int_equal(asked_count, 0);
    pass(301);
    assert_int_equal(etrn_flush(SPAN_LITERAL("backup.example"), false, &count), FLUSH_DONE);
    assert_int_equal(count, 2);
    asked_count = 0;
}

static void made_up_names_leave_room_for_others(void **state)
{
    (void)state;
    size_t count;
    char name[64];
    pass(1000);
    for (int i = 0; i < 100000; i++) {
        snprintf(name, sizeof name, "no%d.such.example", i);
        assert_int_equal(etrn_flush(span_of(name), false, &count), FLUSH_DONE);
    }
    route_to("backup.example", "smtp:[192.0.2.1]");
    deferred_at("[192.0.2.1]");
    assert_int_equal(etrn_flush(SPAN_LITERAL("backup.example"), false, &count), FLUSH_DONE);
    assert_int_equal(count, 1);
    assert_int_equal(etrn_flush(SPAN_LITERAL("backup.example"), false, &count), FLUSH_TOO_SOON);
    turns();
    asked_count = 0;
}

static void etrn_of_all_below_a_domain(void **state)
{
    (void)state;
    size_t count;
    pass(1000); /* after what the test before has asked for */
    deferred_at("one.many.example");
    deferred_at("two.many.example");
    deferred_at("many.example");
    deferred_at("other.example");
    put((struct spool_times){.release = in(5000)}, 1, 0, 0);
    assert_int_equal(etrn_flush(SPAN_LITERAL("many.example"), true, &count), FLUSH_DONE);
    assert_int_equal(count, 3);
    turns();
    char names[256] = "";
    for (size_t i = 0; i < asked_count; i++) {
        assert_int_equal(asked[i].type, MESSAGE_RESOLVE);
        assert_null(strstr(asked[i].name, "other"));
        strncat(names, asked[i].name, 60);
    }
    assert_non_null(strstr(names, "one.many.example"));
    assert_non_null(strstr(names, "two.many.example"));
    while (asked_count) { /* dns never answers */
        struct asked a = take_asked(MESSAGE_RESOLVE);
        a.answer(NULL, a.arg);
    }
}

static void etrn_gives_a_dead_site_a_probe(void **state)
{
    (void)state;
    size_t count;
    pass(1000);
    route_to("away.example", "smtp:[192.0.2.7]");
    nexthop = "[192.0.2.7]";
    for (int i = 0; i < 8; i++)
        put((struct spool_times){0}, 1, 0, 0);
    while (asked_count)
        answer_delivery(take_asked(MESSAGE_DELIVER), VERDICT_DEFERRED, true);
    turns();
    assert_int_equal(asked_count, 0);
    assert_int_equal(etrn_flush(SPAN_LITERAL("away.example"), false, &count), FLUSH_DONE);
    assert_int_equal(count, 8);
    turns();
    take_asked(MESSAGE_DELIVER);
    assert_int_equal(asked_count, 0); /* one at a time */
}

#define T(name) cmocka_unit_test_setup_teardown(name, fresh, end)

/* ---- the end of the line ----------------------------------------------------------------------------------------- */

static struct site *pause_site(uint32_t seconds)
{
    struct site *site = schedule_site(queue.schedule, SPAN_LITERAL("smtp:[192.0.2.1] may"), 20);
    const struct schedule_slowing how = {.pause = true, .step = seconds, .granted = queue_now(), .why = SPAN_LITERAL("rule")};
    assert_int_equal(schedule_slow(queue.schedule, site, &how, queue_now() + 1), SCHEDULE_SLOWED_SITE);
    return site;
}

static void mail_that_stands_in_line_for_longer_than_its_life_goes_back(void **state)
{
    (void)state;
    settings->queue_lifetime = 5000;
    settings->queue_delay_warning = 0;
    for (int parked = 0; parked < 2; parked++) {
        settings->limit_queue_memory = parked ? 0 : (uint64_t)1 << 30;
        struct site *site = pause_site(20000);
        uint64_t id = put((struct spool_times){0}, 1, 0, 0);
        settled();
        turns();
        assert_int_equal(park_has(id), parked); /* what is paused goes out of memory, as what is dead */
        pass(4990);
        assert_int_equal(asked_count, 0);
        pass(500);
        assert_int_equal(asked_count, 0);
        pass(120);
        struct asked a = report();
        has(&a, "delivery time expired after 0 attempts");
        assert_false(mail_here(id));
        answer_delivery(a, VERDICT_RELAYED, false);
        assert_true(schedule_unslow(queue.schedule, site, queue_now()));
        settled();
        turns();
    }
}

static void the_last_attempt_of_what_is_not_held_back_is_made(void **state)
{
    (void)state;
    settings->queue_lifetime = 5000;
    settings->queue_delay_warning = 0;
    put((struct spool_times){0}, 1, 0, 0);
    settled();
    turns();
    take_asked(MESSAGE_DELIVER); /* and nobody answers */
    kill_queue();
    take_asked(MESSAGE_DELIVER);
    close_queue();
    clock_pass(6000);
    open_queue();
    turns();
    struct asked a = take_asked(MESSAGE_DELIVER); /* first of all, though it is too old */
    answer_delivery(a, VERDICT_RELAYED, false);
    settled();
    turns();
    assert_int_equal(asked_count, 0);
}

/* ---- retries ----------------------------------------------------------------------------------------------------- */

static uint32_t attempts_of(uint64_t id)
{
    return mail_find(id)->rcpt[0].attempts;
}

static void fail_for(enum own_failure own, unsigned times)
{
    for (unsigned i = 0; i < times; i++) {
        answer_own(take_asked(MESSAGE_DELIVER), VERDICT_DEFERRED, false, own);
        pass(2);
    }
}

/* No room for a descriptor: in a minute; the program died: in ten seconds. */
static void fail_here(bool died, unsigned seconds, unsigned times)
{
    for (unsigned i = 0; i < times; i++) {
        struct asked a = take_asked(MESSAGE_DELIVER);
        if (died)
            a.answer(NULL, a.arg);
        else
            answer_own(a, VERDICT_DEFERRED, false, OWN_ROOM);
        pass(seconds - 2);
        assert_int_equal(asked_count, 0);
        pass(4);
    }
}

static void what_fails_on_our_own_side_is_no_attempt(void **state)
{
    (void)state;
    settings->limit_queue_memory = (uint64_t)1 << 30;
    settings->queue_retry_most = 100000;
    uint64_t id = put((struct spool_times){0}, 1, 0, 0);
    fail_for(OWN_SOURCE, 4);
    fail_for(OWN_PROXY, 4);
    fail_here(false, 60, 4);
    fail_here(true, 10, 4);
    assert_int_equal(attempts_of(id), 0);
    answer_delivery(take_asked(MESSAGE_DELIVER), VERDICT_DEFERRED, false);
    turns();
    assert_int_equal(attempts_of(id), 1);
    pass(890);
    assert_int_equal(asked_count, 0);
    pass(220);
    answer_own(take_asked(MESSAGE_DELIVER), VERDICT_DEFERRED, false, OWN_DOMAIN); /* that is the domain's failure */
    turns();
    assert_int_equal(attempts_of(id), 2);
    pass(1790);
    assert_int_equal(asked_count, 0);
    pass(420);
    answer_delivery(take_asked(MESSAGE_DELIVER), VERDICT_RELAYED, false);
    settled();
}

int main(void)
{
    log_open("test", dup(STDERR_FILENO), LOG_TO_STDERR, LOG_LEVEL_ERROR);
    const struct CMUnitTest tests[] = {
        T(what_fails_on_our_own_side_is_no_attempt),
        T(mail_is_released_at_its_time_also_after_a_restart_and_once),
        T(what_was_due_while_nobody_looked_goes_at_once),
        T(neither_a_retry_nor_a_flush_nor_an_order_is_earlier),
        T(its_life_and_its_warning_begin_with_its_release),
        T(at_the_deadline_mail_goes_back_wherever_it_waits),
        T(what_is_under_way_at_the_deadline_may_still_arrive),
        T(nothing_is_begun_behind_the_deadline),
        T(held_mail_goes_back_when_it_is_released),
        T(a_sender_who_wants_to_know_is_told_at_the_deadline),
        T(a_deadline_that_had_passed_when_it_came_is_not_told_again),
        T(who_wants_no_report_gets_none),
        T(a_trace_is_told_also_after_a_crash),
        T(an_administrator_s_word_then_the_sender_s_then_the_listener_s),
        T(a_number_orders_the_mail_of_its_flow),
        T(etrn_makes_mail_due_and_not_twice_at_once),
        T(made_up_names_leave_room_for_others),
        T(etrn_of_all_below_a_domain),
        T(etrn_gives_a_dead_site_a_probe),
        T(mail_that_stands_in_line_for_longer_than_its_life_goes_back),
        T(the_last_attempt_of_what_is_not_held_back_is_made),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
