/* postino-creds: has the secrets of login sections, and leads SASL exchanges with next hosts; postino-remote carries what is said. */
#include "common/httpsurl.h"
#include "common/log.h"
#include "common/program.h"
#include "creds/conversation.h"
#include "creds/courier.h"
#include "creds/exchange.h"
#include "creds/login.h"
#include "creds/token_store.h"

#include <string.h>
#include <unistd.h>

#define OTHER_FILES 64
#define FILE_MOST   ((uint64_t)64 << 10)

static struct peer *dns;
static bool fetches; /* access tokens */

static void take(struct channel *c, const struct message *m, void *arg)
{
    (void)arg;
    conversations_take(c, m);
}

static void closed(struct channel *c, void *arg)
{
    (void)arg;
    conversations_forget_edge(c);
    channel_free(c);
}

static void peer(const char *role, uint32_t instance, int fd)
{
    static const struct channel_handler handler = {.message = take, .closed = closed};
    (void)instance;
    if (strcmp(role, "remote") == 0)
        channel_new(program_base(), fd, "remote", 1u << PROTOCOL_REMOTE_CREDS, SIDE_SERVER, &handler, NULL);
    else if (strcmp(role, "dns") == 0)
        peer_connect(dns, fd);
    else
        close(fd);
}

static bool keeps_tokens(const struct settings *s)
{
    bool any = false;
    for (size_t i = 0; i < s->login_count; i++)
        any |= *s->logins[i].token_url && *s->logins[i].secret;
    return any && *s->directory_creds;
}

static void sandbox(const struct settings *s, struct sandbox *out)
{
    out->open_files = OTHER_FILES;
    if (keeps_tokens(s)) {
        sandbox_path(out, s->directory_creds, SANDBOX_READ | SANDBOX_WRITE);
        out->calls = SANDBOX_FILES_READ | SANDBOX_FILES_WRITE;
        out->file_size = FILE_MOST;
    } else {
        out->root = s->directory_empty;
    }
}

/* An answer that is under way may have the only refresh token that is good from now on. */
static void drain(void)
{
    if (!tokens_under_way())
        program_end();
}

/* The courier's: to the ports of token servers. False: no login has one. */
static bool add_ports(const struct settings *s, struct sandbox *out)
{
    bool any = false;
    for (size_t i = 0; i < s->login_count; i++) {
        struct httpsurl url;
        if (!*s->logins[i].token_url || !httpsurl_parse(s->logins[i].token_url, &url))
            continue;
        sandbox_port(out, url.port);
        any = true;
    }
    return any;
}

static int start_courier(const struct settings *s, struct error *error)
{
    struct sandbox box = {
        .root = s->directory_empty, .landlock = true, .open_files = OTHER_FILES, .calls = SANDBOX_STREAM_TO | SANDBOX_POLL};
    fetches = add_ports(s, &box);
    if (!fetches)
        return 0;
    if (!program_unprivileged() && sandbox_user(s->users, "creds", &box.uid, &box.gid, error) != 0)
        return -1;
    return courier_start(s, &box, program_unprivileged(), error);
}

static int start(const struct settings *s, struct error *error)
{
    (void)s, (void)error;
    if (fetches)
        courier_open(program_base());
    return 0;
}

static int prepare(const struct settings *s, struct error *error)
{
    if (start_courier(s, error) != 0)
        return -1;
    dns = peer_new(program_base(), "dns", 1u << PROTOCOL_RESOLVING);
    tokens_setup(program_base(), dns);
    if (keeps_tokens(s) && token_store_open(s->directory_creds, error) != 0)
        return -1;
    logins_read(s);
    return exchange_prepare(error);
}

int main(int argc, char **argv)
{
    static const struct program program = {
        .name = "creds", .sandbox = sandbox, .prepare = prepare, .start = start, .peer = peer, .drain = drain};
    return program_main(&program, argc, argv);
}
