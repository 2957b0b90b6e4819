#include "common/hostnames.h"

#include <stdlib.h>

#define MOST 100 /* dns { mx_hosts } is no more */

static int by_name(const void *a, const void *b)
{
    const struct span *x = a, *y = b;
    size_t n = x->n < y->n ? x->n : y->n;
    int order = n ? strncasecmp(x->p, y->p, n) : 0;
    return order ? order : (x->n > y->n) - (x->n < y->n);
}

void hostnames_join(struct list hosts, struct buf *out)
{
    struct span names[MOST];
    size_t n = 0;
    for (struct record_host h; n < MOST && record_host_next(&hosts, &h);)
        names[n++] = h.name;
    qsort(names, n, sizeof *names, by_name);
    for (size_t i = 0; i < n; i++) {
        if (i > 0)
            buf_add_char(out, ',');
        for (size_t j = 0; j < names[i].n; j++) {
            char c = names[i].p[j];
            buf_add_char(out, c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c);
        }
    }
}
