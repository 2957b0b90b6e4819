/* SASL: base64, what clients say, secrets of the password file, and the whole SCRAM exchange of the library with a stranger's bytes. */
#include "auth/response.h"
#include "auth/scram.h"
#include "common/base64.h"

#include <stdint.h>
#include <stdlib.h>

static void take_apart(struct span in)
{
    struct span a, b, c;
    struct response_gs2 gs2;
    struct secret secret;
    struct buf name = BUF_EMPTY(NAME_MOST);
    if (response_plain(in, &a, &b, &c) && (!b.n || !c.n))
        abort();
    if (response_gs2(in, &gs2) && response_scram_user(gs2.rest, &name) && !name.len)
        abort();
    buf_clear(&name);
    response_unescape(in, &name);
    response_xoauth2_user(in, &b);
    secret_parse(in, &secret);
    buf_free(&name);
    struct buf prepared = BUF_EMPTY(NAME_MOST + 1);
    if (secret_prepare(in, NAME_MOST, &prepared) && memchr(prepared.data, '\0', prepared.len))
        abort();
    buf_free(&prepared);
}

static void base64(struct span in)
{
    struct buf octets = BUF_EMPTY(in.n < 4 ? 1 : in.n / 4 * 3), text = BUF_EMPTY(1 << 20);
    if (base64_decode(in, &octets)) {
        base64_encode(buf_span(&octets), &text);
        if (!span_equal(buf_span(&text), in))
            abort();
    }
    buf_free(&octets);
    buf_free(&text);
}

/* Two messages, parted by LF. Nobody knows the password, so that no exchange may get as far as server-final. */
static void scram(struct span in)
{
    struct passwd_scram secret = {.there = true,
                                  .iterations = 4096,
                                  .salt = "W22ZaJ0SNY7soEsUEjb6gQ==",
                                  .stored = "WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=",
                                  .server = "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="};
    const char *lf = in.n ? memchr(in.p, '\n', in.n) : NULL;
    struct span first = lf ? span_make(in.p, (size_t)(lf - in.p)) : in, final = lf ? span_make(lf + 1, in.n - first.n - 1) : span_of("");
    bool plus = first.n && *first.p == 'p';
    struct scram *s = scram_new(plus, plus ? span_of("tls-unique..") : span_of(""), span_of(""), &secret);
    struct buf challenge = BUF_EMPTY(4096);
    if (s && scram_step(s, first, &challenge) == AUTH_MORE) {
        enum auth_verdict verdict = scram_step(s, final, &challenge);
        if (verdict == AUTH_MORE || verdict == AUTH_YES)
            abort();
    }
    scram_free(s);
    buf_free(&challenge);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct span in = span_make(data, size);
    take_apart(in);
    base64(in);
    scram(in);
    return 0;
}
