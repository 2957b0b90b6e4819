#include "smtpd/tls.h"

#define EXPORTER_LABEL "EXPORTER-Channel-Binding"

/* The first Finished message of the handshake: the client's, unless a session was resumed. */
static size_t unique(SSL *ssl, unsigned char *out, size_t size)
{
    size_t n = SSL_session_reused(ssl) ? SSL_get_finished(ssl, out, size) : SSL_get_peer_finished(ssl, out, size);
    return n <= size ? n : 0;
}

void tls_bindings(SSL *ssl, struct tls_binding *b)
{
    static const unsigned char no_context[1] = {0};
    *b = (struct tls_binding){0};
    if (!ssl || (SSL_version(ssl) < TLS1_3_VERSION && SSL_get_extms_support(ssl) != 1))
        return;
    if (SSL_version(ssl) < TLS1_3_VERSION)
        b->unique_size = unique(ssl, b->unique, sizeof b->unique);
    if (SSL_export_keying_material(ssl, b->exporter, sizeof b->exporter, EXPORTER_LABEL, sizeof EXPORTER_LABEL - 1, no_context, 0, 1) == 1)
        b->exporter_size = sizeof b->exporter;
}
