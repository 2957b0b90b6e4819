#include "common/mapcheck.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Offsets in the meta page (page 0) and in all others; integers are in the machine's order, a file of the other order is refused. */
enum { META_MAGIC = 12, META_VERSION = 16, META_PAGESIZE = 20, META_ENCRYPTED = 24, META_TYPE = 25, META_METAFLAGS = 26, META_LAST = 32 };
enum { META_PARTS = 36, META_FLAGS = 48, META_MAX_BUCKET = 72, META_HIGH_MASK = 76, META_LOW_MASK = 80, META_ROOT = 88, META_SPARES = 96 };
enum { META_SIZE = 512, META_SUM = 492, PAGE_SUM = 28, SPARES = 32 };
enum {
    PAGE_NUMBER = 8,
    PAGE_PREV = 12,
    PAGE_NEXT = 16,
    PAGE_ENTRIES = 20,
    PAGE_FREE = 22,
    PAGE_LEVEL = 24,
    PAGE_TYPE = 25,
    PAGE_HEAD = 26,
    PAGE_HEAD_CHECKSUM = 32
};
enum {
    PAGE_INVALID = 0,
    PAGE_HASH_OLD = 2,
    PAGE_INTERNAL = 3,
    PAGE_LEAF = 5,
    PAGE_OVERFLOW = 7,
    PAGE_HASHMETA = 8,
    PAGE_BTREEMETA = 9,
    PAGE_HASH = 13
};
enum { HASH_KEYDATA = 1, HASH_OFFPAGE = 3, TREE_KEYDATA = 1, TREE_OVERFLOW = 3, TREE_DELETED = 0x80 };
enum { HASH_MAGIC = 0x061561, BTREE_MAGIC = 0x053162, METAFLAG_CHECKSUM = 1, OFFPAGE_SIZE = 12, INTERNAL_HEAD = 12, LEAF_HEAD = 3 };

/* What was seen of a page, and what the pages that point to it want it to be. */
struct note {
    uint32_t prev, next;
    uint8_t type, level;
    uint8_t want_type, want_level;
};

struct check {
    enum mapcheck_kind kind;
    uint32_t page_size, last;
    unsigned head; /* octets before a page's index */
    bool summed;   /* pages have checksums */
    unsigned char meta[META_SIZE];
    unsigned char *page;
    struct note *notes;
    struct error *error;
};

