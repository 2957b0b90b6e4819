/* postino-auth: says yes or no to a name and a password. The only program that may read the password file; it sees no network. */
#include "common/channel.h"
#include "common/log.h"
#include "common/program.h"
#include "smtpd/passwd.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FILES_MOST ((uint64_t)1024) /* one for each smtpd, and then for those of a reload */

static struct passwd_file *passwords;

static void log_verdict(const struct message_auth *a, enum auth_verdict verdict, const struct error *error)
{
    static const char *const words[] = {[AUTH_YES] = "yes", [AUTH_NO] = "no", [AUTH_NOT_NOW] = "not-now"};
    struct buf line = BUF_EMPTY(4096);
    buf_printf(&line, "auth: verdict=%s", words[verdict]);
    log_value(&line, "user", a->user);
    log_value(&line, "client", a->client);
    if (verdict == AUTH_NOT_NOW)
        log_value(&line, "reason", span_of(error->text));
    log_buf(verdict == AUTH_NOT_NOW ? LOG_LEVEL_ERROR : LOG_LEVEL_INFO, &line);
    buf_free(&line);
}

/* The frame is the channel's memory, which is overwritten by the next one; the password need not stay until then. */
static void wipe(struct span secret)
{
    explicit_bzero((void *)(uintptr_t)secret.p, secret.n);
}

static void on_message(struct channel *channel, const struct message *m, void *arg)
{
    (void)arg;
    struct error error = {.text = ""};
    enum auth_verdict verdict = passwd_check(passwords, m->auth.user, m->auth.password, &error);
    wipe(m->auth.password);
    log_verdict(&m->auth, verdict, &error);
    struct message answer = {.type = MESSAGE_AUTHED, .id = m->id, .fd = -1, .authed = {.verdict = (uint16_t)verdict}};
    channel_send(channel, &answer);
}

static void on_closed(struct channel *channel, void *arg)
{
    (void)arg;
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
    sandbox_directory_of(sandbox, settings->password_file, SANDBOX_READ);
    sandbox->calls = SANDBOX_FILES_READ;
    sandbox->open_files = FILES_MOST;
}

static int start(const struct settings *settings, struct error *error)
{
    (void)error;
    passwords = passwd_open(settings->password_file);
    return 0;
}

static const struct program auth_program = {.name = "auth", .sandbox = fill_sandbox, .start = start, .peer = take_peer};

int main(int argc, char **argv)
{
    return program_main(&auth_program, argc, argv);
}
