/* Streams over a socketpair or loopback TCP: plain and TLS on both sides, timeouts, back-pressure, closing, and bytes smuggled behind
 * STARTTLS. */
#include "common/log.h"
#include "common/stream.h"
#include "tests/unit/fake_clock.h"

#include <arpa/inet.h>
#include <event2/event.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/x509.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define LIMIT 4096

static struct event_base *base;

/* One end: what happened to it. */
struct end {
    struct stream *stream;
    struct buf got;
    bool connected, secured, ended, free_on_readable, leave_input;
    enum stream_end how;
    char why[300];
    int readable_calls, drained_calls;
};

static void on_connected(struct stream *s, void *arg)
{
    (void)s;
    ((struct end *)arg)->connected = true;
}

static void on_secured(struct stream *s, void *arg)
{
    (void)s;
    ((struct end *)arg)->secured = true;
}

static void on_readable(struct stream *s, void *arg)
{
    struct end *e = arg;
    e->readable_calls++;
    if (e->leave_input)
        return;
    buf_add_span(&e->got, stream_input(s));
    stream_consume(s, stream_input(s).n);
    if (e->free_on_readable) {
        stream_free(s);
        e->stream = NULL;
    }
}

static void on_drained(struct stream *s, void *arg)
{
    (void)s;
    ((struct end *)arg)->drained_calls++;
}

static void on_ended(struct stream *s, enum stream_end how, const char *why, void *arg)
{
    (void)s;
    struct end *e = arg;
    assert_false(e->ended);
    e->ended = true;
    e->how = how;
    snprintf(e->why, sizeof e->why, "%s", why);
}

static const struct stream_handler handler = {on_connected, on_secured, on_readable, on_drained, on_ended};

/* Turns of the loop until `done`, at most 5000: some seconds for what the kernel has not brought yet. */
#define RUN_UNTIL(done)                                                                                                                    \
    do {                                                                                                                                   \
        for (int turns_ = 0; turns_ < 5000 && !(done); turns_++)                                                                           \
            turn();                                                                                                                        \
        assert_true(done);                                                                                                                 \
    } while (0)

/* Five milliseconds of the streams' time, however long it takes. */
static void turn(void)
{
    streams_flush();
    event_base_loop(base, EVLOOP_NONBLOCK);
    streams_flush();
    (void)usleep(1000);
    clock_pass(0.005);
}

static void turns(int n)
{
    while (n-- > 0)
        turn();
}

static void make_pair(int fd[2])
{
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fd), 0);
}

static void open_end(struct end *e, int fd)
{
    *e = (struct end){0};
    e->stream = stream_accepted(base, fd, LIMIT, &handler, e);
    assert_non_null(e->stream);
}

static void close_end(struct end *e)
{
    stream_free(e->stream);
    buf_free(&e->got);
}

static void write_text(struct end *e, const char *text)
{
    stream_write(e->stream, text, strlen(text));
}

static bool got(const struct end *e, const char *text)
{
    return span_equal(buf_span(&e->got), span_of(text));
}

/* ---- TLS ------------------------------------------------------------------------------------------------------------------------- */

static SSL_CTX *server_context, *client_context;

static X509 *self_signed(EVP_PKEY *key, const char *name)
{
    X509 *certificate = X509_new();
    X509_set_version(certificate, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1);
    X509_gmtime_adj(X509_getm_notBefore(certificate), -60);
    X509_gmtime_adj(X509_getm_notAfter(certificate), 3600);
    X509_set_pubkey(certificate, key);
    X509_NAME *subject = X509_get_subject_name(certificate);
    X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, (const unsigned char *)name, -1, -1, 0);
    X509_set_issuer_name(certificate, subject);
    assert_true(X509_sign(certificate, key, EVP_sha256()) > 0);
    return certificate;
}

