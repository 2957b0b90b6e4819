/* buf: the one growable byte buffer, with a bound and a sticky error.
 *
 * Every append is checked: past `limit`, or without memory, the buffer sets `failed`, keeps what it had, and refuses all further appends.
 * So a chain of appends needs one test at its end. The bytes are not NUL-terminated; buf_text() terminates them. */
#ifndef POSTINO_BUF_H
#define POSTINO_BUF_H

#include "common/span.h"

#include <stdarg.h>
#include <stdint.h>

struct buf {
    char *data;
    size_t len;
    size_t cap;
    size_t limit; /* the most bytes it may ever hold; 0: BUF_LIMIT_DEFAULT */
    bool failed;
    bool secret; /* its memory is wiped before it is given back, and what is dropped from it at once */
};

#define BUF_LIMIT_DEFAULT ((size_t)64 << 20)
#define BUF_EMPTY(max) ((struct buf){.limit = (max)})

void buf_free(struct buf *);               /* frees the memory; the buffer may be used again, limit and `secret` kept */
void buf_clear(struct buf *);              /* empties it and clears `failed`; keeps the memory */
bool buf_reserve(struct buf *, size_t n);  /* makes room for n more bytes */
void buf_add(struct buf *, const void *p, size_t n);
void buf_add_span(struct buf *, struct span);
void buf_add_text(struct buf *, const char *text);
void buf_add_char(struct buf *, char c);
void buf_add_u16(struct buf *, uint16_t); /* little endian, as all integers in frames and in the spool */
void buf_add_u32(struct buf *, uint32_t);
void buf_add_u64(struct buf *, uint64_t);
__attribute__((format(printf, 2, 3))) void buf_printf(struct buf *, const char *fmt, ...);
void buf_consume(struct buf *, size_t n);  /* drops n bytes from the front (memmove) */
const char *buf_text(struct buf *);        /* NUL-terminated view; "" when empty; valid until the next change */
struct span buf_span(const struct buf *);

#endif
