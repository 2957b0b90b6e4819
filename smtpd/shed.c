#include "smtpd/shed.h"

#include "common/clock.h"
#include "smtpd/session_state.h"

#include <inttypes.h>
#include <sys/random.h>

#define STRANGER_LEAST 1000 /* ms of waiting before one may go for another */
#define SILENT_LEAST   250  /* of who has never said a word: longer than most clients are away */
#define KNOWN_LEAST    30000
#define STRESS_LINGER  10000
#define GIVES_WAY_MOST 10
#define STRESS_OCTETS  4096 /* of text, that are worth the whole of stress_timeout */
#define OWN_MEMORY     ((uint64_t)2048)
#define TLS_MEMORY     ((uint64_t)16 << 10) /* measured: docs/performance.md */
#define REPLY_MEMORY   4096                 /* replies that leave at the end of this turn are not counted */
#define SHARES_LEAST   16
#define SHED_AT_ONCE   8
#define NETWORK_SHARE  16

static const struct settings *settings_of(const struct server *server)
{
    return server->settings;
}

void shed_init(struct server *server)
{
    TAILQ_INIT(&server->shed.silent);
    TAILQ_INIT(&server->shed.strangers);
    TAILQ_INIT(&server->shed.known);
    if (getrandom(&server->shed.seed, sizeof server->shed.seed, 0) != sizeof server->shed.seed)
        log_die("no randomness at start");
}

size_t shed_descriptors(uint64_t sessions)
{
    return (size_t)(sessions + sessions / 4);
}

/* ---- way ------------------------------------------------------------------------------------------------------------------------- */

/* What is in use beyond half of a limit, in thousandths of that half. */
static uint64_t beyond_half(uint64_t used, uint64_t limit)
{
    uint64_t beyond = 2 * used > limit ? 2 * used - limit : 0;
    return beyond >= limit ? 1000 : beyond * 1000 / limit;
}

unsigned shed_gives_way(const struct server *server)
{
    const struct settings *settings = settings_of(server);
    uint64_t sessions = beyond_half(server->session_count, settings->limit_sessions);
    uint64_t memory = beyond_half(server->shed.memory >> 10, settings->limit_session_memory >> 10);
    uint64_t fuller = sessions > memory ? sessions : memory;
    return (unsigned)((fuller * GIVES_WAY_MOST + 999) / 1000);
}

/* ---- stress ---------------------------------------------------------------------------------------------------------------------- */

static bool is_near_limits(const struct server *server)
{
    const struct settings *settings = settings_of(server);
    return server->session_count * 10 >= settings->limit_sessions * 9 || server->shed.memory / 3 >= settings->limit_session_memory / 4;
}

static void tell_stress(const struct server *server, const char *what)
{
    const struct settings *settings = settings_of(server);
    log_warning("stress %s: sessions=%zu of %" PRIu64 " memory=%" PRIu64 "K of %" PRIu64 "K shed=%" PRIu64, what, server->session_count,
                settings->limit_sessions, server->shed.memory >> 10, settings->limit_session_memory >> 10, server->shed.gone);
}

static void begin_stress(struct server *server, uint64_t now)
{
    uint64_t most = settings_of(server)->smtpd_stress_timeout * 1000;
    struct session *s;
    server->shed.stressed = true;
    server->shed.gone = 0;
    tell_stress(server, "begins");
    TAILQ_FOREACH(s, &server->sessions, link)
    {
        if (!s->stream || s->state == SESSION_WAIT || s->state == SESSION_QUIET || !s->due || s->due <= now + most)
            continue;
        if (s->place.due == s->due)
            s->place.due = now + most;
        s->due = now + most;
        stream_timeout(s->stream, most);
    }
}

static void look_at_limits(struct server *server)
{
    bool near = is_near_limits(server);
    if (!near && !server->shed.stressed)
        return;
    uint64_t now = clock_monotonic_ms();
    if (near)
        server->shed.calm_at = now + STRESS_LINGER;
    if (near && !server->shed.stressed) {
        begin_stress(server, now);
    } else if (now >= server->shed.calm_at) {
        server->shed.stressed = false;
        tell_stress(server, "is over");
    }
}

uint64_t shed_seconds(struct server *server, uint64_t seconds)
{
    uint64_t most = settings_of(server)->smtpd_stress_timeout;
    look_at_limits(server);
    return server->shed.stressed && most < seconds ? most : seconds;
}

bool shed_earns_time(struct session *s, uint64_t octets)
{
    if (octets < s->place.paid) /* another message */
        s->place.paid = 0;
    if (s->server->shed.stressed && octets - s->place.paid < STRESS_OCTETS)
        return false;
    s->place.paid = octets;
    return true;
}

/* ---- memory ---------------------------------------------------------------------------------------------------------------------- */

static uint64_t memory_of(const struct session *s)
{
    uint64_t n = OWN_MEMORY + s->envelope.recipients.cap + s->envelope.slot_count * sizeof *s->envelope.slots + intake_memory(s);
    if (!s->stream)
        return n;
    size_t replies = stream_backlog(s->stream);
    return n + stream_input(s->stream).n + (replies > REPLY_MEMORY ? replies : 0) + (stream_tls(s->stream) ? TLS_MEMORY : 0);
}