static void make_contexts(void)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *certificate = self_signed(key, "mx.example");
    server_context = SSL_CTX_new(TLS_server_method());
    client_context = SSL_CTX_new(TLS_client_method());
    SSL_CTX_use_certificate(server_context, certificate);
    SSL_CTX_use_PrivateKey(server_context, key);
    X509_STORE_add_cert(SSL_CTX_get_cert_store(client_context), certificate);
    X509_free(certificate);
    EVP_PKEY_free(key);
}

static int set_up(void **state)
{
    (void)state;
    signal(SIGPIPE, SIG_IGN);
    base = event_base_new();
    make_contexts();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    turns(2);
    SSL_CTX_free(server_context);
    SSL_CTX_free(client_context);
    event_base_free(base);
    libevent_global_shutdown();
    return 0;
}

static void make_tls_pair(struct end *server, struct end *client)
{
    int fd[2];
    make_pair(fd);
    open_end(server, fd[0]);
    open_end(client, fd[1]);
    stream_start_tls_server(server->stream, server_context);
    stream_start_tls_client(client->stream, stream_tls_client(client_context, "mx.example", true, NULL));
    RUN_UNTIL(server->secured && client->secured);
}

/* ---- tests ----------------------------------------------------------------------------------------------------------------------- */

static void plain_bytes_go_both_ways(void **state)
{
    (void)state;
    int fd[2];
    struct end a, b;
    make_pair(fd);
    open_end(&a, fd[0]);
    open_end(&b, fd[1]);
    write_text(&a, "220 mx ");
    buf_printf(stream_output(a.stream), "%s\r\n", "ready");
    stream_flush_later(a.stream);
    write_text(&b, "EHLO x\r\n");
    RUN_UNTIL(got(&b, "220 mx ready\r\n") && got(&a, "EHLO x\r\n"));
    assert_int_equal(b.readable_calls, 1); /* one write for all of it */
    assert_null(stream_tls(a.stream));
    close_end(&a);
    RUN_UNTIL(b.ended);
    assert_int_equal(b.how, STREAM_EOF);
    close_end(&b);
}

static void input_left_over_comes_again(void **state)
{
    (void)state;
    int fd[2];
    struct end a;
    make_pair(fd);
    open_end(&a, fd[0]);
    a.leave_input = true;
    assert_int_equal(write(fd[1], "half", 4), 4);
    RUN_UNTIL(a.readable_calls == 1);
    assert_int_equal(write(fd[1], " line", 5), 5);
    RUN_UNTIL(a.readable_calls == 2);
    assert_true(span_equal(stream_input(a.stream), SPAN_LITERAL("half line")));
    stream_consume(a.stream, 5);
    assert_true(span_equal(stream_input(a.stream), SPAN_LITERAL("line")));
    stream_consume_secret(a.stream, 100);
    assert_int_equal(stream_input(a.stream).n, 0);
    close_end(&a);
    close(fd[1]);
}

/* An owner who waits for something gets no input, and gets what has come when it wants it again: also what came before the end. */
static void unwanted_input_waits(void **state)
{
    (void)state;
    int fd[2];
    struct end a;
    make_pair(fd);
    open_end(&a, fd[0]);
    a.leave_input = true;
    assert_int_equal(write(fd[1], "one", 3), 3);
    RUN_UNTIL(a.readable_calls == 1);
    stream_want_input(a.stream, false);
    assert_int_equal(write(fd[1], "two", 3), 3);
    close(fd[1]);
    turns(5);
    assert_int_equal(a.readable_calls, 1);
    assert_false(a.ended);
    a.leave_input = false;
    stream_want_input(a.stream, true);
    RUN_UNTIL(a.ended);
    assert_true(got(&a, "onetwo"));
    assert_int_equal(a.how, STREAM_EOF);
    close_end(&a);
}

/* What was left is shown again when input is wanted again, though nothing new comes. */
static void left_input_is_shown_again(void **state)
{
    (void)state;
    int fd[2];
    struct end a;
    make_pair(fd);
    open_end(&a, fd[0]);
    a.leave_input = true;
    assert_int_equal(write(fd[1], "one", 3), 3);
    RUN_UNTIL(a.readable_calls == 1);
    stream_want_input(a.stream, false);
    turns(3);
    assert_int_equal(a.readable_calls, 1);
    a.leave_input = false;
    stream_want_input(a.stream, true);
    RUN_UNTIL(got(&a, "one"));
    close_end(&a);
    close(fd[1]);
}

