/* smtpd's TLS: handshakes of streams with a fake tlsmgr, which has the keys. Which certificate is shown, what a client's certificate may say, channel
 * bindings, tickets, and what happens when tlsmgr does not sign. */
#include "common/channel.h"
#include "common/stream.h"
#include "smtpd/tls_client.h"
#include "smtpd/tls_internal.h"
#include "tlsmgr/sign.h"

#include <event2/event.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#define SPEAKS (1u << PROTOCOL_SMTPD_TLSMGR)
#define TURNS  400

enum { PLAIN, ASK, REQUIRED, VERIFIED, OLD, NEW, BROKEN, LISTENERS };
enum { EC, RSA_TOO, OTHER, OWN };

static struct event_base *base;
static struct settings *settings;
static struct settings_listener listeners[LISTENERS];
static struct tls *tls;
static struct peer *peer;
static struct channel *tlsmgr;
static X509 *own[OWN], *authority;
static EVP_PKEY *own_key[OWN], *authority_key;
static char authorities[] = "/tmp/postino-test-tls-XXXXXX", mx[] = "/mx.pem", *certificates[] = {mx};

static SSL_SESSION *taken; /* the client's last ticket */

/* what the fake tlsmgr does, and saw */
static uint64_t version = 1;
static char ticket_keys[4] = "A";
static bool refuses;
static unsigned signatures, readies;
static uint32_t waiting; /* CERTIFICATES that is answered when there are others */

/* ---- certificates ---------------------------------------------------------------------------------------------------------------- */

static X509 *certificate(EVP_PKEY *key, const unsigned char *cn, int n, int type, bool is_authority, X509 *issuer, EVP_PKEY *issuer_key)
{
    static int serial;
    X509 *x = X509_new();
    X509_set_version(x, X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(x), ++serial);
    X509_gmtime_adj(X509_getm_notBefore(x), -60);
    X509_gmtime_adj(X509_getm_notAfter(x), 3600);
    X509_set_pubkey(x, key);
    if (cn)
        X509_NAME_add_entry_by_NID(X509_get_subject_name(x), NID_commonName, type, cn, n, -1, 0);
    X509_set_issuer_name(x, X509_get_subject_name(issuer ? issuer : x));
    X509_EXTENSION *e = is_authority ? X509V3_EXT_conf_nid(NULL, NULL, NID_basic_constraints, "critical,CA:TRUE") : NULL;
    if (e)
        X509_add_ext(x, e, -1);
    X509_EXTENSION_free(e);
    assert_true(X509_sign(x, issuer_key ? issuer_key : key, EVP_sha256()) > 0);
    return x;
}

static X509 *certificate_for(EVP_PKEY *key, const char *cn)
{
    return certificate(key, (const unsigned char *)cn, -1, MBSTRING_ASC, false, NULL, NULL);
}

/* ---- the fake tlsmgr ------------------------------------------------------------------------------------------------------------- */

static void add_ticket_key(struct buf *out, char letter)
{
    char octets[32];
    memset(octets, letter, sizeof octets);
    struct record_ticket_key r = {
        .name = span_make(octets, 16), .cipher = span_make(octets, 32), .mac = span_make(octets, 32), .accepts = UINT64_MAX};
    record_ticket_key_add(out, &r);
}

static void say_certificates(void)
{
    struct buf chains = BUF_EMPTY(0), keys = BUF_EMPTY(0);
    for (int i = 0; i < OWN; i++) {
        unsigned char *der = NULL;
        int n = i2d_X509(own[i], &der);
        struct buf both = BUF_EMPTY(0);
        buf_add_span(&both, span_make(der, (size_t)n));
        OPENSSL_free(der);
        der = NULL;
        n = i2d_X509(authority, &der);
        buf_add_span(&both, span_make(der, (size_t)n));
        OPENSSL_free(der);
        record_chain_add(&chains, &(struct record_chain){.file = span_of(mx), .certificates = buf_span(&both)});
        buf_free(&both);
    }
    for (const char *k = ticket_keys; *k; k++)
        add_ticket_key(&keys, *k);
    struct message m = {.type = MESSAGE_CERTIFIED,
                        .id = waiting,
                        .fd = -1,
                        .certified = {.version = version,
                                      .chains = {OWN, buf_span(&chains)},
                                      .ticket_keys = {(uint32_t)strlen(ticket_keys), buf_span(&keys)}}};
    waiting = 0;
    channel_send(tlsmgr, &m);
    buf_free(&chains);
    buf_free(&keys);
}

