/* postino-creds: has the secrets of login sections, and leads SASL exchanges with next hosts; postino-remote carries what is said. */
#include "common/log.h"
#include "common/program.h"
#include "creds/conversation.h"
#include "creds/exchange.h"
#include "creds/login.h"

#include <string.h>
#include <unistd.h>

#define OTHER_FILES 64

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
    else
        close(fd);
}

static void sandbox(const struct settings *s, struct sandbox *out)
{
    out->root = s->directory_empty;
    out->landlock = true;
    out->open_files = OTHER_FILES;
}

static int prepare(const struct settings *s, struct error *error)
{
    logins_read(s);
    return exchange_prepare(error);
}

int main(int argc, char **argv)
{
    static const struct program program = {.name = "creds", .sandbox = sandbox, .prepare = prepare, .peer = peer};
    return program_main(&program, argc, argv);
}
