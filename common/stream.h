/* stream: a non-blocking connection to a stranger, with or without TLS, with bounded buffers and a timeout. Used by smtpd and remote.
 *
 *      CONNECTING -> OPEN (plain) -> HANDSHAKE -> OPEN (TLS) -> CLOSED
 *
 * Input: the owner looks at stream_input() in its `readable` handler, takes what it can use with stream_consume(), and is called again
 * when there is more. Input is read only while the owner wants it (stream_want_input) and its buffer is not full; so a peer that sends
 * faster than we work is stopped by TCP. Output gathers and leaves once a turn (streams_flush), in one write with what was gathered;
 * `drained` is called when the backlog has gone below the low mark. Timeout: one deadline, set by the owner for what it waits for. After
 * STREAM_TIMEOUT or STREAM_EOF the owner may still write, and stream_close_after_flush(). input_limit is 128 KiB at most. A handler may
 * call stream_free() on its own stream. The program ignores SIGPIPE. */
#ifndef POSTINO_STREAM_H
#define POSTINO_STREAM_H

#include "common/buf.h"
#include "common/error.h"

#include <openssl/ssl.h>
#include <stdint.h>
#include <sys/socket.h>

struct event_base;
struct stream;

enum stream_end { STREAM_EOF, STREAM_TIMEOUT, STREAM_ERROR /* the text says which: errno, TLS alert, failed handshake */ };

struct stream_handler {
    void (*connected)(struct stream *, void *arg); /* TCP is there (client side only) */
    void (*secured)(struct stream *, void *arg);   /* the handshake is done */
    void (*readable)(struct stream *, void *arg);
    void (*drained)(struct stream *, void *arg);                                 /* NULL: not wanted */
    void (*ended)(struct stream *, enum stream_end, const char *why, void *arg); /* the owner frees the stream, here or later */
};

/* The descriptor must be non-blocking; it becomes the stream's, also when there is no memory (NULL). */
struct stream *stream_accepted(struct event_base *, int fd, size_t input_limit, const struct stream_handler *, void *arg);
/* Starts a connection; the result comes to connected() or ended(). NULL: the socket could not even be made. */
struct stream *stream_connect(struct event_base *, const struct sockaddr *, socklen_t, size_t input_limit, const struct stream_handler *,
                              void *arg, struct error *);
/* From now on its events go there. */
void stream_own(struct stream *, const struct stream_handler *, void *arg);
/* The same with a socket of the caller's making, as one that is bound; it must be non-blocking, and becomes the stream's, also when there is no memory. */
struct stream *stream_connect_from(struct event_base *, int fd, const struct sockaddr *, socklen_t, size_t input_limit,
                                   const struct stream_handler *, void *arg, struct error *);
void stream_free(struct stream *); /* closes at once */
/* Sends what is gathered (and TLS close_notify), then closes and frees itself; no handler is called again. */
void stream_close_after_flush(struct stream *);
/* Sends what the socket takes at once of what is gathered, and closes. Not from a handler of its own. */
void stream_close_at_once(struct stream *);
size_t streams_open(void); /* of this process, those that still close included: so many descriptors */
/* Of those whose owner is gone, the one that has waited longest is closed at once: first of those that have only the peer's end to wait for, then of those with
 * output left. False: there is none. */
bool streams_drop_one(void);
/* The peer has promised to send nothing more (QUIT): a close does not have to wait for its end of input. */
void stream_promised_silence(struct stream *);

struct span stream_input(const struct stream *);
void stream_consume(struct stream *, size_t n);
void stream_consume_secret(struct stream *, size_t n); /* the same, and wipes it */
void stream_want_input(struct stream *, bool);         /* true again: readable() is called once more for what is there already */

void stream_write(struct stream *, const void *, size_t); /* copied */
void stream_write_span(struct stream *, struct span);
void stream_write_secret(struct stream *, struct span); /* the same; the copy is wiped when it is sent, or the stream ends */
struct buf *stream_output(struct stream *);             /* to append to directly (printf); call stream_flush_later() after it */
void stream_flush_later(struct stream *);
size_t stream_backlog(const struct stream *); /* bytes that wait to be sent */
/* Whether the end of what was written will never leave this host if the stream is freed now: then the peer can't have it. Also in ended(). */
bool stream_unsent(const struct stream *);

void stream_timeout(struct stream *, uint64_t milliseconds); /* from now; 0: none */

/* TLS. What was read but not consumed before the handshake is thrown away (CVE-2011-0411); the count of such bytes is returned. The
 * SSL_CTX stays the caller's. */
size_t stream_start_tls_server(struct stream *, SSL_CTX *);
/* For stream_start_tls_client(), where more may be demanded of it before. `name`: for SNI, and the name to verify; NULL: none. `resume` stays the
 * caller's. NULL: no memory, or a name that can't be. */
SSL *stream_tls_client(SSL_CTX *, const char *name, bool verify, SSL_SESSION *resume);
/* The SSL becomes the stream's; NULL: the handshake fails, through ended(). */
size_t stream_start_tls_client(struct stream *, SSL *);

/* A handshake that has to wait for another process, which has what it needs (a private key). Its SSL_CTX has SSL_MODE_ASYNC. Code that OpenSSL
 * calls from a handshake says so with stream_wait():
 *
 *   stream_wait() --> begin() --> stream_wait_over() --> stream_wait() returns true
 *                        |
 *                        +--> the stream is freed: cancel() --> stream_wait() returns false
 *
 * In between the handshake stands still, on a stack of its own, and others go on. begin() and cancel() are called from the event loop's stack, and
 * stream_wait_over() is called by the owner of the answer, not from within begin(), and never behind cancel(). False at once: nothing can wait here;
 * the caller must fail. No more than STREAM_WAITS handshakes wait at a time in a process; others don't begin until then, in the order in which they
 * came. Whoever calls stream_wait() is on a stack of 32 KiB. */
#define STREAM_WAITS 64
struct stream_waiter {
    void (*begin)(struct stream_waiter *);
    void (*cancel)(struct stream_waiter *);
    struct stream *stream; /* the three are stream_wait's own */
    bool begun, over;
};
bool stream_wait(struct stream_waiter *);
void stream_wait_over(struct stream_waiter *);

bool stream_local(const struct stream *, struct sockaddr_storage *); /* our own address */
SSL *stream_tls(const struct stream *);                              /* NULL: plain */
void stream_tls_describe(const struct stream *, struct buf *out);    /* "TLSv1.3 TLS_AES_256_GCM_SHA384"; "" for none */

void streams_flush(void); /* all of this process; programs call it in their turn() */

#endif