/* No more than the limit is held, and the sender is stopped by the socket. */
static void full_input_stops_the_sender(void **state)
{
    (void)state;
    int fd[2];
    struct end a;
    static char junk[1 << 20];
    make_pair(fd);
    open_end(&a, fd[0]);
    a.leave_input = true;
    ssize_t sent = 0;
    for (int i = 0; i < 20; i++) {
        ssize_t n = write(fd[1], junk, sizeof junk);
        sent += n > 0 ? n : 0;
        turn();
    }
    assert_true(sent < (ssize_t)sizeof junk);
    assert_int_equal(stream_input(a.stream).n, LIMIT);
    a.leave_input = false;
    stream_consume(a.stream, LIMIT);
    RUN_UNTIL(a.got.len + LIMIT == (size_t)sent);
    close_end(&a);
    close(fd[1]);
}

static void slow_reader_gets_all_of_it(void **state)
{
    (void)state;
    int fd[2];
    struct end a, b;
    make_pair(fd);
    open_end(&a, fd[0]);
    open_end(&b, fd[1]);
    stream_want_input(b.stream, false);
    for (int i = 0; i < 400000; i++)
        write_text(&a, "0123456789");
    turns(3);
    assert_true(stream_backlog(a.stream) > 1000000);
    assert_true(stream_unsent(a.stream));
    assert_int_equal(a.drained_calls, 0);
    stream_want_input(b.stream, true);
    RUN_UNTIL(b.got.len == 4000000);
    assert_int_equal(stream_backlog(a.stream), 0);
    assert_false(stream_unsent(a.stream));
    assert_true(a.drained_calls > 0);
    for (size_t i = 0; i < b.got.len; i++)
        assert_int_equal(b.got.data[i], '0' + (int)(i % 10));
    close_end(&a);
    close_end(&b);
}

static int log_to_pipe(void)
{
    int fd[2];
    assert_int_equal(pipe2(fd, O_NONBLOCK | O_CLOEXEC), 0);
    log_open("test", fd[1], LOG_TO_STDERR, LOG_LEVEL_INFO);
    return fd[0];
}

static void assert_log_has(int fd, const char *what)
{
    char line[400] = "";
    assert_true(read(fd, line, sizeof line - 1) > 0);
    assert_non_null(strstr(line, what));
}

/* Once a turn; when a peer takes what it did not take at once; and when the connection ends at once. */
static void the_log_is_written_before_a_peer_is_told(void **state)
{
    (void)state;
    int fd[2], lines = log_to_pipe();
    char junk[65536];
    struct end a;
    make_pair(fd);
    open_end(&a, fd[0]);
    log_info("the first line");
    write_text(&a, "250 first");
    assert_true(read(lines, junk, sizeof junk) < 0);
    streams_flush();
    assert_log_has(lines, "the first line");
    for (int i = 0; i < 100000; i++)
        write_text(&a, "0123456789");
    streams_flush();
    assert_true(stream_backlog(a.stream) > 0);
    log_info("the late line");
    while (read(fd[1], junk, sizeof junk) > 0)
        assert_true(read(lines, junk, sizeof junk) < 0);
    event_base_loop(base, EVLOOP_NONBLOCK);
    assert_log_has(lines, "the late line");
    log_info("the last line");
    write_text(&a, "421 last");
    stream_close_at_once(a.stream);
    assert_log_has(lines, "the last line");
    log_open("test", dup(STDERR_FILENO), LOG_TO_STDERR, LOG_LEVEL_INFO);
    buf_free(&a.got);
    close(fd[1]);
    close(lines);
}