static EVP_PKEY *key_named(struct span name)
{
    for (int i = 0; i < OWN; i++) {
        unsigned char *der = NULL, digest[32];
        int n = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(own[i]), &der);
        EVP_Digest(der, (size_t)n, digest, NULL, EVP_sha256(), NULL);
        OPENSSL_free(der);
        if (span_equal(name, span_make(digest, sizeof digest)))
            return own_key[i];
    }
    return NULL;
}

static void on_question(struct channel *c, const struct message *m, void *arg)
{
    (void)arg;
    if (m->type == MESSAGE_CERTIFICATES) {
        waiting = m->id;
        if (m->certificates.known != version)
            say_certificates();
        return;
    }
    struct buf out = BUF_EMPTY(0);
    struct message a = {.type = MESSAGE_SIGNATURE, .id = m->id, .fd = -1, .signature = {.reason = span_of("not today")}};
    EVP_PKEY *key = key_named(m->sign.key);
    assert_non_null(key);
    if (!refuses) {
        assert_null(sign(key, m->sign.form, m->sign.input, &out));
        a.signature.octets = buf_span(&out);
        signatures++;
    }
    channel_send(c, &a);
    buf_free(&out);
}

static void on_closed(struct channel *c, void *arg)
{
    (void)c, (void)arg;
    abort();
}

static const struct channel_handler tlsmgr_handler = {.message = on_question, .closed = on_closed};

/* ---- handshakes ------------------------------------------------------------------------------------------------------------------ */

static struct end {
    struct stream *stream;
    bool secured, ended;
} server, client;

static void on_secured(struct stream *s, void *arg)
{
    (void)s;
    ((struct end *)arg)->secured = true;
}

static void on_readable(struct stream *s, void *arg)
{
    (void)arg;
    stream_consume(s, stream_input(s).n);
}

static void on_ended(struct stream *s, enum stream_end how, const char *why, void *arg)
{
    (void)s, (void)how, (void)why;
    ((struct end *)arg)->ended = true;
}

static const struct stream_handler handler = {.secured = on_secured, .readable = on_readable, .ended = on_ended};

static void nothing(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what, (void)arg;
}

static void turn(void)
{
    streams_flush();
    channels_flush();
    event_base_once(base, -1, EV_TIMEOUT, nothing, NULL, &(struct timeval){.tv_usec = 1000});
    event_base_loop(base, EVLOOP_ONCE);
}

static void turns(int n)
{
    while (n-- > 0)
        turn();
}

static void part(void)
{
    struct end *ends[] = {&server, &client};
    for (int i = 0; i < 2; i++) {
        if (ends[i]->stream)
            stream_free(ends[i]->stream);
        *ends[i] = (struct end){0};
    }
}

/* What the client can, and shows. */
static SSL_CTX *client_of(int most, X509 *shows, EVP_PKEY *key)
{
    SSL_CTX *c = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_max_proto_version(c, most);
    if (shows) {
        assert_int_equal(SSL_CTX_use_certificate(c, shows), 1);
        assert_int_equal(SSL_CTX_use_PrivateKey(c, key), 1);
    }
    return c;
}

/* True: the server has a session. */
static bool shake(int listener, SSL_CTX *with, const char *name, SSL_SESSION *resume)
{
    int fd[2];
    part();
    SSL_CTX *context = tls_context(tls, &listeners[listener]);
    assert_non_null(context);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fd), 0);
    server.stream = stream_accepted(base, fd[0], 4096, &handler, &server);
    client.stream = stream_accepted(base, fd[1], 4096, &handler, &client);
    stream_start_tls_server(server.stream, context);
    stream_start_tls_client(client.stream, stream_tls_client(with, name, false, resume));
    for (int i = 0; i < TURNS && !(server.secured && client.secured) && !server.ended; i++)
        turn();
    turns(5); /* the ticket of TLS 1.3 */
    return server.secured && client.secured && !server.ended;
}

/* The same, with a client that is for this handshake alone. */
static bool shakes(int listener, int most, X509 *shows, EVP_PKEY *key)
{
    SSL_CTX *c = client_of(most, shows, key);
    bool good = shake(listener, c, NULL, NULL);
    SSL_CTX_free(c);
    return good;
}

static X509 *shown(void)
{
    return SSL_get0_peer_certificate(stream_tls(client.stream));
}

/* ---- the world ------------------------------------------------------------------------------------------------------------------- */

static void on_ready(void)
{
    readies++;
}

