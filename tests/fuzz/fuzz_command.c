/* SMTP command lines: nothing that is accepted has an octet that a text field, a trace line or a log could trip over, and all spans lie in
 * the line. */
#include "common/utf8.h"
#include "smtpd/command.h"
#include "smtpd/parameters.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void inside(struct span line, struct span part)
{
    if (part.n && (part.p < line.p || part.p + part.n > line.p + line.n))
        abort();
    while (part.n) {
        size_t n = *part.p == '\t' || (*part.p >= ' ' && *part.p < 0x7f) ? 1 : utf8_length(part);
        if (!n)
            abort();
        part = span_make(part.p + n, part.n - n);
    }
}

static void inside_ascii(struct span line, struct span part)
{
    inside(line, part);
    if (!span_is_ascii(part))
        abort();
}

/* What goes into reports and to other hosts. */
static void decodes(struct span value, bool (*decode)(struct span, struct buf *))
{
    struct buf out = BUF_EMPTY(0);
    if (value.n && !decode(value, &out))
        abort();
    for (size_t i = 0; i < out.len; i++)
        if (out.data[i] < ' ' || out.data[i] > '~')
            abort();
    buf_free(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct command c;
    char *copy = malloc(size ? size : 1); /* exact, so that one octet too far is seen */
    memcpy(copy, data, size);
    struct span line = span_make(copy, size);
    if (command_parse(line, &c) == COMMAND_OK) {
        inside(line, c.argument);
        inside_ascii(line, c.initial);
        if (c.verb == VERB_EHLO || c.verb == VERB_AUTH)
            inside_ascii(line, c.argument);
        inside(line, c.path.whole);
        inside_ascii(line, c.envid);
        inside(line, c.orcpt);
        decodes(c.envid, xtext_decode);
        decodes(c.orcpt, parameter_orcpt);
        if (c.notify & NOTIFY_NEVER && c.notify != NOTIFY_NEVER)
            abort();
        if (c.verb == VERB_UNKNOWN || (c.verb == VERB_RCPT && !c.path.whole.n))
            abort();
    }
    free(copy);
    return 0;
}
