/* SMTP command lines: nothing that is accepted has an octet that a text field, a trace line or a log could trip over, and all spans lie in
 * the line. */
#include "smtpd/command.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void inside(struct span line, struct span part)
{
    if (part.n && (part.p < line.p || part.p + part.n > line.p + line.n))
        abort();
    for (size_t i = 0; i < part.n; i++)
        if ((unsigned char)part.p[i] >= 0x7f || ((unsigned char)part.p[i] < ' ' && part.p[i] != '\t'))
            abort();
}

/* What goes into reports and to other hosts. */
static void decodes(struct span value)
{
    struct buf out = BUF_EMPTY(0);
    if (!xtext_decode(value, &out))
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
        inside(line, c.initial);
        inside(line, c.path.whole);
        inside(line, c.envid);
        inside(line, c.orcpt);
        decodes(c.envid);
        decodes(c.orcpt);
        if (c.notify & NOTIFY_NEVER && c.notify != NOTIFY_NEVER)
            abort();
        if (c.verb == VERB_UNKNOWN || (c.verb == VERB_RCPT && !c.path.whole.n))
            abort();
    }
    free(copy);
    return 0;
}