static void make_certificates(void)
{
    static const char *const names[] = {"mx.example", "mx.example", "other.example"};
    authority_key = EVP_EC_gen("P-256");
    authority = certificate(authority_key, (const unsigned char *)"Clients", -1, MBSTRING_ASC, true, NULL, NULL);
    for (int i = 0; i < OWN; i++) {
        own_key[i] = i == RSA_TOO ? EVP_RSA_gen(2048) : EVP_EC_gen("P-256");
        own[i] = certificate_for(own_key[i], names[i]);
    }
    FILE *f = fdopen(mkstemp(authorities), "w");
    assert_true(f && PEM_write_X509(f, authority) == 1 && fclose(f) == 0);
}

static void set_listeners(void)
{
    static char titles[LISTENERS][2] = {"a", "b", "c", "d", "e", "f", "g"}, none[] = "", garbage[] = "no-such-cipher";
    for (int i = 0; i < LISTENERS; i++)
        listeners[i] = (struct settings_listener){.title = titles[i], .tls_minimum = LISTENER_MINIMUM_TLS12, .tls_ciphers = none};
    listeners[ASK].tls_client = LISTENER_CLIENT_ASK;
    listeners[REQUIRED].tls_client = LISTENER_CLIENT_REQUIRED;
    listeners[VERIFIED].tls_client = LISTENER_CLIENT_VERIFIED;
    listeners[OLD].tls_minimum = LISTENER_MINIMUM_TLS10;
    listeners[NEW].tls_minimum = LISTENER_MINIMUM_TLS13;
    listeners[BROKEN].tls_ciphers = garbage;
    settings->listeners = listeners;
    settings->listener_count = LISTENERS;
}

static int open_world(void **state)
{
    (void)state;
    int fd[2];
    struct error error;
    signal(SIGPIPE, SIG_IGN);
    base = event_base_new();
    settings = settings_new();
    make_certificates();
    assert_int_equal(tls_open(settings, &tls, &error), 0);
    assert_null(tls); /* no certificate is set */
    set_listeners();
    settings->tls_certificate = (struct strings){1, certificates};
    free(settings->tls_client_authorities);
    settings->tls_client_authorities = authorities;
    assert_int_equal(tls_open(settings, &tls, &error), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fd), 0);
    peer = peer_new(base, "tlsmgr", SPEAKS);
    peer_connect(peer, fd[0]);
    tlsmgr = channel_new(base, fd[1], "smtpd", SPEAKS, SIDE_SERVER, &tlsmgr_handler, NULL);
    assert_null(tls_context(tls, &listeners[PLAIN])); /* nothing is known yet */
    tls_start(tls, base, peer, on_ready);
    turns(10);
    return 0;
}

static int close_world(void **state)
{
    (void)state;
    part();
    unlink(authorities);
    SSL_SESSION_free(taken);
    taken = NULL;
    return 0;
}

/* tlsmgr has others. */
static void renew(const char *keys)
{
    memcpy(ticket_keys, keys, strlen(keys) < sizeof ticket_keys ? strlen(keys) + 1 : 0);
    version++;
    say_certificates();
    turns(10);
    assert_true(waiting != 0); /* and is asked for the next ones */
}

/* ---- the server's certificates --------------------------------------------------------------------------------------------------- */

static void the_name_chooses(void **state)
{
    (void)state;
    assert_int_equal(readies, 1);
    static const struct {
        const char *name;
        int is;
    } table[] = {{NULL, EC}, {"mx.example", EC}, {"other.example", OTHER}, {"OTHER.example", OTHER}, {"nobody.example", EC}};
    SSL_CTX *c = client_of(TLS1_3_VERSION, NULL, NULL);
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        assert_true(shake(PLAIN, c, table[i].name, NULL));
        assert_int_equal(X509_cmp(shown(), own[table[i].is]), 0);
    }
    SSL_CTX_free(c);
}

static void keys_sign_through_tlsmgr(void **state)
{
    (void)state;
    static const char *const forms[] = {"ECDSA+SHA256", "rsa_pss_rsae_sha256", "RSA+SHA256"};
    for (int i = 0; i < 3; i++) {
        SSL_CTX *c = client_of(i == 2 ? TLS1_2_VERSION : TLS1_3_VERSION, NULL, NULL);
        unsigned before = signatures;
        assert_int_equal(SSL_CTX_set1_sigalgs_list(c, forms[i]), 1);
        assert_true(shake(PLAIN, c, NULL, NULL));
        assert_int_equal(signatures, before + 1);
        assert_int_equal(X509_cmp(shown(), own[i == 0 ? EC : RSA_TOO]), 0);
        SSL_CTX_free(c);
    }
}

