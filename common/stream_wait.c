/* Handshakes that wait for another process. OpenSSL runs each step of one as a job with a stack of its own (ASYNC_start_job(3)), which
 * stream_wait() leaves and SSL_do_handshake() enters again.
 *
 *   (gated) --> runs --stream_wait()--> WAITS --stream_wait_over()--> runs
 *
 * A stream that waits is not looked at when its peer says more. AddressSanitizer does not know the stack of a job, and says so once; it finds what it
 * finds all the same. */
#include "common/stream_internal.h"

#include <openssl/async.h>

static struct stream *running; /* whose SSL_do_handshake() is being executed */
static unsigned waiting;
static TAILQ_HEAD(, stream) gate = TAILQ_HEAD_INITIALIZER(gate);

bool stream_waits(const struct stream *s)
{
    return s->gated || (s->waiter && !s->waiter->over);
}

static void leave_gate(struct stream *s)
{
    if (s->gated)
        TAILQ_REMOVE(&gate, s, gate_link);
    s->gated = false;
}

static void open_gate(void)
{
    struct stream *s = TAILQ_FIRST(&gate);
    if (!s)
        return;
    leave_gate(s);
    stream_begin_handshake(s);
}

/* True: it stands in line. */
static bool enter_gate(struct stream *s)
{
    if (s->waiter || waiting < STREAM_WAITS || !(SSL_get_mode(s->ssl) & SSL_MODE_ASYNC))
        return false;
    s->gated = true;
    TAILQ_INSERT_TAIL(&gate, s, gate_link);
    stream_stop_reading(s);
    return true;
}

static int run(struct stream *s)
{
    struct stream *outer = running;
    running = s;
    int result = SSL_do_handshake(s->ssl);
    running = outer;
    return result;
}

/* Each step of a handshake lets the next one in, as long as there is room: so does the end of a stream. */
static void open_gate_if_room(void)
{
    if (waiting < STREAM_WAITS)
        open_gate();
}

int stream_wait_handshake(struct stream *s)
{
    if (stream_waits(s) || enter_gate(s))
        return -1;
    int result = run(s);
    open_gate_if_room();
    return result;
}

void stream_wait_begin(struct stream *s)
{
    struct stream_waiter *w = s->waiter;
    if (!w || w->begun)
        return;
    w->begun = true;
    stream_stop_reading(s);
    w->begin(w);
}

bool stream_wait(struct stream_waiter *w)
{
    struct stream *s = running;
    if (!s || s->giving_up || !ASYNC_get_current_job())
        return false;
    w->stream = s;
    w->begun = w->over = false;
    s->waiter = w;
    waiting++;
    while (!w->over && !s->giving_up && ASYNC_pause_job() == 1)
        continue;
    waiting--;
    s->waiter = NULL;
    return w->over;
}

void stream_wait_over(struct stream_waiter *w)
{
    w->over = true;
    stream_begin_handshake(w->stream);
}

/* The job must come to its end: its stack and what lies on it belong to nobody else. */
void stream_wait_cancel(struct stream *s)
{
    leave_gate(s);
    if (s->waiter) {
        s->giving_up = true;
        if (s->waiter->begun && !s->waiter->over)
            s->waiter->cancel(s->waiter);
        run(s);
        s->tls_broken = true;
    }
    open_gate_if_room();
}
