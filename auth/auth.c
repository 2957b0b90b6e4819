/* postino-auth: says who a client is. The only program that may read the password file or ask PAM or Dovecot; it sees no network. */
#include "auth/backend_dovecot.h"
#include "auth/backend_file.h"
#include "auth/backend_pam.h"
#include "auth/failures.h"
#include "common/log.h"
#include "common/program.h"

#include <event2/event.h>
#include <stdlib.h>
#include <unistd.h>

#define FILES_MOST ((uint64_t)1024) /* one for each smtpd, and then for those of a reload */

static void on_message(struct channel *channel, const struct message *m, void *arg)
{
    (void)arg;
    conversations_take(channel, m);
}

static void on_closed(struct channel *channel, void *arg)
{
    (void)arg;
    conversations_forget_edge(channel);
    channel_free(channel);
}

static void take_peer(const char *role, uint32_t instance, int fd)
{
    (void)instance;
    static const struct channel_handler handler = {.message = on_message, .closed = on_closed};
    if (strcmp(role, "smtpd") != 0)
        close(fd);
    else
        channel_new(program_base(), fd, role, 1u << PROTOCOL_SMTPD_AUTH, SIDE_SERVER, &handler, NULL);
}

static void fill_sandbox(const struct settings *settings, struct sandbox *sandbox)
{
    if (settings->auth_backend == AUTH_BACKEND_FILE) {
        sandbox_directory_of(sandbox, settings->password_file, SANDBOX_READ);
        sandbox->calls = SANDBOX_FILES_READ;
    } else if (settings->auth_backend == AUTH_BACKEND_DOVECOT) {
        sandbox->calls = SANDBOX_UNIX_OUT;
    }
    sandbox->open_files = FILES_MOST;
}

static int prepare(const struct settings *settings, struct error *error)
{
    return settings->auth_backend == AUTH_BACKEND_PAM ? backend_pam_prepare(settings, error) : 0;
}

static void tick(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what, (void)arg;
    conversations_tick();
}

static const struct backend *open_backend(const struct settings *settings)
{
    switch (settings->auth_backend) {
    case AUTH_BACKEND_DOVECOT:
        return backend_dovecot(program_base(), settings);
    case AUTH_BACKEND_PAM:
        return backend_pam(program_base(), settings);
    default:
        return backend_file(settings);
    }
}

static int start(const struct settings *settings, struct error *error)
{
    struct event *timer = event_new(program_base(), -1, EV_PERSIST, tick, NULL);
    if (!timer || evtimer_add(timer, &(struct timeval){.tv_sec = 1}) != 0)
        return error_set(error, "out of memory at start");
    failures_open(&(struct failures_limits){.address = settings->auth_failures_address,
                                            .network = settings->auth_failures_network,
                                            .account = settings->auth_failures_account,
                                            .known_time = settings->auth_known_time});
    conversations_open(open_backend(settings), &settings->auth_mechanisms);
    return 0;
}

static const struct program auth_program = {.name = "auth", .sandbox = fill_sandbox, .prepare = prepare, .start = start, .peer = take_peer};

int main(int argc, char **argv)
{
    return program_main(&auth_program, argc, argv);
}