static void output_has_a_bound(void **state)
{
    (void)state;
    int fd[2];
    struct end a;
    static char junk[1 << 20];
    make_pair(fd);
    open_end(&a, fd[0]);
    for (int i = 0; i < 10; i++)
        stream_write(a.stream, junk, sizeof junk);
    RUN_UNTIL(a.ended);
    assert_int_equal(a.how, STREAM_ERROR);
    close_end(&a);
    close(fd[1]);
}

static void deadline_passes(void **state)
{
    (void)state;
    int fd[2];
    struct end a;
    make_pair(fd);
    open_end(&a, fd[0]);
    stream_timeout(a.stream, 60);
    stream_timeout(a.stream, 150); /* later than the timer that is armed */
    turns(10);
    stream_timeout(a.stream, 0);
    turns(40);
    assert_false(a.ended);
    stream_timeout(a.stream, 100000);
    stream_timeout(a.stream, 20); /* sooner */
    RUN_UNTIL(a.ended);
    assert_int_equal(a.how, STREAM_TIMEOUT);
    write_text(&a, "421 timeout\r\n"); /* there is still a last word */
    stream_close_after_flush(a.stream);
    a.stream = NULL;
    turns(2);
    char text[100];
    assert_int_equal(read(fd[1], text, sizeof text), 13);
    close(fd[1]);
    turns(2);
    close_end(&a);
}

static void close_after_flush_sends_all(void **state)
{
    (void)state;
    int fd[2];
    struct end a, b;
    make_pair(fd);
    open_end(&a, fd[0]);
    open_end(&b, fd[1]);
    for (int i = 0; i < 100000; i++)
        write_text(&a, "0123456789");
    write_text(&b, "more that nobody reads");
    stream_close_after_flush(a.stream);
    a.stream = NULL;
    RUN_UNTIL(b.ended);
    assert_int_equal(b.got.len, 1000000);
    assert_int_equal(b.how, STREAM_EOF);
    assert_false(a.ended);
    close_end(&b);
    turns(2);
    close_end(&a);
}

/* A server waits for the client's end of input, unless the client has said that nothing comes. */
static void promised_silence_is_not_waited_for(void **state)
{
    (void)state;
    for (int promised = 0; promised <= 1; promised++) {
        int fd[2];
        struct end a;
        make_pair(fd);
        open_end(&a, fd[0]);
        if (promised)
            stream_promised_silence(a.stream);
        write_text(&a, "221 bye\r\n");
        stream_close_after_flush(a.stream);
        a.stream = NULL;
        streams_flush();
        assert_int_equal(fcntl(fd[0], F_GETFD) < 0, promised);
        char text[100];
        assert_int_equal(read(fd[1], text, sizeof text), 9);
        assert_int_equal(read(fd[1], text, sizeof text), 0);
        close(fd[1]);
        turns(2);
        assert_true(fcntl(fd[0], F_GETFD) < 0);
        close_end(&a);
    }
}

/* Who has heard all goes before who has not, and nobody's stream that has an owner. */
static void who_lingers_makes_room(void **state)
{
    (void)state;
    int fd[2], slow[2], owned[2];
    struct end a, b, c;
    char text[100];
    make_pair(fd);
    make_pair(slow);
    make_pair(owned);
    open_end(&b, slow[0]);
    open_end(&a, fd[0]);
    open_end(&c, owned[0]);
    for (int i = 0; i < 100000; i++)
        write_text(&b, "0123456789");
    stream_close_after_flush(b.stream);
    write_text(&a, "221 bye\r\n");
    stream_close_after_flush(a.stream);
    a.stream = b.stream = NULL;
    streams_flush();
    assert_int_equal(streams_open(), 3);
    assert_true(streams_drop_one());
    assert_true(fcntl(fd[0], F_GETFD) < 0);
    assert_int_equal(read(fd[1], text, sizeof text), 9);
    assert_int_equal(read(fd[1], text, sizeof text), 0);
    assert_true(fcntl(slow[0], F_GETFD) >= 0);
    assert_true(streams_drop_one());
    assert_true(fcntl(slow[0], F_GETFD) < 0);
    assert_false(streams_drop_one());
    assert_int_equal(streams_open(), 1);
    close(fd[1]);
    close(slow[1]);
    close(owned[1]);
    turns(2);
    close_end(&a);
    close_end(&b);
    close_end(&c);
}