static void what_is_not_signed_is_no_session(void **state)
{
    (void)state;
    refuses = true;
    assert_false(shakes(PLAIN, TLS1_3_VERSION, NULL, NULL));
    assert_false(shakes(PLAIN, TLS1_2_VERSION, NULL, NULL));
    refuses = false;
    assert_true(shakes(PLAIN, TLS1_3_VERSION, NULL, NULL));
}

static void a_client_that_goes_while_tlsmgr_thinks(void **state)
{
    (void)state;
    int fd[2];
    SSL_CTX *c = client_of(TLS1_3_VERSION, NULL, NULL);
    part();
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fd), 0);
    server.stream = stream_accepted(base, fd[0], 4096, &handler, &server);
    client.stream = stream_accepted(base, fd[1], 4096, &handler, &client);
    stream_start_tls_server(server.stream, tls_context(tls, &listeners[PLAIN]));
    stream_start_tls_client(client.stream, stream_tls_client(c, NULL, false, NULL));
    size_t open = peer_open(peer);
    for (int i = 0; i < TURNS && peer_open(peer) == open; i++)
        event_base_loop(base, EVLOOP_ONCE), streams_flush();
    assert_int_equal(peer_open(peer), open + 1);
    part();
    turns(10);
    assert_int_equal(peer_open(peer), open);
    SSL_CTX_free(c);
}

static void versions_are_the_listener_s(void **state)
{
    (void)state;
    SSL_CTX *old = client_of(TLS1_VERSION, NULL, NULL);
    SSL_CTX_set_security_level(old, 0);
    assert_false(shake(PLAIN, old, NULL, NULL));
    assert_true(shake(OLD, old, NULL, NULL));
    assert_int_equal(SSL_version(stream_tls(server.stream)), TLS1_VERSION);
    SSL_CTX_free(old);
    assert_false(shakes(NEW, TLS1_2_VERSION, NULL, NULL));
    assert_true(shakes(NEW, TLS1_3_VERSION, NULL, NULL));
    assert_null(tls_context(tls, &listeners[BROKEN]));
}

/* ---- the client's certificate ---------------------------------------------------------------------------------------------------- */

static void fingerprint(X509 *x, char out[96])
{
    unsigned char digest[32];
    X509_digest(x, EVP_sha256(), digest, NULL);
    for (int i = 0; i < 32; i++)
        snprintf(out + 3 * i, 96 - 3 * (size_t)i, i < 31 ? "%02X:" : "%02X", digest[i]);
}

/* What smtpd makes of a certificate with this common name, that the authority has signed, or the client itself. */
static struct tls_client *client_with(const char *cn, int n, int type, bool vouched)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *x = certificate(key, (const unsigned char *)cn, n, type, false, vouched ? authority : NULL, vouched ? authority_key : NULL);
    char expected[96];
    fingerprint(x, expected);
    assert_true(shakes(ASK, TLS1_3_VERSION, x, key));
    struct tls_client *c = tls_client_new(stream_tls(server.stream));
    assert_non_null(c);
    assert_string_equal(c->certificate, expected);
    assert_int_equal(strlen(c->key), 95);
    assert_string_not_equal(c->key, c->certificate);
    X509_free(x);
    EVP_PKEY_free(key);
    return c;
}

static void has_subject(const char *cn, int n, int type, const char *subject)
{
    struct tls_client *c = client_with(cn, n, type, false);
    assert_string_equal(c->subject, subject);
    assert_false(c->trusted);
    free(c);
}

static void a_certificate_is_known_and_vouched_for(void **state)
{
    (void)state;
    struct tls_client *c = client_with("relay.example", -1, MBSTRING_ASC, true);
    assert_true(c->trusted);
    assert_string_equal(c->subject, "relay.example");
    free(c);
    has_subject("relay.example", -1, MBSTRING_ASC, "relay.example"); /* the same words, and nobody vouches */
}

