/* A whole session, plain or as if in TLS (for AUTH), against fake route, auth and qmgr: whatever a client sends, smtpd lives, what it hands on is well formed, and the
 * session ends with the client. */
#include "tests/unit/session_world.h"

#include "common/log.h"
#include "smtpd/session_state.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct world w;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc, (void)argv;
    log_open("fuzz", open("/dev/null", O_WRONLY), LOG_TO_STDERR, LOG_LEVEL_ERROR);
    world_open(&w);
    w.settings->limit_message_size = 2000;
    w.settings->limit_line = 200;
    w.settings->limit_command_line = 512;
    w.settings->limit_recipients = 5;
    w.settings->smtpd_auth_delay = 0;
    for (int i = 0; i < 20; i++)
        world_turn(&w);
    return 0;
}

#define MARK SPAN_LITERAL("X-Mark: seen\r\n") /* what route wants in front of mail for marked@ */

/* What reached the queue: lines of CR LF, behind our own trace line; octets behind a header, if it is binary. */
static void check_stored(void)
{
    struct span body = buf_span(&w.body);
    for (size_t i = 0; !(w.flags & ENVELOPE_BINARY) && i < body.n; i++)
        if ((body.p[i] == '\n') != (i > 0 && body.p[i - 1] == '\r'))
            abort();
    if (body.n > MARK.n && memcmp(body.p, MARK.p, MARK.n) == 0)
        body = span_make(body.p + MARK.n, body.n - MARK.n);
    if (body.n && (body.n < 10 || memcmp(body.p, "Received: ", 10) != 0))
        abort();
    buf_clear(&w.body);
}

static void drain(int fd)
{
    char text[65536];
    while (read(fd, text, sizeof text) > 0)
        ;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int fd[2];
    if (size < 2 || size > 60000 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fd) < 0)
        return 0;
    struct sockaddr_in from = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0xc0000207)};
    w.settings->limit_bare_newline = data[0] & 1;
    w.settings->limit_nul = data[0] >> 3 & 1;
    w.listener.protocol = data[0] & 32 ? LISTENER_PROTOCOL_LMTP : LISTENER_PROTOCOL_SMTP;
    if (data[0] & 2)
        session_accept_local(&w.server, data[0] & 32 ? &w.listener : NULL, fd[0], 1000);
    else
        session_accept(&w.server, &w.listener, fd[0], (struct sockaddr *)&from);
    if (data[0] & 4 && !(data[0] & 2) && !TAILQ_EMPTY(&w.server.sessions))
        TAILQ_FIRST(&w.server.sessions)->tls_active = true;
    if (data[0] & 16 && !TAILQ_EMPTY(&w.server.sessions))
        TAILQ_FIRST(&w.server.sessions)->may_xclient = TAILQ_FIRST(&w.server.sessions)->may_xforward = !(data[0] & 2);
    size_t first = 1 + data[1] * (size - 2) / 256; /* in two pieces */
    const char *p = (const char *)data + 2;
    size_t pieces[2] = {first < size - 2 ? first : size - 2, 0};
    pieces[1] = size - 2 - pieces[0];
    for (int i = 0; i < 2; p += pieces[i], i++) {
        if (pieces[i] && write(fd[1], p, pieces[i]) < 0)
            break;
        for (int turn = 0; turn < 12; turn++)
            world_turn(&w);
        drain(fd[1]);
    }
    shutdown(fd[1], SHUT_WR);
    for (int i = 0; i < 20000 && w.server.session_count; i++) {
        world_turn(&w);
        drain(fd[1]);
    }
    close(fd[1]);
    for (int i = 0; i < 3; i++)
        world_turn(&w);
    if (w.server.session_count)
        abort();
    check_stored();
    return 0;
}
