/* A route that was taken over: whatever it answers to CLIENT, ADMIT, COUNT and RCPT, as long as its frames are well formed and its codes
 * can be, smtpd lives, its replies are lines of at most 512 printable octets with a code in front, and what goes into the queue is well
 * formed. */
#include "tests/unit/session_world.h"

#include "common/log.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct world w;
static const uint8_t *left; /* of what it will answer */
static size_t left_size;

static unsigned octet(void)
{
    if (left_size == 0)
        return 0;
    left_size--;
    return *left++;
}

/* A text of the input's: its length is 16 times an octet of it. Frames carry no NUL, CR or LF in it. */
static struct span text(char *room, size_t size)
{
    size_t n = octet() * 16;
    if (n > left_size)
        n = left_size;
    if (n > size)
        n = size;
    for (size_t i = 0; i < n; i++) {
        unsigned c = octet();
        room[i] = (char)(c == 0 || c == '\r' || c == '\n' ? '?' : c);
    }
    return span_make(room, n);
}

/* A code of what is not a yes. */
static uint16_t code(void)
{
    return (uint16_t)(400 + octet() % 200);
}

static struct span lines(char *room, size_t size)
{
    size_t n = octet() * 4 < left_size ? octet() * 4 : left_size;
    n = n < size ? n : size;
    for (size_t i = 0; i < n; i++)
        room[i] = (char)octet();
    return span_make(room, n < left_size ? n : left_size);
}

static void answer_rcpt(struct channel *c, const struct message *m)
{
    static char t[7][4080];
    struct buf list = BUF_EMPTY(0);
    struct message a = {.type = MESSAGE_ROUTED, .id = m->id, .fd = -1};
    bool yes = octet() & 1;
    a.routed.code = yes ? 250 : code();
    a.routed.status = text(t[0], sizeof t[0]);
    a.routed.reply = text(t[1], sizeof t[1]);
    a.routed.rule = text(t[2], sizeof t[2]);
    a.routed.hold = (uint16_t)octet();
    a.routed.prepend = lines(t[3], sizeof t[3]);
    for (unsigned n = octet() % 4; yes && n; n--, a.routed.recipients.count++) {
        struct record_recipient r = {.address = text(t[4], sizeof t[4]),
                                     .transport = SPAN_LITERAL("smtp"),
                                     .nexthop = text(t[5], sizeof t[5]),
                                     .mailbox = text(t[6], sizeof t[6]),
                                     .notify = (uint16_t)octet()};
        record_recipient_add(&list, &r);
    }
    a.routed.recipients.bytes = buf_span(&list);
    channel_send(c, &a);
    buf_free(&list);
}

static void answer(struct world *world, struct channel *c, const struct message *m)
{
    static char t[3][4080];
    (void)world;
    struct message a = {.id = m->id, .fd = -1};
    if (m->type == MESSAGE_RCPT) {
        answer_rcpt(c, m);
        return;
    }
    if (m->type == MESSAGE_CLIENT) {
        a.type = MESSAGE_CLIENT_IS;
        a.client_is.name = text(t[0], sizeof t[0]);
        a.client_is.may_relay = (uint16_t)octet();
    } else if (m->type == MESSAGE_ADMIT) {
        a.type = MESSAGE_ADMITTED;
        a.admitted.code = octet() & 3 ? 0 : code();
        a.admitted.passed = (uint16_t)(octet() | 1);
        a.admitted.status = text(t[0], sizeof t[0]);
        a.admitted.reply = text(t[1], sizeof t[1]);
        a.admitted.rule = text(t[2], sizeof t[2]);
    } else if (m->type == MESSAGE_COUNT) {
        a.type = MESSAGE_COUNTED;
        a.counted.code = octet() & 1 ? 0 : code();
        a.counted.status = text(t[0], sizeof t[0]);
        a.counted.reply = text(t[1], sizeof t[1]);
        a.counted.rule = text(t[2], sizeof t[2]);
    } else {
        return; /* a notice */
    }
    channel_send(c, &a);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc, (void)argv;
    log_open("fuzz", open("/dev/null", O_WRONLY), LOG_TO_STDERR, LOG_LEVEL_DEBUG);
    world_open(&w);
    w.settings->smtpd_greet_delay = 1;
    w.settings->client_messages = w.settings->client_recipients = w.settings->client_sessions = 5;
    w.settings->limit_recipients = 100;
    server_free(&w.server);
    server_init(&w.server);
    w.route_answers = answer;
    for (int i = 0; i < 20; i++)
        world_turn(&w);
    return 0;
}

static void check_reply(const char *line, size_t n)
{
    if (n < 5 || n > 512 || line[n - 2] != '\r' || !isdigit(line[0]) || !isdigit(line[1]) || !isdigit(line[2]) ||
        (line[3] != ' ' && line[3] != '-'))
        abort();
    for (size_t i = 0; i < n - 2; i++)
        if (line[i] < ' ' || line[i] == 0x7f)
            abort();
}

static void read_replies(int fd, struct buf *said)
{
    char octets[65536];
    ssize_t n;
    while ((n = read(fd, octets, sizeof octets)) > 0)
        buf_add(said, octets, (size_t)n);
    const char *lf;
    size_t at = 0;
    while (said->len > at && (lf = memchr(said->data + at, '\n', said->len - at))) {
        size_t length = (size_t)(lf - said->data) + 1 - at;
        check_reply(said->data + at, length);
        at += length;
    }
    if (at)
        buf_consume(said, at);
}

static void check_stored(void)
{
    struct span body = buf_span(&w.body);
    for (size_t i = 0; i < body.n; i++)
        if ((body.p[i] == '\n') != (i > 0 && body.p[i - 1] == '\r'))
            abort();
    buf_clear(&w.body);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char script[] =
        "EHLO x\r\nMAIL FROM:<a@example.net>\r\nRCPT TO:<b@example.org>\r\nRCPT TO:<c@example.org>\r\nDATA\r\nSubject: x\r\n\r\nx\r\n.\r\n"
        "MAIL FROM:<>\r\nRCPT TO:<d@example.org>\r\nDATA\r\n.\r\nQUIT\r\n";
    int fd[2];
    if (size > 60000 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fd) < 0)
        return 0;
    struct sockaddr_in from = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0xc0000207)};
    struct buf said = BUF_EMPTY(0);
    left = data;
    left_size = size;
    session_accept(&w.server, &w.listener, fd[0], (struct sockaddr *)&from);
    for (int turn = 0; turn < 6; turn++)
        world_turn(&w);
    if (write(fd[1], script, sizeof script - 1) < 0)
        left_size = 0;
    for (int turn = 0; turn < 60; turn++) {
        world_turn(&w);
        read_replies(fd[1], &said);
    }
    shutdown(fd[1], SHUT_WR);
    for (int i = 0; i < 20000 && w.server.session_count; i++) {
        world_turn(&w);
        read_replies(fd[1], &said);
    }
    read_replies(fd[1], &said);
    close(fd[1]);
    if (w.server.session_count || said.len)
        abort();
    buf_free(&said);
    check_stored();
    return 0;
}