/* It goes into header lines, logs and keys of tables. */
static void a_hostile_subject_is_made_harmless(void **state)
{
    (void)state;
    static char huge[2001], long_one[300], cut[200];
    memset(huge, 'a', sizeof huge);
    memset(long_one, 'b', sizeof long_one);
    memset(cut, 'b', sizeof cut - 1);
    has_subject("a\r\nX-Evil: <b>(c)\"\\$", -1, MBSTRING_ASC, "a??X-Evil???b??c????");
    has_subject("relay.example\0.evil", 19, V_ASN1_UTF8STRING, "relay.example?.evil");
    has_subject("gr\xc3\xbc\xc3\x9f", -1, V_ASN1_UTF8STRING, "gr????");
    has_subject("a_b*c@d-e.F9", -1, V_ASN1_UTF8STRING, "a_b*c@d-e.F9");
    has_subject(huge, sizeof huge, V_ASN1_UTF8STRING, "");
    has_subject(long_one, sizeof long_one, V_ASN1_UTF8STRING, cut);
    has_subject(NULL, 0, 0, "");
    has_subject("\xff\xfe", 2, V_ASN1_T61STRING, "????");
    X509 *garbled = certificate(authority_key, (const unsigned char *)"\xff\xfe", 2, V_ASN1_UTF8STRING, false, NULL, NULL);
    assert_false(shakes(ASK, TLS1_3_VERSION, garbled, authority_key)); /* OpenSSL does not even read it */
    X509_free(garbled);
}

static void who_shows_none(void **state)
{
    (void)state;
    assert_true(shakes(PLAIN, TLS1_3_VERSION, authority, authority_key)); /* it is not asked */
    assert_null(tls_client_new(stream_tls(server.stream)));
    assert_true(shakes(ASK, TLS1_3_VERSION, NULL, NULL));
    assert_null(tls_client_new(stream_tls(server.stream)));
    assert_false(shakes(REQUIRED, TLS1_3_VERSION, NULL, NULL));
    assert_false(shakes(REQUIRED, TLS1_2_VERSION, NULL, NULL));
    assert_false(shakes(VERIFIED, TLS1_3_VERSION, NULL, NULL));
}

static void who_must_be_vouched_for(void **state)
{
    (void)state;
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *self = certificate_for(key, "Clients"); /* the authority's name, and not its key */
    X509 *good = certificate(key, (const unsigned char *)"x", -1, MBSTRING_ASC, false, authority, authority_key);
    X509 *forged = certificate(key, (const unsigned char *)"x", -1, MBSTRING_ASC, false, authority, key);
    X509 *late = X509_dup(good);
    X509_gmtime_adj(X509_getm_notAfter(late), -1);
    assert_true(X509_sign(late, authority_key, EVP_sha256()) > 0);
    assert_true(shakes(VERIFIED, TLS1_3_VERSION, good, key));
    assert_true(shakes(VERIFIED, TLS1_2_VERSION, good, key));
    X509 *bad[] = {self, forged, late};
    for (int i = 0; i < 3; i++) {
        assert_false(shakes(VERIFIED, TLS1_3_VERSION, bad[i], key));
        assert_true(shakes(REQUIRED, TLS1_3_VERSION, bad[i], key));
        struct tls_client *c = tls_client_new(stream_tls(server.stream));
        assert_false(c->trusted);
        free(c);
        X509_free(bad[i]);
    }
    X509_free(good);
    EVP_PKEY_free(key);
}

/* ---- channel bindings ------------------------------------------------------------------------------------------------------------ */

static void exports_match(const struct tls_binding *b)
{
    unsigned char far[32];
    assert_int_equal(b->exporter_size, 32);
    assert_int_equal(SSL_export_keying_material(stream_tls(client.stream), far, 32, "EXPORTER-Channel-Binding", 24, far, 0, 1), 1);
    assert_memory_equal(b->exporter, far, 32);
}

static void bindings_are_what_the_client_has(void **state)
{
    (void)state;
    struct tls_binding b;
    unsigned char finished[64];
    assert_true(shakes(PLAIN, TLS1_3_VERSION, NULL, NULL));
    tls_bindings(stream_tls(server.stream), &b);
    exports_match(&b);
    assert_int_equal(b.unique_size, 0);
    SSL_CTX *c = client_of(TLS1_2_VERSION, NULL, NULL);
    assert_true(shake(PLAIN, c, NULL, NULL));
    tls_bindings(stream_tls(server.stream), &b);
    exports_match(&b);
    assert_int_equal(b.unique_size, SSL_get_finished(stream_tls(client.stream), finished, sizeof finished));
    assert_true(b.unique_size >= 12);
    assert_memory_equal(b.unique, finished, b.unique_size);
    SSL_SESSION *session = SSL_get1_session(stream_tls(client.stream));
    assert_true(shake(PLAIN, c, NULL, session)); /* the server's Finished is the first */
    assert_true(SSL_session_reused(stream_tls(server.stream)));
    tls_bindings(stream_tls(server.stream), &b);
    assert_int_equal(b.unique_size, SSL_get_peer_finished(stream_tls(client.stream), finished, sizeof finished));
    assert_memory_equal(b.unique, finished, b.unique_size);
    SSL_SESSION_free(session);
    SSL_CTX_free(c);
}