/* What the peer said before it hung up is read though writing to it fails. */
static void last_words_are_read(void **state)
{
    (void)state;
    int fd[2];
    struct end a;
    make_pair(fd);
    open_end(&a, fd[0]);
    stream_want_input(a.stream, false);
    assert_int_equal(write(fd[1], "421 bye\r\n", 9), 9);
    close(fd[1]);
    stream_want_input(a.stream, true);
    write_text(&a, "MAIL FROM:<>\r\n");
    streams_flush(); /* EPIPE */
    RUN_UNTIL(a.ended);
    assert_true(got(&a, "421 bye\r\n"));
    assert_int_equal(a.how, STREAM_ERROR);
    assert_string_equal(a.why, "Broken pipe");
    close_end(&a);
}

static void handler_may_free_its_stream(void **state)
{
    (void)state;
    int fd[2];
    struct end a;
    make_pair(fd);
    open_end(&a, fd[0]);
    a.free_on_readable = true;
    assert_int_equal(write(fd[1], "x", 1), 1);
    RUN_UNTIL(!a.stream);
    char c;
    assert_int_equal(read(fd[1], &c, 1), 0);
    buf_free(&a.got);
    close(fd[1]);
}

static void tls_goes_both_ways(void **state)
{
    (void)state;
    struct end server, client;
    make_tls_pair(&server, &client);
    struct buf text = {0};
    stream_tls_describe(server.stream, &text);
    assert_memory_equal(buf_text(&text), "TLSv1.3 TLS_", 12);
    buf_free(&text);
    for (int i = 0; i < 300000; i++)
        write_text(&client, "0123456789");
    write_text(&server, "250 ok\r\n");
    RUN_UNTIL(server.got.len == 3000000 && got(&client, "250 ok\r\n"));
    for (size_t i = 0; i < server.got.len; i++)
        assert_int_equal(server.got.data[i], '0' + (int)(i % 10));
    stream_close_after_flush(server.stream);
    server.stream = NULL;
    RUN_UNTIL(client.ended);
    assert_int_equal(client.how, STREAM_EOF);
    close_end(&client);
    turns(2);
    close_end(&server);
}

/* Records that OpenSSL already holds are handed over though the socket has nothing more. */
static void pending_records_are_drained(void **state)
{
    (void)state;
    struct end server, client;
    make_tls_pair(&server, &client);
    stream_want_input(server.stream, false);
    for (int i = 0; i < 10000; i++)
        write_text(&client, "0123456789");
    turns(5);
    assert_int_equal(server.got.len, 0);
    stream_want_input(server.stream, true);
    RUN_UNTIL(server.got.len == 100000);
    close_end(&client);
    RUN_UNTIL(server.ended);
    assert_int_equal(server.how, STREAM_EOF);
    close_end(&server);
}

/* CVE-2011-0411: what was pipelined behind STARTTLS never reaches the session. */
static void update_keys(struct end *e, int times)
{
    SSL *ssl = stream_tls(e->stream);
    for (int i = 0; i < times; i++)
        if (SSL_key_update(ssl, SSL_KEY_UPDATE_NOT_REQUESTED) != 1 || SSL_do_handshake(ssl) != 1)
            break;
}

/* OpenSSL takes one after the other, for as long as there are more, before it comes back. */
static void a_flood_of_handshake_messages_ends_it(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct end ends[2], *from = &ends[i], *to = &ends[!i];
        make_tls_pair(&ends[0], &ends[1]);
        turns(10);
        update_keys(from, 10);
        write_text(from, "hello");
        turns(4);
        assert_true(got(to, "hello"));
        update_keys(from, 1000);
        turns(4);
        assert_true(to->ended && to->how == STREAM_ERROR);
        assert_non_null(strstr(to->why, "too many handshake messages"));
        close_end(&ends[0]);
        close_end(&ends[1]);
    }
}

