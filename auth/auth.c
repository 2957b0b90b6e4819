/* postino-auth: says who a client is. The only program that may read the password file or ask PAM or Dovecot; it sees no network. */
#include "auth/backend_dovecot.h"
#include "auth/backend_file.h"
#include "auth/backend_pam.h"
#include "auth/failures.h"
#include "auth/usage.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/program.h"

#include <event2/event.h>
#include <stdlib.h>
#include <unistd.h>

#define FILES_MOST ((uint64_t)1024) /* one for each smtpd, and then for those of a reload */

static const struct settings *settings;

static void alarm_of(const struct message_usage *u)
{
    struct buf line = BUF_EMPTY(4096);
    buf_add_text(&line, "limit:");
    log_value(&line, "login", u->login);
    buf_printf(&line, " messages_hour=%llu recipients_hour=%llu", (unsigned long long)settings->auth_messages_hour,
               (unsigned long long)settings->auth_recipients_hour);
    log_value(&line, "reason", SPAN_LITERAL("this login sends more than it may in an hour: is its password stolen?"));
    log_buf(LOG_LEVEL_WARNING, &line);
    buf_free(&line);
}

static void take_usage(struct channel *channel, const struct message *m)
{
    static const uint16_t beyond[] = {
        [USAGE_OK] = USED_FITS, [USAGE_BEYOND] = USED_HOLD, [USAGE_ALARM] = USED_HOLD, [USAGE_REFUSE] = USED_REFUSE};
    enum usage_answer answer = usage_add(m->usage.login, m->usage.recipients, clock_monotonic_ms() / 1000);
    if (answer == USAGE_ALARM)
        alarm_of(&m->usage);
    channel_send(channel, &(struct message){.type = MESSAGE_USED, .id = m->id, .fd = -1, .used = {.beyond = beyond[answer]}});
}

static void on_message(struct channel *channel, const struct message *m, void *arg)
{
    (void)arg;
    if (m->type == MESSAGE_USAGE)
        take_usage(channel, m);
    else
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

static void fill_sandbox(const struct settings *s, struct sandbox *sandbox)
{
    if (s->auth_backend == AUTH_BACKEND_FILE) {
        sandbox_directory_of(sandbox, s->password_file, SANDBOX_READ);
        sandbox->calls = SANDBOX_FILES_READ | SANDBOX_THREADS;
    } else if (s->auth_backend == AUTH_BACKEND_DOVECOT) {
        sandbox->calls = SANDBOX_UNIX_OUT;
    }
    sandbox->open_files = FILES_MOST;
}

static int prepare(const struct settings *s, struct error *error)
{
    return s->auth_backend == AUTH_BACKEND_PAM ? backend_pam_prepare(s, error) : 0;
}

static void tick(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what, (void)arg;
    conversations_tick();
}

static const struct backend *open_backend(const struct settings *s)
{
    switch (s->auth_backend) {
    case AUTH_BACKEND_DOVECOT:
        return backend_dovecot(program_base(), s);
    case AUTH_BACKEND_PAM:
        return backend_pam(program_base(), s);
    default:
        return backend_file(program_base(), s);
    }
}

static int start(const struct settings *s, struct error *error)
{
    struct event *timer = event_new(program_base(), -1, EV_PERSIST, tick, NULL);
    if (!timer || evtimer_add(timer, &(struct timeval){.tv_sec = 1}) != 0)
        return error_set(error, "out of memory at start");
    settings = s;
    usage_open(&(struct usage_limits){.messages = s->auth_messages_hour, .recipients = s->auth_recipients_hour});
    failures_open(&(struct failures_limits){.address = s->auth_failures_address,
                                            .network = s->auth_failures_network,
                                            .account = s->auth_failures_account,
                                            .known_time = s->auth_known_time});
    conversations_open(open_backend(s), &s->auth_mechanisms);
    return 0;
}

static const struct program auth_program = {.name = "auth", .sandbox = fill_sandbox, .prepare = prepare, .start = start, .peer = take_peer};

int main(int argc, char **argv)
{
    return program_main(&auth_program, argc, argv);
}
