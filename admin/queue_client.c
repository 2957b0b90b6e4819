#include "admin/queue_client.h"

#include "admin/place.h"
#include "common/queueid.h"

#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sysexits.h>
#include <unistd.h>

enum { ANSWER_SECONDS = 300 /* an order may go through a long queue */, READ_MOST = 64 << 10 };

int queue_open(struct queue_client *q, const char *run, struct error *error)
{
    struct timeval most = {.tv_sec = ANSWER_SECONDS};
    *q = (struct queue_client){.fd = -1, .in = BUF_EMPTY(FRAME_HEADER + FRAME_MAX + READ_MOST)};
    int status = place_connect(run, "queue", &q->fd, error);
    if (status != EX_OK)
        return status;
    (void)setsockopt(q->fd, SOL_SOCKET, SO_RCVTIMEO, &most, sizeof most);
    (void)setsockopt(q->fd, SOL_SOCKET, SO_SNDTIMEO, &most, sizeof most);
    return EX_OK;
}

void queue_close(struct queue_client *q)
{
    if (q->fd >= 0)
        close(q->fd);
    buf_free(&q->in);
    q->fd = -1;
}

/* ---- one question, one answer ---------------------------------------------------------------------------------------------------- */

static int lost(struct error *error, const char *why)
{
    (void)error_set(error, "the queue manager gave no answer: %s; see its log", why);
    return EX_TEMPFAIL;
}

static int send_all(int fd, struct span s, struct error *error)
{
    while (s.n) {
        ssize_t n = send(fd, s.p, s.n, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return lost(error, strerror(errno));
        s = (struct span){s.p + n, s.n - (size_t)n};
    }
    return EX_OK;
}

static int receive_more(struct queue_client *q, struct error *error)
{
    char bytes[READ_MOST];
    ssize_t n = recv(q->fd, bytes, sizeof bytes, 0);
    if (n < 0 && errno == EINTR)
        return EX_OK;
    if (n < 0)
        return lost(error, errno == EAGAIN ? "it took too long" : strerror(errno));
    if (n == 0)
        return lost(error, "it hung up");
    buf_add(&q->in, bytes, (size_t)n);
    return q->in.failed ? lost(error, "it is too long") : EX_OK;
}

static int ask(struct queue_client *q, struct message *question, enum message_type wanted, struct message *answer, struct error *error)
{
    struct buf out = BUF_EMPTY(0);
    struct error why;
    size_t used;
    bool wants_fd;
    question->id = ++q->last;
    question->fd = -1;
    int status = message_encode(&out, question) ? send_all(q->fd, buf_span(&out), error) : lost(error, "out of memory");
    buf_free(&out);
    buf_consume(&q->in, q->used);
    q->used = 0;
    while (status == EX_OK) {
        int got = message_decode(buf_span(&q->in), 1u << PROTOCOL_ADMIN_QMGR, SIDE_SERVER, answer, &used, &wants_fd, &why);
        if (got > 0 && answer->type == wanted && answer->id == question->id && !wants_fd) {
            q->used = used;
            return EX_OK;
        }
        if (got != 0) {
            (void)error_set(error, "the queue manager's answer makes no sense: %.200s", got < 0 ? why.text : "it is to another question");
            return EX_PROTOCOL;
        }
        status = receive_more(q, error);
    }
    return status;
}

/* ---- questions ------------------------------------------------------------------------------------------------------------------- */

static bool walk(struct list entries, uint64_t *last, queue_entry_fn *each, void *arg)
{
    struct record_entry e;
    while (record_entry_next(&entries, &e)) {
        *last = e.id;
        if (!each(&e, arg))
            return false;
    }
    return true;
}

int queue_list(struct queue_client *q, uint64_t only, queue_entry_fn *each, void *arg, struct error *error)
{
    struct message question = {.type = MESSAGE_LIST, .list = {.only = only}}, answer;
    for (;;) {
        int status = ask(q, &question, MESSAGE_LISTED, &answer, error);
        uint64_t last = question.list.after;
        if (status != EX_OK || !walk(answer.listed.entries, &last, each, arg) || !answer.listed.more)
            return status;
        if (last <= question.list.after) {
            (void)error_set(error, "the queue manager's list does not go on; see its log");
            return EX_PROTOCOL;
        }
        question.list.after = last;
    }
}

static struct span words(struct span reply, const char *otherwise)
{
    struct span s = reply.n ? reply : span_of(otherwise);
    return (struct span){s.p, s.n < 200 ? s.n : 200};
}

/* SMTP's words for an answer: 2xx yes, 550 no such message, 551 no such site, other 5xx not allowed. */
static int judge(uint16_t code, uint64_t id, struct span reply, struct error *error)
{
    if (code >= 200 && code < 300)
        return EX_OK;
    if (code == 550 && id) {
        (void)error_set(error, "%s: there is no such message in the queue", queueid_format(id).text);
        return EX_NOINPUT;
    }
    if (code == 551) {
        (void)error_set(error, "there is no such site");
        return EX_NOINPUT;
    }
    if (code >= 500) {
        (void)error_set(error, "refused: %.*s", SPAN_ARG(words(reply, "that is for root, and for those in `admins`")));
        return EX_NOPERM;
    }
    (void)error_set(error, "not now: %.*s", SPAN_ARG(words(reply, "try again")));
    return EX_TEMPFAIL;
}

int queue_text(struct queue_client *q, uint64_t id, queue_piece_fn *each, void *arg, struct error *error)
{
    struct message question = {.type = MESSAGE_SHOW, .show = {.id = id}}, answer;
    for (;;) {
        int status = ask(q, &question, MESSAGE_SHOWN, &answer, error);
        if (status == EX_OK)
            status = judge(answer.shown.code, id, (struct span){0}, error);
        if (status != EX_OK)
            return status;
        if (answer.shown.piece.n && !each(answer.shown.piece, arg, error))
            return EX_IOERR;
        question.show.offset += answer.shown.piece.n;
        if (answer.shown.piece.n == 0 || question.show.offset >= answer.shown.size)
            return EX_OK;
    }
}

int queue_order(struct queue_client *q, enum order_kind kind, enum priority priority, const struct queue_selection *s,
                struct queue_answer *said, struct error *error)
{
    struct message question = {.type = MESSAGE_ORDER}, answer;
    question.order = (struct message_order){.kind = (uint16_t)kind, .priority = (uint16_t)priority, .id = s->id};
    question.order.site = span_of(s->site);
    question.order.sender = span_of(s->sender);
    question.order.recipient = span_of(s->recipient);
    int status = ask(q, &question, MESSAGE_DONE, &answer, error);
    if (status != EX_OK)
        return status;
    *said = (struct queue_answer){.count = answer.done.count, .left = answer.done.left};
    (void)snprintf(said->words, sizeof said->words, "%.*s", SPAN_ARG(words(answer.done.reply, "done")));
    return judge(answer.done.code, s->id, answer.done.reply, error);
}

int queue_sites(struct queue_client *q, queue_site_fn *each, void *arg, struct error *error)
{
    struct message question = {.type = MESSAGE_SITES}, answer;
    for (;; question.sites.more = 1) {
        struct record_site site;
        int status = ask(q, &question, MESSAGE_SITES_LISTED, &answer, error);
        if (status != EX_OK)
            return status;
        while (record_site_next(&answer.sites_listed.sites, &site))
            if (!each(&site, arg))
                return EX_OK;
        if (!answer.sites_listed.more)
            return EX_OK;
    }
}