static uint16_t get16(const unsigned char *p)
{
    uint16_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

static uint32_t get32(const unsigned char *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

static int damaged(struct check *c, uint32_t page, const char *what)
{
    return error_set(c->error, "damaged: page %u: %s", page, what);
}

static int read_at(struct check *c, int fd, void *to, size_t n, off_t at)
{
    for (size_t done = 0; done < n;) {
        ssize_t got = pread(fd, (char *)to + done, n - done, at + (off_t)done);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return error_set(c->error, "cannot be read: %s", strerror(errno));
        if (got == 0)
            return error_set(c->error, "damaged: the file ends too early");
        done += (size_t)got;
    }
    return 0;
}

/* libdb's own sum: Bernstein's hash over all, with the four octets of the sum itself as 0. */
static bool sum_is_right(const unsigned char *p, size_t n, size_t at)
{
    uint32_t sum = 0;
    for (size_t i = 0; i < n; i++)
        sum = sum * 33 + (i - at < 4 ? 0 : p[i]);
    return sum == get32(p + at);
}

/* ---- the meta page ---------------------------------------------------------------------------------------------------------------- */

static bool sane_page_size(uint32_t n)
{
    return n >= 512 && n <= 65536 && (n & (n - 1)) == 0;
}

static int check_size(struct check *c, off_t size)
{
    if (size > MAPCHECK_FILE_MAX)
        return error_set(c->error, "larger than %lld octets", (long long)MAPCHECK_FILE_MAX);
    if (!sane_page_size(c->page_size) || size % c->page_size != 0)
        return error_set(c->error, "damaged: its size does not fit its page size");
    if (size / c->page_size != (off_t)c->last + 1)
        return error_set(c->error, "damaged: it has %lld pages and should have %llu", (long long)size / c->page_size,
                         (unsigned long long)c->last + 1);
    return 0;
}

static int check_meta(struct check *c, off_t size)
{
    const unsigned char *m = c->meta;
    bool hash = c->kind == MAPCHECK_HASH;
    if (get32(m + META_MAGIC) != (hash ? HASH_MAGIC : BTREE_MAGIC) || m[META_TYPE] != (hash ? PAGE_HASHMETA : PAGE_BTREEMETA))
        return error_set(c->error, "not a Berkeley DB %s file of this machine's kind", hash ? "hash" : "btree");
    if (get32(m + META_VERSION) < 8 || get32(m + META_VERSION) > 10)
        return error_set(c->error, "Berkeley DB format %u is not supported", get32(m + META_VERSION));
    if (m[META_ENCRYPTED] != 0 || (m[META_METAFLAGS] & ~METAFLAG_CHECKSUM) != 0 || get32(m + META_PARTS) != 0 ||
        get32(m + META_FLAGS) != 0 || get32(m + PAGE_NUMBER) != 0)
        return error_set(c->error, "not a plain map (encrypted, parted, or with several databases or duplicate keys)");
    c->page_size = get32(m + META_PAGESIZE);
    c->last = get32(m + META_LAST);
    c->summed = (m[META_METAFLAGS] & METAFLAG_CHECKSUM) != 0;
    c->head = c->summed ? PAGE_HEAD_CHECKSUM : PAGE_HEAD;
    if (c->summed && !sum_is_right(m, META_SIZE, META_SUM))
        return damaged(c, 0, "its checksum is wrong");
    return check_size(c, size);
}

/* ---- items ------------------------------------------------------------------------------------------------------------------------ */

/* Somebody points at `page` and says what it must be. */
static int want(struct check *c, uint32_t from, uint32_t page, uint8_t type, uint8_t level)
{
    if (page == 0 || page > c->last)
        return damaged(c, from, "points outside of the file");
    struct note *n = &c->notes[page];
    if (n->want_type != 0 && (n->want_type != type || n->want_level != level))
        return damaged(c, page, "is pointed to as two different things");
    n->want_type = type;
    n->want_level = level;
    return 0;
}

static int check_offpage(struct check *c, uint32_t from, const unsigned char *item)
{
    if (get32(item + 8) > MAPCHECK_VALUE_MAX)
        return damaged(c, from, "a key or value is too long");
    return want(c, from, get32(item + 4), PAGE_OVERFLOW, 0);
}

static int check_hash_page(struct check *c, uint32_t number, unsigned entries)
{
    unsigned end = c->page_size, least = c->head + 2 * entries;
    for (unsigned i = 0; i < entries; i++) {
        unsigned at = get16(c->page + c->head + 2 * (size_t)i);
        if (at < least || at >= end)
            return damaged(c, number, "an item lies outside of it");
        unsigned type = c->page[at];
        if (type == HASH_OFFPAGE) {
            if (end - at != OFFPAGE_SIZE || check_offpage(c, number, c->page + at) < 0)
                return damaged(c, number, "a broken long item");
        } else if (type != HASH_KEYDATA) {
            return damaged(c, number, "an item of unknown type");
        }
        end = at;
    }
    return entries % 2 ? damaged(c, number, "a key without a value") : 0;
}

static int check_leaf_item(struct check *c, uint32_t number, unsigned at)
{
    unsigned type = c->page[at + 2] & ~(unsigned)TREE_DELETED;
    if (type == TREE_KEYDATA)
        return at + LEAF_HEAD + get16(c->page + at) <= c->page_size ? 0 : damaged(c, number, "an item reaches beyond it");
    if (type != TREE_OVERFLOW || at + OFFPAGE_SIZE > c->page_size)
        return damaged(c, number, "an item of unknown type");
    return check_offpage(c, number, c->page + at);
}

static int check_internal_item(struct check *c, uint32_t number, unsigned at)
{
    if (at + INTERNAL_HEAD > c->page_size || at + INTERNAL_HEAD + get16(c->page + at) > c->page_size)
        return damaged(c, number, "an item reaches beyond it");
    unsigned type = c->page[at + 2] & ~(unsigned)TREE_DELETED;
    uint8_t level = c->page[PAGE_LEVEL];
    if (want(c, number, get32(c->page + at + 4), level == 2 ? PAGE_LEAF : PAGE_INTERNAL, (uint8_t)(level - 1)) < 0)
        return -1;
    if (type == TREE_KEYDATA)
        return 0;
    if (type != TREE_OVERFLOW || get16(c->page + at) != OFFPAGE_SIZE)
        return damaged(c, number, "an item of unknown type");
    return check_offpage(c, number, c->page + at + INTERNAL_HEAD);
}

static int check_tree_page(struct check *c, uint32_t number, unsigned entries, bool leaf)
{
    unsigned least = c->head + 2 * entries, level = c->page[PAGE_LEVEL];
    if (leaf ? level != 1 || entries % 2 : level < 2 || entries < 1)
        return damaged(c, number, "its level or number of items cannot be");
    for (unsigned i = 0; i < entries; i++) {
        unsigned at = get16(c->page + c->head + 2 * (size_t)i);
        if (at < least || at + LEAF_HEAD > c->page_size)
            return damaged(c, number, "an item lies outside of it");
        if ((leaf ? check_leaf_item(c, number, at) : check_internal_item(c, number, at)) < 0)
            return -1;
    }
    return 0;
}

/* ---- pages ------------------------------------------------------------------------------------------------------------------------ */

static int check_page_items(struct check *c, uint32_t number)
{
    unsigned entries = get16(c->page + PAGE_ENTRIES), type = c->page[PAGE_TYPE];
    if (type == PAGE_INVALID)
        return 0;
    if (type == PAGE_OVERFLOW)
        return get16(c->page + PAGE_FREE) <= c->page_size - c->head ? 0 : damaged(c, number, "a long item reaches beyond it");
    if (c->head + 2 * entries > c->page_size)
        return damaged(c, number, "it has too many items");
    if (type == PAGE_HASH || type == PAGE_HASH_OLD)
        return c->kind == MAPCHECK_HASH ? check_hash_page(c, number, entries) : damaged(c, number, "it belongs to another kind of map");
    if (type == PAGE_LEAF || type == PAGE_INTERNAL)
        return c->kind == MAPCHECK_BTREE ? check_tree_page(c, number, entries, type == PAGE_LEAF)
                                         : damaged(c, number, "it belongs to another kind of map");
    return damaged(c, number, "it is of unknown type");
}

/* A hole in the file, which libdb takes for a page without items. */
static bool never_written(const unsigned char *page)
{
    static const unsigned char zeros[PAGE_PREV];
    return memcmp(page, zeros, sizeof zeros) == 0 && page[PAGE_TYPE] == PAGE_INVALID;
}

static int check_page(struct check *c, int fd, uint32_t number)
{
    if (read_at(c, fd, c->page, c->page_size, (off_t)number * c->page_size) < 0)
        return -1;
    struct note *n = &c->notes[number];
    n->prev = get32(c->page + PAGE_PREV);
    n->next = get32(c->page + PAGE_NEXT);
    n->type = c->page[PAGE_TYPE];
    n->level = c->page[PAGE_LEVEL];
    if (c->summed && !never_written(c->page) && !sum_is_right(c->page, c->page_size, PAGE_SUM))
        return damaged(c, number, "its checksum is wrong");
    if (n->type != PAGE_INVALID && get32(c->page + PAGE_NUMBER) != number)
        return damaged(c, number, "it says that it is another page");
    return check_page_items(c, number);
}

/* Hash bucket b is page b + spares[log2(b + 1) rounded up]. */
static unsigned log2_up(uint32_t n)
{
    unsigned i = 0;
    for (uint32_t limit = 1; limit < n && i < SPARES - 1; limit <<= 1)
        i++;
    return i;
}

/* A bucket's first page may not have been written yet. */
static int check_buckets(struct check *c)
{
    uint32_t most = get32(c->meta + META_MAX_BUCKET), high = get32(c->meta + META_HIGH_MASK), low = get32(c->meta + META_LOW_MASK);
    if (most > c->last || low > most || (low & (low + 1)) != 0 || high != (low << 1 | 1) || high < most)
        return damaged(c, 0, "its buckets do not fit the file");
    for (uint32_t b = 0; b <= most; b++) {
        uint64_t page = (uint64_t)b + get32(c->meta + META_SPARES + 4 * (size_t)log2_up(b + 1));
        if (page == 0 || page > c->last)
            return damaged(c, 0, "a bucket lies outside of the file");
        const struct note *n = &c->notes[page];
        if ((n->type != PAGE_HASH && n->type != PAGE_HASH_OLD && n->type != PAGE_INVALID) || (n->type != PAGE_INVALID && n->prev != 0))
            return damaged(c, (uint32_t)page, "it should be a bucket");
    }
    return 0;
}

static int check_root(struct check *c)
{
    uint32_t root = get32(c->meta + META_ROOT);
    if (root == 0 || root > c->last)
        return damaged(c, 0, "its root lies outside of the file");
    uint8_t type = c->notes[root].type;
    return type == PAGE_LEAF || type == PAGE_INTERNAL ? 0 : damaged(c, root, "it should be the root");
}

static bool chained(const struct note *n)
{
    return n->type != PAGE_INVALID && n->type != PAGE_INTERNAL;
}

/* next and prev must be each other's mirror; then a chain that has a head has an end. What is no chain (a free page, an inner page) is not
 * followed. */
static int check_links(struct check *c, uint32_t number)
{
    const struct note *n = &c->notes[number];
    if (n->want_type != 0 && (n->type != n->want_type || n->level != n->want_level))
        return damaged(c, number, "it is not what a page that points to it says");
    if (!chained(n))
        return 0;
    if (n->next > c->last || n->prev > c->last)
        return damaged(c, number, "it points outside of the file");
    if (n->next != 0 && (c->notes[n->next].prev != number || c->notes[n->next].type != n->type))
        return damaged(c, number, "its chain is broken");
    if (n->prev != 0 && c->notes[n->prev].next != number)
        return damaged(c, number, "its chain is broken");
    return 0;
}

/* Marks all that can be reached from the heads of chains; a page with a link that was not reached is part of a ring. */
static int check_rings(struct check *c)
{
    for (uint32_t head = 1; head <= c->last; head++)
        for (uint32_t p = head; c->notes[head].prev == 0 && p != 0 && chained(&c->notes[p]); p = c->notes[p].next)
            c->notes[p].want_level = UINT8_MAX;
    for (uint32_t p = 1; p <= c->last; p++) {
        if (chained(&c->notes[p]) && c->notes[p].want_level != UINT8_MAX)
            return damaged(c, p, "its chain is a ring");
    }
    return 0;
}

static int check_pages(struct check *c, int fd)
{
    for (uint32_t number = 1; number <= c->last; number++)
        if (check_page(c, fd, number) < 0)
            return -1;
    for (uint32_t number = 1; number <= c->last; number++)
        if (check_links(c, number) < 0)
            return -1;
    if ((c->kind == MAPCHECK_HASH ? check_buckets(c) : check_root(c)) < 0)
        return -1;
    return check_rings(c);
}

int mapcheck(int fd, enum mapcheck_kind kind, struct error *error)
{
    struct check c = {.kind = kind, .error = error};
    struct stat st;
    if (fstat(fd, &st) < 0)
        return error_set(error, "cannot be looked at: %s", strerror(errno));
    if (!S_ISREG(st.st_mode) || st.st_size < META_SIZE)
        return error_set(error, "not a Berkeley DB file (%s)", S_ISREG(st.st_mode) ? "too short" : "not a regular file");
    if (read_at(&c, fd, c.meta, sizeof c.meta, 0) < 0 || check_meta(&c, st.st_size) < 0)
        return -1;
    c.page = malloc(c.page_size);
    c.notes = calloc((size_t)c.last + 1, sizeof *c.notes);
    int status = c.page != NULL && c.notes != NULL ? check_pages(&c, fd) : error_set(error, "no memory to check it");
    free(c.page);
    free(c.notes);
    return status;
}
