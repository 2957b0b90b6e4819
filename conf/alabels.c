#include "conf/alabels.h"

#include "common/buf.h"
#include "common/idn.h"

#include <stdlib.h>

void alabels_add(struct span name, struct buf *out)
{
    bool below = name.n > 1 && name.p[0] == '.';
    struct span domain = below ? span_make(name.p + 1, name.n - 1) : name;
    size_t before = out->len;
    if (below)
        buf_add_char(out, '.');
    if (!span_is_ascii(domain) && idn_ascii(domain, out))
        return;
    out->len = before;
    buf_add_span(out, name);
}

void alabels_list(struct strings *list)
{
    for (size_t i = 0; i < list->n; i++) {
        struct buf ascii = BUF_EMPTY(SETTING_TEXT_MOST);
        alabels_add(span_of(list->v[i]), &ascii);
        char *copy = span_is_ascii(span_of(list->v[i])) || ascii.failed ? NULL : strndup(ascii.data, ascii.len);
        if (copy) {
            free(list->v[i]);
            list->v[i] = copy;
        }
        buf_free(&ascii);
    }
}