bool shed_takes_too_much(const struct session *s)
{
    const struct server *server = s->server;
    uint64_t most = settings_of(server)->limit_session_memory;
    if (server->shed.memory < most)
        return false;
    uint64_t shares = server->session_count > SHARES_LEAST ? server->session_count : SHARES_LEAST;
    return memory_of(s) > most / shares;
}

/* ---- networks -------------------------------------------------------------------------------------------------------------------- */

static uint64_t key_of(const struct sockaddr *client)
{
    struct network network;
    uint64_t key;
    network_of(client, REACH_NETWORK, &network);
    memcpy(&key, network.bytes, sizeof key);
    return key;
}

static uint32_t *network_count(struct shed *shed, const struct sockaddr *client)
{
    uint64_t hash = (key_of(client) ^ shed->seed) * 0x9e3779b97f4a7c15u;
    hash = (hash ^ hash >> 32) * 0xd6e8feb86659fd93u;
    return &shed->networks[(hash >> 32) % SHED_NETWORKS];
}

static bool has_its_share(struct server *server, const struct sockaddr *client)
{
    return client && *network_count(&server->shed, client) >= settings_of(server)->limit_sessions / NETWORK_SHARE + 1;
}

/* ---- the line of those who wait --------------------------------------------------------------------------------------------------- */

static void leave_line(struct session *s)
{
    if (s->place.line)
        TAILQ_REMOVE(s->place.line, s, place.link);
    s->place.line = NULL;
}

static bool waits(const struct session *s)
{
    return s->stream && !s->envelope.open &&
           (s->state == SESSION_QUIET || s->state == SESSION_COMMAND || s->state == SESSION_RESPONSE || s->state == SESSION_HANDSHAKE);
}

static struct shed_line *line_of(const struct session *s)
{
    struct shed *shed = &s->server->shed;
    if (s->login.len || !s->counted)
        return &shed->known;
    return s->acted || s->state == SESSION_HANDSHAKE ? &shed->strangers : &shed->silent;
}

void shed_update(struct session *s)
{
    struct shed *shed = &s->server->shed;
    uint64_t memory = memory_of(s);
    shed->memory += memory - s->place.memory;
    s->place.memory = memory;
    if (s->counted && !s->place.network)
        ++*(s->place.network = network_count(shed, (struct sockaddr *)&s->address));
    if (!waits(s)) {
        leave_line(s);
    } else if (!s->place.line || s->place.due != s->due) {
        leave_line(s);
        s->place.line = line_of(s);
        s->place.due = s->due;
        s->place.since = clock_monotonic_ms();
        TAILQ_INSERT_TAIL(s->place.line, s, place.link);
    }
}

void shed_moves(struct session *s)
{
    if (s->place.network)
        --*s->place.network;
    s->place.network = NULL;
}

void shed_forget(struct session *s)
{
    leave_line(s);
    s->server->shed.memory -= s->place.memory;
    s->place.memory = 0;
    shed_moves(s);
}

/* ---- room ------------------------------------------------------------------------------------------------------------------------ */

static bool has_waited(const struct session *s, uint64_t now, uint64_t least)
{
    return s && now - s->place.since >= least;
}

static struct session *first_to_go(const struct shed *shed, uint64_t now)
{
    struct session *silent = TAILQ_FIRST(&shed->silent), *stranger = TAILQ_FIRST(&shed->strangers), *known = TAILQ_FIRST(&shed->known);
    struct session *longest = !stranger || (silent && silent->place.since < stranger->place.since) ? silent : stranger;
    if (has_waited(longest, now, STRANGER_LEAST))
        return longest;
    if (has_waited(silent, now, SILENT_LEAST))
        return silent;
    return has_waited(known, now, KNOWN_LEAST) ? known : NULL;
}

static bool shed_one(struct server *server)
{
    struct session *s = first_to_go(&server->shed, clock_monotonic_ms());
    if (s == NULL)
        return false;
    server->shed.gone++;
    session_shed(s);
    return true;
}

static bool is_full(const struct server *server)
{
    const struct settings *settings = settings_of(server);
    return server->session_count >= settings->limit_sessions || server->shed.memory >= settings->limit_session_memory;
}

/* Sessions that have ended wait a moment for their clients to hang up: who does not, many times over, is to keep nobody out. */
static bool has_descriptors(const struct server *server)
{
    size_t most = shed_descriptors(settings_of(server)->limit_sessions);
    while (streams_open() >= most)
        if (!streams_drop_one())
            return false;
    return true;
}

bool shed_make_room(struct server *server, const struct sockaddr *client)
{
    look_at_limits(server);
    if (is_full(server) && has_its_share(server, client))
        return false;
    for (int i = 0; i < SHED_AT_ONCE && is_full(server); i++)
        if (!shed_one(server))
            return false;
    return !is_full(server) && has_descriptors(server);
}
