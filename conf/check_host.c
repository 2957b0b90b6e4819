/* What of this host a configuration needs: files that can be read, a key that fits its certificate, users.
 *
 * What a program could not start without is an error, what mail would wait for a warning. A file that the caller may not read (`postino
 * check` run by an ordinary user) is a warning too: it is not the configuration that is wrong. */
#include "conf/check.h"

#include "common/sandbox.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <pwd.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- TLS ----------------------------------------------------------------------------------------------------------------------- */

static const char *tls_reason(void)
{
    unsigned long code = ERR_peek_last_error();
    const char *reason = code ? ERR_reason_error_string(code) : NULL;
    ERR_clear_error();
    return reason ? reason : "not in PEM form";
}

/* 0: it can be opened. Otherwise the reason is reported. */
static int check_readable(const struct check *c, unsigned line, const char *what, const char *path)
{
    if (access(path, R_OK) == 0)
        return 0;
    if (errno == EACCES && geteuid() != 0)
        report_warning(c->report, line, "%s %s can't be read by you, and was not checked; check as root", what, path);
    else
        report_error(c->report, line, "%s %s can't be read: %s; put it there, or correct the path", what, path, strerror(errno));
    return -1;
}

static void check_dates(const struct check *c, unsigned line, X509 *certificate)
{
    const ASN1_TIME *begin = X509_get0_notBefore(certificate), *end = X509_get0_notAfter(certificate);
    time_t soon = time(NULL) + 7 * 86400;
    if (X509_cmp_current_time(begin) > 0)
        report_warning(c->report, line, "the certificate is not valid yet; look at its dates and at the clock");
    else if (X509_cmp_current_time(end) < 0)
        report_warning(c->report, line, "the certificate has expired; renew it");
    else if (X509_cmp_time(end, &soon) < 0)
        report_warning(c->report, line, "the certificate expires within a week; renew it");
}

static unsigned line_of_certificate(const struct check *c, size_t i)
{
    return places_line_item(c->places, "tls", "certificate", i, c->settings->tls_certificate.n);
}

static unsigned line_of_key(const struct check *c, size_t i)
{
    return places_line_item(c->places, "tls", "key", i, c->settings->tls_key.n);
}

static void check_loads(const struct check *c, SSL_CTX *tls, size_t i)
{
    const char *certificate = c->settings->tls_certificate.v[i], *key = c->settings->tls_key.v[i];
    if (check_readable(c, line_of_certificate(c, i), "certificate", certificate) < 0 ||
        check_readable(c, line_of_key(c, i), "key", key) < 0)
        return;
    if (SSL_CTX_use_certificate_chain_file(tls, certificate) != 1) {
        report_error(c->report, line_of_certificate(c, i),
                     "certificate %s can't be loaded: %s; write the chain as PEM, the host's own certificate first", certificate,
                     tls_reason());
        return;
    }
    check_dates(c, line_of_certificate(c, i), SSL_CTX_get0_certificate(tls));
    if (SSL_CTX_use_PrivateKey_file(tls, key, SSL_FILETYPE_PEM) != 1 || SSL_CTX_check_private_key(tls) != 1) {
        report_error(c->report, line_of_key(c, i),
                     "key %s can't be used with the certificate: %s; name the PEM file (without password) of the key that it was made for",
                     key, tls_reason());
        return;
    }
    int kind = EVP_PKEY_get_base_id(SSL_CTX_get0_privatekey(tls));
    if (kind != EVP_PKEY_RSA && kind != EVP_PKEY_EC)
        report_error(c->report, line_of_key(c, i), "key %s is of a kind that postino-tlsmgr can't sign with; make an ECDSA or an RSA key",
                     key);
}

static int no_password(char *buffer, int size, int writing, void *arg)
{
    (void)buffer;
    (void)size;
    (void)writing;
    (void)arg;
    return 0;
}

