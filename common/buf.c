#include "common/buf.h"

#include <endian.h>
#include <stdio.h>
#include <stdlib.h>

#define FORMATTED ((size_t)96) /* octets that most formatted text fits into: then it is formatted once */

static size_t most(const struct buf *b)
{
    return b->limit > 0 ? b->limit : BUF_LIMIT_DEFAULT;
}

void buf_free(struct buf *b)
{
    if (b->secret && b->data)
        explicit_bzero(b->data, b->cap);
    free(b->data);
    *b = (struct buf){.limit = b->limit, .secret = b->secret};
}

void buf_clear(struct buf *b)
{
    if (b->secret && b->data)
        explicit_bzero(b->data, b->len);
    b->len = 0;
    b->failed = false;
}

static bool fail(struct buf *b)
{
    b->failed = true;
    return false;
}

/* Doubles, so that many small appends cost little. */
static bool grow(struct buf *b, size_t need)
{
    size_t cap = b->cap < 32 ? 64 : b->cap * 2;
    if (cap < need)
        cap = need;
    char *data = b->secret ? malloc(cap) : realloc(b->data, cap);
    if (data == NULL)
        return fail(b);
    if (b->secret && b->data) {
        memcpy(data, b->data, b->len);
        explicit_bzero(b->data, b->cap);
        free(b->data);
    }
    b->data = data;
    b->cap = cap;
    return true;
}

bool buf_reserve(struct buf *b, size_t n)
{
    if (b->failed)
        return false;
    if (b->len > most(b) || n > most(b) - b->len || n > SIZE_MAX / 2 - b->len)
        return fail(b);
    size_t need = b->len + n + 1; /* one more for buf_text() */
    return need <= b->cap || grow(b, need);
}

void buf_add(struct buf *b, const void *p, size_t n)
{
    if (n == 0 || !buf_reserve(b, n))
        return;
    memcpy(b->data + b->len, p, n);
    b->len += n;
}

void buf_add_span(struct buf *b, struct span s)
{
    buf_add(b, s.p, s.n);
}

void buf_add_text(struct buf *b, const char *text)
{
    buf_add(b, text, strlen(text));
}

void buf_add_char(struct buf *b, char c)
{
    buf_add(b, &c, 1);
}

static void add_little_endian(struct buf *b, uint64_t v, size_t bytes)
{
    uint64_t raw = htole64(v);
    buf_add(b, &raw, bytes);
}

void buf_add_u16(struct buf *b, uint16_t v)
{
    add_little_endian(b, v, 2);
}

void buf_add_u32(struct buf *b, uint32_t v)
{
    add_little_endian(b, v, 4);
}

void buf_add_u64(struct buf *b, uint64_t v)
{
    add_little_endian(b, v, 8);
}

__attribute__((format(printf, 2, 0))) static void add_formatted(struct buf *b, const char *fmt, va_list ap)
{
    va_list again;
    va_copy(again, ap);
    if (b->len < most(b) && most(b) - b->len >= FORMATTED)
        buf_reserve(b, FORMATTED);
    size_t room = b->cap - b->len;
    int n = vsnprintf(room > 0 ? b->data + b->len : NULL, room, fmt, ap);
    if (n < 0) {
        fail(b);
    } else if (buf_reserve(b, (size_t)n)) {
        if ((size_t)n >= room)
            vsnprintf(b->data + b->len, (size_t)n + 1, fmt, again);
        b->len += (size_t)n;
    }
    va_end(again);
}

void buf_printf(struct buf *b, const char *fmt, ...)
{
    if (b->failed)
        return;
    va_list ap;
    va_start(ap, fmt);
    add_formatted(b, fmt, ap);
    va_end(ap);
}

void buf_consume(struct buf *b, size_t n)
{
    size_t left = n < b->len ? b->len - n : 0;
    if (n > 0 && left > 0)
        memmove(b->data, b->data + n, left);
    if (b->secret && b->data)
        explicit_bzero(b->data + left, b->len - left);
    b->len = left;
}

const char *buf_text(struct buf *b)
{
    if (b->len == 0)
        return "";
    b->data[b->len] = '\0';
    return b->data;
}

struct span buf_span(const struct buf *b)
{
    return (struct span){b->data, b->len};
}