static void what_another_session_could_share_binds_nothing(void **state)
{
    (void)state;
    struct tls_binding b;
    SSL_CTX *c = client_of(TLS1_2_VERSION, NULL, NULL);
    SSL_CTX_set_options(c, SSL_OP_NO_EXTENDED_MASTER_SECRET);
    assert_true(shake(PLAIN, c, NULL, NULL));
    tls_bindings(stream_tls(server.stream), &b);
    assert_int_equal(b.unique_size + b.exporter_size, 0);
    tls_bindings(NULL, &b);
    assert_int_equal(b.unique_size + b.exporter_size, 0);
    SSL_CTX_free(c);
}

/* ---- tickets --------------------------------------------------------------------------------------------------------------------- */

static int on_ticket(SSL *ssl, SSL_SESSION *session)
{
    (void)ssl;
    SSL_SESSION_free(taken);
    taken = session;
    return 1;
}

static bool resumes(int listener, SSL_CTX *c)
{
    assert_non_null(taken);
    SSL_SESSION *old = SSL_SESSION_dup(taken);
    assert_true(shake(listener, c, NULL, old));
    SSL_SESSION_free(old);
    return SSL_session_reused(stream_tls(server.stream));
}

static void begin_tickets(SSL_CTX **c, const char *keys)
{
    renew(keys);
    *c = client_of(TLS1_3_VERSION, NULL, NULL);
    SSL_CTX_set_session_cache_mode(*c, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(*c, on_ticket);
    assert_true(shake(PLAIN, *c, NULL, NULL));
}

static void a_ticket_is_for_its_listener_and_its_key(void **state)
{
    (void)state;
    SSL_CTX *c;
    begin_tickets(&c, "A");
    assert_true(resumes(PLAIN, c));
    assert_false(resumes(ASK, c));
    assert_false(resumes(PLAIN, c)); /* the ticket of that */
    renew("A"); /* other certificates, the same key */
    assert_true(resumes(PLAIN, c));
    SSL_CTX_free(c);
    begin_tickets(&c, "B");
    SSL_SESSION *ticket = SSL_SESSION_dup(taken);
    renew("C");
    assert_false(resumes(PLAIN, c)); /* the key is forgotten */
    on_ticket(NULL, ticket);
    renew("CB");
    assert_true(resumes(PLAIN, c)); /* one of an older key is good, and the new one is of the newest */
    renew("C");
    assert_true(resumes(PLAIN, c));
    renew("");
    assert_false(resumes(PLAIN, c)); /* without any key there are handshakes, and tickets that nobody can read */
    assert_false(resumes(PLAIN, c));
    SSL_CTX_free(c);
}

/* ---- the beginning --------------------------------------------------------------------------------------------------------------- */

static void authorities_that_are_none(void **state)
{
    (void)state;
    static char missing[] = "/nonexistent/ca.pem";
    static struct tls *half; /* the program ends */
    struct error error;
    settings->tls_client_authorities = missing;
    assert_int_equal(tls_open(settings, &half, &error), -1);
    assert_non_null(strstr(error.text, "tls { client_authorities }: /nonexistent/ca.pem can't be used: "));
    settings->tls_client_authorities = authorities;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_name_chooses),
        cmocka_unit_test(keys_sign_through_tlsmgr),
        cmocka_unit_test(what_is_not_signed_is_no_session),
        cmocka_unit_test(a_client_that_goes_while_tlsmgr_thinks),
        cmocka_unit_test(versions_are_the_listener_s),
        cmocka_unit_test(a_certificate_is_known_and_vouched_for),
        cmocka_unit_test(a_hostile_subject_is_made_harmless),
        cmocka_unit_test(who_shows_none),
        cmocka_unit_test(who_must_be_vouched_for),
        cmocka_unit_test(bindings_are_what_the_client_has),
        cmocka_unit_test(what_another_session_could_share_binds_nothing),
        cmocka_unit_test(a_ticket_is_for_its_listener_and_its_key),
        cmocka_unit_test(authorities_that_are_none),
    };
    return cmocka_run_group_tests_name("tls", tests, open_world, close_world);
}