static void bytes_behind_starttls_are_dropped(void **state)
{
    (void)state;
    int fd[2];
    struct end server, client;
    make_pair(fd);
    open_end(&server, fd[0]);
    open_end(&client, fd[1]);
    server.leave_input = true;
    write_text(&client, "STARTTLS\r\nMAIL FROM:<evil@example>\r\n");
    RUN_UNTIL(server.readable_calls > 0);
    stream_consume(server.stream, 10);
    server.leave_input = false;
    write_text(&server, "220 go\r\n");
    assert_int_equal(stream_start_tls_server(server.stream, server_context), 26);
    RUN_UNTIL(got(&client, "220 go\r\n")); /* in clear, before the handshake */
    assert_int_equal(stream_start_tls_client(client.stream, stream_tls_client(client_context, NULL, false, NULL)), 0);
    RUN_UNTIL(server.secured && client.secured);
    assert_int_equal(server.got.len, 0);
    write_text(&client, "EHLO b\r\n");
    RUN_UNTIL(got(&server, "EHLO b\r\n"));
    close_end(&server);
    close_end(&client);
}

static void plain_text_is_no_handshake(void **state)
{
    (void)state;
    int fd[2];
    struct end server;
    make_pair(fd);
    open_end(&server, fd[0]);
    stream_start_tls_server(server.stream, server_context);
    assert_int_equal(write(fd[1], "EHLO mallory\r\n", 14), 14);
    RUN_UNTIL(server.ended);
    assert_int_equal(server.how, STREAM_ERROR);
    assert_memory_equal(server.why, "TLS handshake failed: ", 22);
    close_end(&server);
    close(fd[1]);
}

static void silent_handshake_times_out(void **state)
{
    (void)state;
    int fd[2];
    struct end server;
    make_pair(fd);
    open_end(&server, fd[0]);
    stream_start_tls_server(server.stream, server_context);
    stream_timeout(server.stream, 20);
    RUN_UNTIL(server.ended);
    assert_int_equal(server.how, STREAM_TIMEOUT);
    stream_close_after_flush(server.stream);
    server.stream = NULL;
    char c;
    assert_int_equal(read(fd[1], &c, 1), 0);
    close_end(&server);
    close(fd[1]);
}

static void wrong_name_is_refused_when_verified(void **state)
{
    (void)state;
    int fd[2];
    struct end server, client;
    make_pair(fd);
    open_end(&server, fd[0]);
    open_end(&client, fd[1]);
    stream_start_tls_server(server.stream, server_context);
    stream_start_tls_client(client.stream, stream_tls_client(client_context, "other.example", true, NULL));
    RUN_UNTIL(client.ended && server.ended);
    assert_false(client.secured);
    assert_non_null(strstr(client.why, "certificate: hostname mismatch"));
    close_end(&server);
    close_end(&client);
}

static void one_session_serves_twice(void **state)
{
    (void)state;
    struct end server, client;
    make_tls_pair(&server, &client);
    write_text(&server, "x"); /* the tickets come with it */
    RUN_UNTIL(got(&client, "x"));
    SSL_SESSION *session = SSL_get1_session(stream_tls(client.stream));
    close_end(&server);
    close_end(&client);
    int fd[2];
    make_pair(fd);
    open_end(&server, fd[0]);
    open_end(&client, fd[1]);
    stream_start_tls_server(server.stream, server_context);
    stream_start_tls_client(client.stream, stream_tls_client(client_context, "mx.example", true, session));
    RUN_UNTIL(server.secured && client.secured);
    assert_true(SSL_session_reused(stream_tls(client.stream)));
    SSL_SESSION_free(session);
    close_end(&server);
    close_end(&client);
}

static int listen_loopback(struct sockaddr_in *address)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    socklen_t size = sizeof *address;
    *address = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    assert_int_equal(bind(fd, (struct sockaddr *)address, size), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)address, &size), 0);
    return fd;
}

