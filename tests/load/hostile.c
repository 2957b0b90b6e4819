#include "tests/load/hostile.h"
#include "tests/load/wire.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- what each kind does --------------------------------------------------------------------------------------------------------- */

static struct {
    unsigned connections, ended, too_busy;
} counts[32];

static struct actor *all;
static unsigned all_count, kinds_count;
static uint64_t seed = 88172645463325252u;

static uint64_t dice(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    return seed ^= seed << 17;
}

static unsigned kind_of(const struct actor *a)
{
    return a->index % kinds_count;
}

/* They come back a moment after they were sent away. */
static void come_back(struct actor *a)
{
    a->step = -1;
    actor_wake_in(a, 20);
}

static void ended(struct actor *a, bool ours)
{
    if (!ours)
        counts[kind_of(a)].ended++;
    come_back(a);
}

/* Says the lines in turn, each after the reply to the one before; then returns true. */
static bool script(struct actor *a, int code, const char *const *lines)
{
    if (code == 421)
        counts[kind_of(a)].too_busy++;
    if (a->step < 0)
        return false;
    if (lines[a->step]) {
        actor_say(a, lines[a->step++]);
        return false;
    }
    return true;
}

static void nothing_more(struct actor *a)
{
    a->wake = 0;
}

/* Slow in each state: an octet a second behind the script, so that a timer which is put off by octets never fires. */
static void drip(struct actor *a, const char *octet)
{
    actor_say(a, octet);
    actor_wake_in(a, 1000);
}

static void drip_x(struct actor *a)
{
    drip(a, "x");
}

static void slow_greeting_reply(struct actor *a, int code)
{
    script(a, code, (const char *const[]){NULL});
}

static void slow_command_reply(struct actor *a, int code)
{
    if (script(a, code, (const char *const[]){NULL}))
        drip_x(a);
}

static void slow_envelope_reply(struct actor *a, int code)
{
    if (script(a, code,
               (const char *const[]){"EHLO slow.example\r\n", "MAIL FROM:<slow@slow.example>\r\n", "RCPT TO:<a@sink.example>\r\n", NULL}))
        drip_x(a);
}

static const char *const to_data[] = {"EHLO slow.example\r\n", "MAIL FROM:<slow@slow.example>\r\n", "RCPT TO:<a@sink.example>\r\n",
                                      "DATA\r\n", NULL};

static void slow_text_reply(struct actor *a, int code)
{
    if (script(a, code, to_data))
        drip_x(a);
}

static void flood_noops(struct actor *a)
{
    static char many[6 * 200 + 1];
    if (!many[0])
        for (size_t i = 0; i < 200; i++)
            memcpy(many + i * 6, "NOOP\r\n", 6);
    actor_say(a, many);
}

static void noop_reply(struct actor *a, int code)
{
    if (code == 220)
        flood_noops(a);
    else
        script(a, code, (const char *const[]){NULL});
}

