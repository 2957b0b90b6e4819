#include "smtpd/tls.h"

#include <openssl/err.h>

static const char *reason(void)
{
    const char *text = ERR_reason_error_string(ERR_peek_last_error());
    return text ? text : "unknown";
}

static int check_needless(const struct settings *settings, struct error *error)
{
    for (size_t i = 0; i < settings->listener_count; i++) {
        const struct settings_listener *l = &settings->listeners[i];
        if (l->tls == LISTENER_TLS_REQUIRED || l->tls == LISTENER_TLS_IMPLICIT)
            return error_set(error, "listener \"%s\" needs TLS, and there is no certificate: set tls { certificate, key }", l->title);
    }
    return 0;
}

static int load(SSL_CTX *context, const struct settings *settings, struct error *error)
{
    const char *key = settings->tls_key[0] ? settings->tls_key : settings->tls_certificate;
    if (SSL_CTX_use_certificate_chain_file(context, settings->tls_certificate) != 1)
        return error_set(error, "%s: the certificate can't be used: %s; it must be a PEM file, the host's certificate first",
                         settings->tls_certificate, reason());
    if (SSL_CTX_use_PrivateKey_file(context, key, SSL_FILETYPE_PEM) != 1)
        return error_set(error, "%s: the private key can't be used: %s; it must be a PEM file without a passphrase", key, reason());
    if (SSL_CTX_check_private_key(context) != 1)
        return error_set(error, "%s is not the key of the certificate %s", key, settings->tls_certificate);
    return 0;
}

int tls_open(const struct settings *settings, SSL_CTX **out, struct error *error)
{
    static const unsigned char session_context[] = "postino-smtpd";
    *out = NULL;
    if (!settings->tls_certificate[0])
        return check_needless(settings, error);
    SSL_CTX *context = SSL_CTX_new(TLS_server_method());
    if (!context)
        return error_set(error, "OpenSSL can't be set up: %s", reason());
    SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
    SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_NO_COMPRESSION);
    SSL_CTX_set_session_id_context(context, session_context, sizeof session_context - 1);
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF); /* tickets only: sessions cost no memory here */
    SSL_CTX_set_num_tickets(context, 1);
    SSL_CTX_set_dh_auto(context, 1);
    if (load(context, settings, error) != 0) {
        SSL_CTX_free(context);
        return -1;
    }
    *out = context;
    return 0;
}