static void connection_comes_or_is_refused(void **state)
{
    (void)state;
    struct sockaddr_in address;
    struct error error;
    struct end a = {0}, b = {0};
    int fd = listen_loopback(&address);
    b.stream = stream_connect(base, (struct sockaddr *)&address, sizeof address, LIMIT, &handler, &b, &error);
    RUN_UNTIL(b.ended);
    assert_int_equal(b.how, STREAM_ERROR);
    assert_string_equal(b.why, "Connection refused");
    close_end(&b);
    assert_int_equal(listen(fd, 1), 0);
    a.stream = stream_connect(base, (struct sockaddr *)&address, sizeof address, LIMIT, &handler, &a, &error);
    RUN_UNTIL(a.connected);
    int peer = accept(fd, NULL, NULL);
    assert_int_equal(write(peer, "220\r\n", 5), 5);
    RUN_UNTIL(got(&a, "220\r\n"));
    close_end(&a);
    close(peer);
    close(fd);
}

/* ---- handshakes that wait -------------------------------------------------------------------------------------------------------- */

/* What a handshake waits for, as code below OpenSSL has it on its stack. */
static struct stream_waiter *waiters[200];
static size_t begun, cancelled, resumed, given_up;

static void on_begin(struct stream_waiter *w)
{
    waiters[begun++] = w;
}

static void on_cancel(struct stream_waiter *w)
{
    (void)w;
    cancelled++;
}

static int wait_in_handshake(SSL *ssl, void *arg)
{
    (void)ssl, (void)arg;
    struct stream_waiter w = {.begin = on_begin, .cancel = on_cancel};
    bool over = stream_wait(&w);
    resumed += over;
    given_up += !over;
    return over;
}

static SSL_CTX *waiting_context(void)
{
    SSL_CTX *context = SSL_CTX_new(TLS_server_method());
    SSL_CTX_use_certificate(context, SSL_CTX_get0_certificate(server_context));
    SSL_CTX_use_PrivateKey(context, SSL_CTX_get0_privatekey(server_context));
    SSL_CTX_set_mode(context, SSL_MODE_ASYNC);
    SSL_CTX_set_cert_cb(context, wait_in_handshake, NULL);
    begun = cancelled = resumed = given_up = 0;
    return context;
}

static void open_waiting(SSL_CTX *context, struct end *server, struct end *client)
{
    int fd[2];
    make_pair(fd);
    open_end(server, fd[0]);
    open_end(client, fd[1]);
    stream_start_tls_server(server->stream, context);
    stream_start_tls_client(client->stream, stream_tls_client(client_context, NULL, false, NULL));
}

static void a_handshake_waits_for_another_process(void **state)
{
    (void)state;
    SSL_CTX *context = waiting_context();
    struct end server[2], client[2];
    for (int i = 0; i < 2; i++)
        open_waiting(context, &server[i], &client[i]);
    RUN_UNTIL(begun == 2);
    turns(10);
    assert_false(server[0].secured || server[1].secured || server[0].ended);
    stream_wait_over(waiters[1]); /* in any order */
    RUN_UNTIL(server[1].secured && client[1].secured);
    assert_false(server[0].secured);
    stream_wait_over(waiters[0]);
    RUN_UNTIL(server[0].secured && client[0].secured);
    assert_int_equal(resumed, 2);
    write_text(&client[0], "EHLO x\r\n");
    RUN_UNTIL(got(&server[0], "EHLO x\r\n"));
    for (int i = 0; i < 2; i++) {
        close_end(&server[i]);
        close_end(&client[i]);
    }
    SSL_CTX_free(context);
}

