/* What next hosts and token servers say to postino-creds: challenges of each mechanism, and answers in JSON. */
#include "creds/exchange.h"
#include "creds/token_answer.h"

#include <stdlib.h>

static struct span next_line(struct span *in)
{
    const char *end = in->n ? memchr(in->p, '\n', in->n) : NULL;
    struct span line = span_make(in->p, end ? (size_t)(end - in->p) : in->n);
    *in = end ? span_make(end + 1, in->n - line.n - 1) : span_make("", 0);
    return line;
}

/* So that a challenge can have the client's nonce in it: "%" is its place. */
static void put_nonce(struct span line, struct span first, struct buf *out)
{
    const char *nonce = first.n ? memmem(first.p, first.n, "r=", 2) : NULL;
    for (size_t i = 0; i < line.n; i++) {
        if (line.p[i] == '%' && nonce)
            buf_add(out, nonce + 2, (size_t)(first.p + first.n - nonce) - 2);
        else
            buf_add_char(out, line.p[i]);
    }
}

static void talk(unsigned mechanism, struct span in)
{
    static struct scram_cache cache;
    struct scram_binding binding = {.exporter = SPAN_LITERAL("0123456789abcdef0123456789abcdef")};
    struct exchange *e = exchange_new(mechanism, "user,=", "secret", &binding, &cache);
    struct buf first = {0}, said = {0}, challenge = {0};
    const char *why = NULL;
    bool on = true;
    exchange_initial(e, &first);
    for (int i = 0; i < 8 && on; i++) {
        buf_clear(&said);
        buf_clear(&challenge);
        put_nonce(next_line(&in), buf_span(&first), &challenge);
        on = exchange_answer(e, buf_span(&challenge), &said, &why);
        if (!on && !why)
            abort();
        if (!on && mechanism & SASL_SCRAM && exchange_complete(e) && i < 2)
            abort();
    }
    exchange_free(e);
    buf_free(&first);
    buf_free(&said);
    buf_free(&challenge);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    struct span in = span_make(data + 1, size - 1);
    if (data[0] % 10 == 9) {
        struct token_answer a;
        token_answer_parse(in, &a);
        token_answer_free(&a);
    } else {
        const char *i = memmem(in.p, in.n, ",i=", 3);
        if (i && in.p + in.n - i > 7 && i[7] >= '0' && i[7] <= '9')
            return 0; /* much work is allowed, and shows nothing here */
        talk(1u << data[0] % 10, in);
    }
    return 0;
}
