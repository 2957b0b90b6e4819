/* The TLS side of a stream: OpenSSL reads and writes the descriptor itself, and never blocks. */
#include "common/stream_internal.h"

#include <arpa/inet.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/x509_vfy.h>
#include <stdio.h>

#define MESSAGES_MOST 100 /* a handshake has a dozen; tickets and new keys may follow, now and then */

/* What an unsuccessful call of OpenSSL means. */
static enum stream_io classify(struct stream *s, int result)
{
    int saved = errno;
    switch (SSL_get_error(s->ssl, result)) {
    case SSL_ERROR_WANT_READ:
        return STREAM_IO_AGAIN;
    case SSL_ERROR_WANT_WRITE:
        stream_wait_writable(s);
        return STREAM_IO_AGAIN;
    case SSL_ERROR_WANT_ASYNC:
        stream_wait_begin(s);
        return STREAM_IO_AGAIN;
    case SSL_ERROR_ZERO_RETURN:
        return STREAM_IO_EOF;
    case SSL_ERROR_SYSCALL:
        s->tls_broken = true;
        errno = saved;
        return saved ? STREAM_IO_ERROR : STREAM_IO_EOF;
    default:
        s->tls_broken = true;
        errno = 0;
        /* SMTP says where a message ends, so a missing close_notify cuts nothing off. */
        return ERR_GET_REASON(ERR_peek_error()) == SSL_R_UNEXPECTED_EOF_WHILE_READING ? STREAM_IO_EOF : STREAM_IO_ERROR;
    }
}

static void prepare_call(void)
{
    ERR_clear_error();
    errno = 0;
}

/* Fills `to` from as many records as are there. */
enum stream_io stream_tls_read(struct stream *s, char *to, size_t room, size_t *got)
{
    *got = 0;
    do {
        size_t n = 0;
        prepare_call();
        if (SSL_read_ex(s->ssl, to + *got, room - *got, &n) <= 0) {
            enum stream_io how = classify(s, 0);
            s->tls_more = s->blocked;
            if (*got && how != STREAM_IO_AGAIN)
                s->tls_more = true; /* the same answer comes again, when what we have is used up */
            return *got ? STREAM_IO_DONE : how;
        }
        *got += n;
    } while (*got < room && SSL_has_pending(s->ssl));
    s->tls_more = SSL_has_pending(s->ssl);
    return STREAM_IO_DONE;
}

enum stream_io stream_tls_write(struct stream *s, const char *p, size_t n, size_t *sent)
{
    prepare_call();
    if (SSL_write_ex(s->ssl, p, n, sent) > 0)
        return STREAM_IO_DONE;
    *sent = 0;
    enum stream_io how = classify(s, 0);
    if (how == STREAM_IO_EOF) {
        errno = EPIPE;
        return STREAM_IO_ERROR;
    }
    return how;
}

static enum stream_io shake_hands(struct stream *s)
{
    if (!s->ssl)
        return STREAM_IO_ERROR;
    prepare_call();
    int result = stream_wait_handshake(s);
    if (stream_waits(s) && !SSL_waiting_for_async(s->ssl))
        return STREAM_IO_AGAIN;
    if (result == 1) {
        SSL_clear_mode(s->ssl, SSL_MODE_ASYNC);
        s->tls_more = SSL_has_pending(s->ssl);
        return STREAM_IO_DONE;
    }
    return classify(s, result);
}

const char *stream_tls_error(struct stream *s, const char *what, char *text, size_t size)
{
    int saved = errno;
    unsigned long code = ERR_peek_error();
    long verify = s->ssl ? SSL_get_verify_result(s->ssl) : X509_V_OK;
    const char *reason = code ? ERR_reason_error_string(code) : NULL;
    if (!s->ssl)
        snprintf(text, size, "%s failed: out of memory, or unusable settings", what);
    else if (s->messages > MESSAGES_MOST)
        snprintf(text, size, "%s failed: too many handshake messages", what);
    else if (verify != X509_V_OK && ERR_GET_REASON(code) == SSL_R_CERTIFICATE_VERIFY_FAILED)
        snprintf(text, size, "%s failed: certificate: %s", what, X509_verify_cert_error_string(verify));
    else if (ERR_GET_REASON(code) == SSL_R_UNEXPECTED_EOF_WHILE_READING || (!code && !saved))
        snprintf(text, size, "%s failed: connection closed by peer", what);
    else
        snprintf(text, size, "%s failed: %s", what, reason ? reason : strerror(saved));
    return text;
}