/* Whatever the client does meanwhile, and when the answer has come just before the end. */
static void a_stream_that_is_freed_while_it_waits(void **state)
{
    (void)state;
    SSL_CTX *context = waiting_context();
    struct end server, client;
    open_waiting(context, &server, &client);
    RUN_UNTIL(begun == 1);
    close_end(&client);
    turns(10);
    close_end(&server);
    assert_int_equal(cancelled, 1);
    assert_int_equal(given_up, 1);

    open_waiting(context, &server, &client);
    RUN_UNTIL(begun == 2);
    stream_wait_over(waiters[1]);
    close_end(&server);
    assert_int_equal(cancelled, 1);
    assert_int_equal(resumed, 1);
    close_end(&client);

    open_waiting(context, &server, &client);
    RUN_UNTIL(begun == 3);
    stream_timeout(server.stream, 20);
    RUN_UNTIL(server.ended);
    assert_int_equal(server.how, STREAM_TIMEOUT);
    stream_close_after_flush(server.stream);
    server.stream = NULL;
    assert_int_equal(cancelled, 2);
    close_end(&server);
    close_end(&client);
    SSL_CTX_free(context);
}

#define MANY (STREAM_WAITS + 20)

static void only_so_many_handshakes_wait_at_a_time(void **state)
{
    (void)state;
    static struct end server[MANY], client[MANY];
    SSL_CTX *context = waiting_context();
    for (int i = 0; i < MANY; i++)
        open_waiting(context, &server[i], &client[i]);
    RUN_UNTIL(begun == STREAM_WAITS);
    turns(20);
    assert_int_equal(begun, STREAM_WAITS);
    stream_wait_over(waiters[0]);
    RUN_UNTIL(begun == STREAM_WAITS + 1);
    for (int i = 1; i < 11; i++) { /* the end of a stream makes room, too */
        close_end(&server[i]);
        server[i].stream = NULL;
    }
    RUN_UNTIL(begun == STREAM_WAITS + 11);
    for (size_t i = 11; i < begun; i++) {
        stream_wait_over(waiters[i]);
        turn();
    }
    for (int i = 0; i < MANY; i++)
        if (i == 0 || i >= 11)
            RUN_UNTIL(server[i].secured && client[i].secured);
    assert_int_equal(begun, MANY);
    for (int i = 0; i < MANY; i++) {
        close_end(&server[i]);
        close_end(&client[i]);
    }
    SSL_CTX_free(context);
}

static void without_a_job_nothing_waits(void **state)
{
    (void)state;
    SSL_CTX *context = waiting_context();
    SSL_CTX_clear_mode(context, SSL_MODE_ASYNC);
    struct end server, client;
    open_waiting(context, &server, &client);
    RUN_UNTIL(server.ended);
    assert_int_equal(begun, 0);
    assert_int_equal(given_up, 1);
    close_end(&server);
    close_end(&client);
    SSL_CTX_free(context);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_bytes_go_both_ways),
        cmocka_unit_test(input_left_over_comes_again),
        cmocka_unit_test(unwanted_input_waits),
        cmocka_unit_test(left_input_is_shown_again),
        cmocka_unit_test(full_input_stops_the_sender),
        cmocka_unit_test(slow_reader_gets_all_of_it),
        cmocka_unit_test(the_log_is_written_before_a_peer_is_told),
        cmocka_unit_test(output_has_a_bound),
        cmocka_unit_test(deadline_passes),
        cmocka_unit_test(close_after_flush_sends_all),
        cmocka_unit_test(promised_silence_is_not_waited_for),
        cmocka_unit_test(who_lingers_makes_room),
        cmocka_unit_test(last_words_are_read),
        cmocka_unit_test(handler_may_free_its_stream),
        cmocka_unit_test(tls_goes_both_ways),
        cmocka_unit_test(pending_records_are_drained),
        cmocka_unit_test(a_flood_of_handshake_messages_ends_it),
        cmocka_unit_test(bytes_behind_starttls_are_dropped),
        cmocka_unit_test(plain_text_is_no_handshake),
        cmocka_unit_test(silent_handshake_times_out),
        cmocka_unit_test(wrong_name_is_refused_when_verified),
        cmocka_unit_test(one_session_serves_twice),
        cmocka_unit_test(connection_comes_or_is_refused),
        cmocka_unit_test(a_handshake_waits_for_another_process),
        cmocka_unit_test(a_stream_that_is_freed_while_it_waits),
        cmocka_unit_test(only_so_many_handshakes_wait_at_a_time),
        cmocka_unit_test(without_a_job_nothing_waits),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