static void check_pair(const struct check *c, size_t i)
{
    struct stat st;
    const char *key = c->settings->tls_key.v[i];
    SSL_CTX *tls = SSL_CTX_new(TLS_server_method());
    if (!tls) {
        report_error(c->report, 0, "OpenSSL can't be used: %s; look at its installation", tls_reason());
        return;
    }
    SSL_CTX_set_default_passwd_cb(tls, no_password); /* a daemon has nobody to ask */
    check_loads(c, tls, i);
    SSL_CTX_free(tls);
    if (stat(key, &st) == 0 && (st.st_mode & (S_IROTH | S_IWOTH | S_IWGRP)))
        report_warning(c->report, line_of_key(c, i), "key %s is open to other users (mode %04o); run chmod 600 %s", key,
                       (unsigned)st.st_mode & 07777u, key);
}

static void check_certificates(const struct check *c)
{
    for (size_t i = 0; i < c->settings->tls_certificate.n && i < c->settings->tls_key.n; i++)
        check_pair(c, i);
}

static void check_ciphers(const struct check *c, size_t i)
{
    const struct settings_listener *l = &c->settings->listeners[i];
    SSL_CTX *tls = SSL_CTX_new(TLS_server_method());
    if (tls && *l->tls_ciphers && SSL_CTX_set_cipher_list(tls, l->tls_ciphers) != 1)
        report_error(c->report, places_line_in(c->places, SETTINGS_LISTENERS, i, "tls_ciphers"),
                     "listener \"%s\": tls_ciphers \"%s\" has no cipher suite; write them as in openssl-ciphers(1)", l->title,
                     l->tls_ciphers);
    SSL_CTX_free(tls);
}

static void check_client_authorities(const struct check *c)
{
    const char *file = c->settings->tls_client_authorities;
    unsigned line = places_line(c->places, "tls", "client_authorities");
    X509_STORE *store = X509_STORE_new();
    if (*file && check_readable(c, line, "file of authorities", file) == 0 && X509_STORE_load_file(store, file) != 1)
        report_error(c->report, line, "client_authorities %s can't be loaded: %s; write CA certificates as PEM", file, tls_reason());
    X509_STORE_free(store);
}

/* Without a route that verifies, what needs them does without: a policy of MTA-STS can't be fetched, and a token's server is not believed. */
static void check_authorities_load(const struct check *c, const char *verifying)
{
    const char *file = c->settings->tls_authorities;
    unsigned line = places_line(c->places, "tls", "authorities");
    X509_STORE *store = X509_STORE_new();
    bool good = store && X509_STORE_load_file(store, file) == 1;
    X509_STORE_free(store);
    if (!good && (verifying || line))
        report_error(c->report, line, "authorities %s can't be loaded: %s; write CA certificates as PEM, or name another file", file,
                     tls_reason());
    ERR_clear_error();
}

static void check_authorities(const struct check *c)
{
    const struct settings *s = c->settings;
    const char *verifying = NULL;
    size_t i = 0;
    while (i < s->route_count && !settings_route_verifies(&s->routes[i]))
        i++;
    if (i < s->route_count)
        verifying = s->routes[i].title;
    if (access(s->tls_authorities, R_OK) == 0)
        check_authorities_load(c, verifying);
    else if (verifying)
        report_error(c->report, places_line_in(c->places, SETTINGS_ROUTES, i, "tls"),
                     "route \"%s\" verifies certificates, and the authorities' %s can't be read: %s; install ca-certificates, or set "
                     "authorities",
                     verifying, s->tls_authorities, strerror(errno));
}

/* ---- files --------------------------------------------------------------------------------------------------------------------- */