/* A ClientHello that stops in the middle. */
static void half_tls_reply(struct actor *a, int code)
{
    if (script(a, code, (const char *const[]){"EHLO half.example\r\n", "STARTTLS\r\n", NULL})) {
        actor_send(a, "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 11);
        nothing_more(a);
    }
}

static void deaf_tick(struct actor *a)
{
    static char many[20 * 500 + 1];
    if (!many[0])
        for (size_t i = 0; i < 500; i++)
            memcpy(many + i * 20, "EHLO deaf.example.x\n", 20), many[i * 20 + 18] = '\r';
    if (a->out_len == 0)
        actor_say(a, many);
    actor_wake_in(a, 50);
}

static void deaf_writable(struct actor *a)
{
    actor_wake_in(a, 1);
}

static void octets_tick(struct actor *a)
{
    static const char words[] = "EHLO octet.example\r\nMAIL FROM:<o@octet.example>\r\nRCPT TO:<o@sink.example>\r\nRSET\r\n";
    actor_send(a, &words[a->messages++ % (sizeof words - 1)], 1);
    actor_wake_in(a, 1);
}

static void octets_reply(struct actor *a, int code)
{
    script(a, code, (const char *const[]){NULL});
    if (code == 220)
        octets_tick(a);
}

static void guess(struct actor *a)
{
    actor_say(a, "EHLO guess.example\r\n");
    a->step = 3;
}

static void guess_reply(struct actor *a, int code)
{
    if (code == 421)
        counts[kind_of(a)].too_busy++;
    else if (a->ssl)
        actor_say(a, "AUTH PLAIN AGFsaWNlAHNvbWV0aGluZw==\r\n");
    else if (script(a, code, (const char *const[]){"EHLO guess.example\r\n", "STARTTLS\r\n", NULL}))
        actor_start_tls(a);
}

static void rcpt_reply(struct actor *a, int code)
{
    if (a->step >= 3 || !script(a, code, (const char *const[]){"EHLO rcpt.example\r\n", "MAIL FROM:<>\r\n", NULL}))
        return;
    char line[100];
    a->step = 3;
    for (int i = 0; i < 1200; i++) {
        snprintf(line, sizeof line, "RCPT TO:<u%d@%s.example>\r\n", i, i % 50 ? "sink" : "elsewhere");
        actor_say(a, line);
    }
}

static void again_at_once(struct actor *a, int code)
{
    script(a, code, (const char *const[]){NULL});
    actor_close(a, false);
    a->step = -1;
    actor_wake_in(a, 1);
}

static void garbage_tick(struct actor *a)
{
    uint64_t noise[64];
    for (size_t i = 0; i < 64; i++)
        noise[i] = dice();
    actor_send(a, noise, sizeof noise);
    actor_wake_in(a, 5);
}

static void garbage_reply(struct actor *a, int code)
{
    script(a, code, (const char *const[]){NULL});
    if (code == 220)
        garbage_tick(a);
}

static void vanish_reply(struct actor *a, int code)
{
    static char some[4001];
    memset(some, 'x', 4000);
    if (!script(a, code, to_data))
        return;
    actor_say(a, some);
    actor_close(a, true);
    a->step = -1;
    actor_wake_in(a, 5);
}

static const struct kind kinds[] = {
    {.name = "silent", .reply = slow_greeting_reply, .ended = ended, .tick = nothing_more},
    {.name = "slow-command", .reply = slow_command_reply, .ended = ended, .tick = drip_x},
    {.name = "slow-envelope", .reply = slow_envelope_reply, .ended = ended, .tick = drip_x},
    {.name = "slow-text", .reply = slow_text_reply, .ended = ended, .tick = drip_x},
    {.name = "noop-flood", .reply = noop_reply, .ended = ended, .tick = nothing_more, .writable = flood_noops},
    {.name = "half-tls", .reply = half_tls_reply, .ended = ended, .tick = nothing_more},
    {.name = "never-reads", .reply = slow_greeting_reply, .ended = ended, .tick = deaf_tick, .writable = deaf_writable},
    {.name = "single-octets", .reply = octets_reply, .ended = ended, .tick = octets_tick},
    {.name = "auth-guess", .reply = guess_reply, .ended = ended, .tick = nothing_more, .secured = guess},
    {.name = "rcpt-flood", .reply = rcpt_reply, .ended = ended, .tick = nothing_more},
    {.name = "connects", .reply = again_at_once, .ended = ended, .tick = nothing_more},
    {.name = "garbage", .reply = garbage_reply, .ended = ended, .tick = garbage_tick},
    {.name = "vanishes", .reply = vanish_reply, .ended = ended, .tick = nothing_more},
};
#define KINDS (sizeof kinds / sizeof kinds[0])

void hostile_begin(unsigned count)
{
    kinds_count = KINDS;
    all_count = count;
    all = calloc(count ? count : 1, sizeof *all);
    if (all == NULL)
        die("out of memory");
    for (unsigned i = 0; i < count; i++) {
        const struct kind *k = &kinds[i % KINDS];
        bool one_network = strcmp(k->name, "connects") == 0;
        all[i] = (struct actor){
            .kind = k, .index = i, .fd = -1, .step = -1, .wake = now_us + 1000 * i, .deaf = strcmp(k->name, "never-reads") == 0};
        all[i].source = one_network ? 0x7f420000u + i % 250 + 1 : 0x7f500000u + (i << 8) + 1;
    }
}

void hostile_end(void)
{
    for (unsigned i = 0; i < all_count; i++)
        actor_close(&all[i], true);
    all_count = 0; /* they are not freed: an event of this turn may still be for one */
}

void hostile_tick(void)
{
    for (unsigned i = 0; i < all_count; i++) {
        struct actor *a = &all[i];
        if (!a->wake || a->wake > now_us || a->connecting)
            continue;
        if (a->fd >= 0) {
            a->kind->tick(a);
            continue;
        }
        counts[kind_of(a)].connections++;
        actor_open(a);
        a->wake = a->deaf ? now_us + 50000 : 0;
    }
}

void hostile_report(void)
{
    for (unsigned i = 0; i < KINDS; i++) {
        printf(" %s=%u/%u/%u", kinds[i].name, counts[i].connections, counts[i].ended, counts[i].too_busy);
        memset(&counts[i], 0, sizeof counts[i]);
    }
}

/* ---- floods of connections --------------------------------------------------------------------------------------------------------- */

#define FLOOD_MOST 16000
#define FLOOD_US   5000000

static struct actor *flood;
static unsigned flood_rate, flood_free[FLOOD_MOST], flood_free_count;
static int flood_many;
static uint64_t flood_from, flood_made, flood_seen;
static struct {
    unsigned opened, greeted, refused, shed, failed;
} flood_counts;

static void flood_gone(struct actor *a)
{
    flood_free[flood_free_count++] = a->index;
}

static void flood_reply(struct actor *a, int code)
{
    if (code == 220) {
        flood_counts.greeted++;
        a->step = 1;
        return;
    }
    if (a->step == 1)
        flood_counts.shed++;
    else
        flood_counts.refused++;
    actor_close(a, false);
    flood_gone(a);
}

static void flood_ended(struct actor *a, bool ours)
{
    flood_counts.failed += ours || a->step == 0;
    flood_gone(a);
}

static const struct kind flood_kind = {.name = "flood", .reply = flood_reply, .ended = flood_ended};

void flood_begin(unsigned rate, int many)
{
    if (flood == NULL) {
        flood = calloc(FLOOD_MOST, sizeof *flood);
        if (flood == NULL)
            die("out of memory");
        for (unsigned i = 0; i < FLOOD_MOST; i++) {
            flood[i] = (struct actor){.kind = &flood_kind, .index = i, .fd = -1};
            flood_free[flood_free_count++] = i;
        }
    }
    flood_rate = rate;
    flood_many = many;
    flood_from = now_us;
    flood_made = 0;
}

static void flood_one(void)
{
    if (flood_free_count == 0)
        return;
    struct actor *a = &flood[flood_free[--flood_free_count]];
    a->source = flood_many ? 0x7f800000u + (uint32_t)(dice() % 0x7ffffe) + 1 : 0x7f420000u + (uint32_t)(dice() % 254) + 1;
    a->began = now_us;
    flood_counts.opened++;
    actor_open(a);
}

void flood_tick(void)
{
    if (flood == NULL)
        return;
    while (flood_rate && flood_made < (now_us - flood_from) * flood_rate / 1000000) {
        flood_made++;
        flood_one();
    }
    for (unsigned i = 0; i < 200; i++) { /* a few each time: none has to go on the dot */
        struct actor *a = &flood[flood_seen++ % FLOOD_MOST];
        if (a->fd < 0 || (flood_rate && now_us - a->began < FLOOD_US))
            continue;
        actor_close(a, true);
        flood_gone(a);
    }
}

void flood_report(void)
{
    printf(" flood_opened=%u flood_greeted=%u flood_refused=%u flood_shed=%u flood_failed=%u", flood_counts.opened, flood_counts.greeted,
           flood_counts.refused, flood_counts.shed, flood_counts.failed);
    memset(&flood_counts, 0, sizeof flood_counts);
}