void stream_handshake(struct stream *s)
{
    char text[300];
    if (s->plain_left) { /* it must not go ahead of our 220 */
        stream_set_reading(s, false);
        return;
    }
    enum stream_io how = shake_hands(s);
    if (how == STREAM_IO_AGAIN)
        return;
    if (how != STREAM_IO_DONE) {
        s->tls_broken = true;
        stream_fail(s, stream_tls_error(s, "TLS handshake", text, sizeof text));
        return;
    }
    s->state = STREAM_OPEN;
    if (stream_backlog(s))
        stream_flush_later(s);
    stream_enter(s);
    if (s->handler->secured)
        s->handler->secured(s, s->arg);
    if (stream_leave(s) && s->state == STREAM_OPEN)
        stream_update_reading(s);
}

/* A session that is not shut down properly would be lost for resumption. */
void stream_tls_close(struct stream *s, bool notify)
{
    if (!s->ssl)
        return;
    stream_wait_cancel(s);
    if (!s->tls_broken && !SSL_in_init(s->ssl)) {
        prepare_call();
        if (notify)
            SSL_shutdown(s->ssl);
        else
            SSL_set_shutdown(s->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
    }
    SSL_free(s->ssl);
    s->ssl = NULL;
}

/* ---- start ----------------------------------------------------------------------------------------------------------------------- */

/* OpenSSL looks for the next message, and the next (KeyUpdate, HelloRequest, ClientHello, NewSessionTicket), as fast as they come, and would not come back
 * before they end: one peer would have the process. Without anything to read from it fails. */
static void on_message(int sent, int version, int type, const void *p, size_t n, SSL *ssl, void *arg)
{
    struct stream *s = arg;
    (void)version, (void)p, (void)n;
    if (!sent && type == SSL3_RT_HANDSHAKE && ++s->messages > MESSAGES_MOST)
        SSL_set0_rbio(ssl, NULL);
}

static bool adopt(struct stream *s, SSL *ssl)
{
    s->messages = 0;
    SSL_set_msg_callback(ssl, on_message);
    SSL_set_msg_callback_arg(ssl, s);
    SSL_set_mode(ssl, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
    SSL_set_options(ssl, SSL_OP_NO_RENEGOTIATION);
    SSL_set_read_ahead(ssl, 1);
    return SSL_set_fd(ssl, s->fd) == 1;
}

/* Without `ssl` the handshake fails at once, through ended(). */
static size_t start(struct stream *s, SSL *ssl)
{
    size_t dropped = s->in_len;
    stream_consume(s, s->in_len);
    s->ssl = ssl;
    s->state = STREAM_HANDSHAKE;
    s->replay = false;
    s->plain_left = stream_backlog(s);
    if (s->plain_left)
        stream_flush_later(s);
    else
        stream_begin_handshake(s);
    return dropped;
}

size_t stream_start_tls_server(struct stream *s, SSL_CTX *context)
{
    SSL *ssl = SSL_new(context);
    if (ssl && !adopt(s, ssl)) {
        SSL_free(ssl);
        ssl = NULL;
    }
    if (ssl)
        SSL_set_accept_state(ssl);
    return start(s, ssl);
}

static bool is_literal(const char *name)
{
    unsigned char address[16];
    return inet_pton(AF_INET, name, address) == 1 || inet_pton(AF_INET6, name, address) == 1;
}

static bool set_name(SSL *ssl, const char *name, bool verify)
{
    if (is_literal(name))
        return !verify || X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), name) == 1;
    return SSL_set_tlsext_host_name(ssl, name) == 1 && (!verify || SSL_set1_host(ssl, name) == 1);
}

SSL *stream_tls_client(SSL_CTX *context, const char *name, bool verify, SSL_SESSION *resume)
{
    SSL *ssl = SSL_new(context);
    if (!ssl || (verify && !name) || (name && !set_name(ssl, name, verify))) {
        SSL_free(ssl);
        return NULL;
    }
    SSL_set_verify(ssl, verify ? SSL_VERIFY_PEER : SSL_VERIFY_NONE, NULL);
    if (resume)
        SSL_set_session(ssl, resume);
    return ssl;
}

size_t stream_start_tls_client(struct stream *s, SSL *ssl)
{
    if (ssl && !adopt(s, ssl)) {
        SSL_free(ssl);
        ssl = NULL;
    }
    if (ssl)
        SSL_set_connect_state(ssl);
    return start(s, ssl);
}

SSL *stream_tls(const struct stream *s)
{
    return s->state == STREAM_HANDSHAKE ? NULL : s->ssl;
}

void stream_tls_describe(const struct stream *s, struct buf *out)
{
    if (stream_tls(s))
        buf_printf(out, "%s %s", SSL_get_version(s->ssl), SSL_get_cipher_name(s->ssl));
}
