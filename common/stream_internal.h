/* stream_internal: what stream.c (life, events), stream_input.c, stream_output.c, stream_tls.c (OpenSSL) and stream_wait.c share. Nobody else includes it. */
#ifndef POSTINO_STREAM_INTERNAL_H
#define POSTINO_STREAM_INTERNAL_H

#include "common/stream.h"

#include <event2/event.h>
#include <event2/event_struct.h>
#include <sys/queue.h>

#define STREAM_READ_SIZE   ((size_t)128 << 10) /* the shared buffer, and so the largest input limit */
#define STREAM_OUTPUT_MOST ((size_t)8 << 20)

enum stream_state {
    STREAM_CONNECTING,
    STREAM_OPEN,
    STREAM_HANDSHAKE, /* first `plain_left` bytes of output go out in clear, then the handshake runs */
    STREAM_CLOSING,   /* the owner is gone: the output drains */
    STREAM_LINGERING, /* all sent, our direction shut; what still comes is thrown away, so that no reset overtakes our last reply */
    STREAM_CLOSED,    /* ended() was called for an error; nothing moves any more */
};

enum stream_io { STREAM_IO_DONE, STREAM_IO_AGAIN, STREAM_IO_EOF, STREAM_IO_ERROR };

struct stream {
    struct event_base *base;
    const struct stream_handler *handler;
    void *arg;
    int fd;
    enum stream_state state;
    bool accepted;
    bool want_input;
    bool reading; /* the read event is in the loop */
    bool eof;
    bool silent;     /* it was promised that no more input comes */
    bool replay;     /* call readable() for input that is there already */
    bool queued;     /* in the list of streams to flush */
    bool blocked;    /* the write event is in the loop */
    bool freed;      /* stream_free() came from inside a handler */
    bool tls_broken; /* SSL_ERROR_SSL or SSL_ERROR_SYSCALL: no close_notify, no session for later */
    bool tls_more;   /* OpenSSL holds input that no event will tell of */
    bool write_failed;
    bool gated;        /* in the line of handshakes that may not begin yet */
    bool giving_up;    /* its handshake is to fail, as it is being freed */
    unsigned messages; /* of TLS handshakes, that have come */
    unsigned depth;    /* of handler calls */
    unsigned round;    /* of streams_flush() in which it was queued */
    int failed_errno;
    size_t input_limit;
    char *kept; /* input that the owner left; NULL when none */
    char *in;   /* the unconsumed input: in `kept`, or during readable() in the shared buffer */
    size_t in_len;
    struct buf output;
    size_t output_start; /* how much of it is sent */
    size_t plain_left;
    SSL *ssl;
    uint64_t deadline; /* milliseconds of the monotonic clock; 0: none */
    uint64_t armed;    /* when the timer fires; 0: not armed */
    struct event read_event, write_event, timer;
    TAILQ_ENTRY(stream) link, gate_link, gone_link;
    struct stream_list *gone;     /* those without an owner, of which it is one; NULL: it has its owner */
    struct stream_waiter *waiter; /* what the handshake waits for; NULL: its peer */
};

/* stream.c */
void stream_fail(struct stream *, const char *why);                        /* ended(STREAM_ERROR); only from an event or a flush */
bool stream_call_ended(struct stream *, enum stream_end, const char *why); /* false: the handler freed the stream */
void stream_finish_close(struct stream *);                                 /* all is said */
void stream_destroy(struct stream *);                                      /* not from within a handler call */

/* stream_input.c */
void stream_on_read(evutil_socket_t, short what, void *stream);
void stream_update_reading(struct stream *);
void stream_stop_reading(struct stream *); /* until stream_begin_handshake() */
void stream_begin_handshake(struct stream *);
void stream_forget_input(struct stream *);

/* stream_output.c */
void stream_flush(struct stream *);
enum stream_io stream_send(struct stream *); /* what the socket takes at once */
void stream_wait_writable(struct stream *);
void stream_unqueue(struct stream *);
void stream_release_output(struct stream *);

/* stream_wait.c */
int stream_wait_handshake(struct stream *); /* SSL_do_handshake(), or -1 and stream_waits(): there is nothing to do now */
bool stream_waits(const struct stream *);   /* for something else than its peer */
void stream_wait_begin(struct stream *);    /* behind SSL_ERROR_WANT_ASYNC */
void stream_wait_cancel(struct stream *);   /* before its SSL is freed */

/* stream_tls.c */
enum stream_io stream_tls_read(struct stream *, char *to, size_t room, size_t *got);
enum stream_io stream_tls_write(struct stream *, const char *p, size_t n, size_t *sent);
void stream_handshake(struct stream *); /* a step of it, when its peer has said something or can take more */
const char *stream_tls_error(struct stream *, const char *what, char *text, size_t size);
void stream_tls_close(struct stream *, bool notify);

/* ---- on the way of each command ---- */

/* Around a handler call. */
static inline void stream_enter(struct stream *s)
{
    s->depth++;
}

/* False: the handler freed it, and it is gone. */
static inline bool stream_leave(struct stream *s)
{
    if (--s->depth > 0 || !s->freed)
        return true;
    stream_destroy(s);
    return false;
}

static inline bool stream_wants_more(const struct stream *s)
{
    return s->state == STREAM_OPEN && s->want_input && !s->eof && s->in_len < s->input_limit;
}

static inline void stream_set_reading(struct stream *s, bool on)
{
    if (s->reading == on)
        return;
    s->reading = on;
    if (on)
        event_add(&s->read_event, NULL);
    else
        event_del(&s->read_event);
}

#endif