static void check_passwords(const struct check *c)
{
    const struct settings *s = c->settings;
    struct stat st;
    if (s->auth_backend != AUTH_BACKEND_FILE)
        return;
    for (size_t i = 0; i < s->listener_count; i++) {
        unsigned line = places_line(c->places, "", "password_file");
        if (s->listeners[i].auth == LISTENER_AUTH_NONE)
            continue;
        if (!line)
            line = places_line_in(c->places, SETTINGS_LISTENERS, i, "auth");
        if (check_readable(c, line, "password file", s->password_file) == 0 && stat(s->password_file, &st) == 0 &&
            (st.st_mode & (S_IRWXO | S_IWGRP)))
            report_warning(c->report, line, "password file %s is open to other users (mode %04o); run chmod o= %s", s->password_file,
                           (unsigned)st.st_mode & 07777u, s->password_file);
        return;
    }
}

static void check_programs(const struct check *c)
{
    const char *directory = c->settings->directory_programs;
    unsigned line = places_line(c->places, "directory", "programs");
    if (access(directory, X_OK) < 0) {
        report_error(c->report, line, "programs %s: %s; install Postino, or set programs to where it is", directory, strerror(errno));
        return;
    }
    for (size_t i = 0; sandbox_programs[i]; i++) {
        struct buf path = BUF_EMPTY(SETTING_TEXT_MOST + 32);
        buf_printf(&path, "%s/postino-%s", directory, sandbox_programs[i]);
        if (access(buf_text(&path), X_OK) < 0)
            report_error(c->report, line, "%s can't be executed: %s; install Postino, or set programs to where it is", buf_text(&path),
                         strerror(errno));
        buf_free(&path);
    }
}

/* ---- users --------------------------------------------------------------------------------------------------------------------- */

static void check_program_users(const struct check *c)
{
    for (size_t i = 0; geteuid() == 0 && sandbox_programs[i]; i++) {
        uid_t uid;
        gid_t gid;
        struct error e;
        if (sandbox_user(c->settings->users, sandbox_programs[i], &uid, &gid, &e) < 0)
            report_error(c->report, places_line(c->places, "", "users"), "%s", e.text);
    }
}

/* Which program has that user; NULL: none. */
static const char *program_of(const struct check *c, const char *owner)
{
    const struct passwd *user = getpwnam(owner);
    unsigned long wanted = user ? user->pw_uid : strtoul(owner, NULL, 10);
    for (size_t i = 0; sandbox_programs[i]; i++) {
        uid_t uid;
        gid_t gid;
        struct error e;
        if (wanted > 0 && sandbox_user(c->settings->users, sandbox_programs[i], &uid, &gid, &e) == 0 && uid == wanted)
            return sandbox_programs[i];
    }
    return NULL;
}

static void check_owner(const struct check *c, size_t i)
{
    const struct settings_domain *d = &c->settings->domains[i];
    unsigned line = places_line_in(c->places, SETTINGS_DOMAINS, i, "owner");
    const struct passwd *user = getpwnam(d->owner);
    const char *program = program_of(c, d->owner);
    if (program)
        report_error(c->report, line, "domain \"%s\": owner %s is the user of postino-%s, who has no mailboxes; make a user for them",
                     d->title, d->owner, program);
    if (program || d->owner[strspn(d->owner, "0123456789")] == '\0')
        return; /* a uid needs no name */
    if (!user)
        report_error(c->report, line, "domain \"%s\": there is no user %s; make it with adduser --system %s", d->title, d->owner, d->owner);
    else if (user->pw_uid == 0)
        report_error(c->report, line, "domain \"%s\": owner %s has uid 0, which must not own mailboxes; make a user for them", d->title,
                     d->owner);
}

void check_host(const struct check *c)
{
    check_certificates(c);
    check_authorities(c);
    check_client_authorities(c);
    for (size_t i = 0; i < c->settings->listener_count; i++)
        check_ciphers(c, i);
    check_passwords(c);
    check_login_files(c);
    check_programs(c);
    check_program_users(c);
    check_reach(c);
    for (size_t i = 0; i < c->settings->domain_count; i++)
        if (strcmp(c->settings->domains[i].mailboxes, "system") != 0)
            check_owner(c, i);
}
