/* The log's part of a survey: which messages count, which were in a batch that does not check out, and where the damage is. */
#include "admin/spool_survey_private.h"
#include "common/crc32c.h"
#include "common/queueid.h"
#include "qmgr/disk.h"
#include "qmgr/log_recover.h"
#include "qmgr/memory.h"

#include <stdio.h>

#define NEXT_REPAIR "postino spool repair"

/* ---- the messages ------------------------------------------------------------------------------------------------ */

static struct survey_entry *find(const struct survey *s, uint64_t id)
{
    struct hash_node *n = hash_find(&s->index, id);
    return n ? HASH_OWNER(n, struct survey_entry, node) : NULL;
}

bool survey_in_log(const struct survey *s, uint64_t id)
{
    const struct survey_entry *e = find(s, id);
    return e && e->kind == SURVEY_GIVEN;
}

static void add(struct survey *s, uint64_t id, struct log_place at, enum survey_entry_kind kind)
{
    struct survey_entry *e = memory_new(1, sizeof *e);
    *e = (struct survey_entry){.at = at, .settled = {.segment = LOG_NOWHERE}, .kind = kind};
    hash_add(&s->index, &e->node, id);
    s->log.segments[at.segment].alive += kind == SURVEY_GIVEN;
}

static void forget(struct survey *s, uint64_t id)
{
    struct survey_entry *e = find(s, id);
    if (!e)
        return;
    s->log.segments[e->at.segment].alive -= e->kind == SURVEY_GIVEN;
    hash_remove(&s->index, &e->node);
    free(e);
}

/* The same as when postino-qmgr starts. */
static void record(const struct spool_record *r, struct span rest, struct log_place at, void *arg)
{
    struct survey *s = arg;
    struct survey_entry *e = find(s, r->id);
    (void)rest;
    if (r->type == SPOOL_REMOVE || r->type == SPOOL_MOVED)
        forget(s, r->id);
    else if (r->type != SPOOL_MSG && e)
        e->settled = at;
    else if (r->type == SPOOL_MSG && !e)
        add(s, r->id, at, SURVEY_GIVEN);
}

/* ---- damage ------------------------------------------------------------------------------------------------------ */

/* What a range that does not check out still has: records say by the segment's key that they are of this use of it. */
struct remains {
    unsigned records, whole, broken;
};

static void remaining_record(struct survey *s, const struct log_note *n, uint64_t at, const struct spool_record *r, bool good, bool tail,
                             struct remains *found)
{
    struct log_place place = {.segment = (uint8_t)n->slot, .offset = (uint32_t)at};
    found->records++;
    if (good && (r->type == SPOOL_REMOVE || r->type == SPOOL_MOVED))
        forget(s, r->id);
    if (r->type != SPOOL_MSG || find(s, r->id))
        return;
    add(s, r->id, place, good && tail ? SURVEY_TAIL : SURVEY_BROKEN);
    found->whole += good;
    found->broken += !good;
}

/* In a tail nothing was given yet, and what removes a message of an earlier batch does not count. */
static struct remains remains_of(struct survey *s, const struct log_note *n, bool tail)
{
    struct remains found = {0};
    uint64_t key = s->log.segments[n->slot].key;
    for (uint64_t at = n->from; n->to - at >= SPOOL_RECORD_HEADER && at < n->to;) {
        struct spool_record r;
        uint64_t octets = log_record_at(n->data, n->to, at, key, &r);
        bool header = octets > 0 || (spool_record_decode(n->data + at, &r) && r.key == key && r.offset == at && r.type >= SPOOL_MSG &&
                                     r.type <= SPOOL_TOLD);
        const struct survey_entry *e = header ? find(s, r.id) : NULL;
        if (header && !(tail && e && e->kind == SURVEY_GIVEN))
            remaining_record(s, n, at, &r, octets > 0, tail, &found);
        at += octets > 0 ? octets : LOG_ALIGN;
    }
    return found;
}

static void find_in_log(struct survey *s, const struct log_note *n, enum finding_kind kind, bool at, const char *what, const char *meaning)
{
    char path[LOG_PATH];
    log_path(path, n->slot);
    survey_find(s, &(struct finding){.kind = kind,
                                     .remedy = kind == FINDING_DAMAGED ? REMEDY_LOG : REMEDY_NONE,
                                     .file = path,
                                     .at = at,
                                     .offset = n->from,
                                     .what = what,
                                     .meaning = meaning,
                                     .next = kind == FINDING_DAMAGED ? NEXT_REPAIR "; look at the disk" : "nothing need be done"});
}

static void damaged(struct survey *s, const struct log_note *n)
{
    char what[128], meaning[256];
    struct remains found = remains_of(s, n, false);
    (void)snprintf(what, sizeof what, "damaged up to offset %llu", (unsigned long long)n->to);
    (void)snprintf(meaning, sizeof meaning,
                   "%u records in there check out and count; of %u messages only a part is left; who is not named below is lost, or gets a "
                   "message twice",
                   n->count, found.broken);
    find_in_log(s, n, FINDING_DAMAGED, true, what, meaning);
}

static bool a_batch_begins(const struct survey *s, const struct log_note *n)
{
    struct log_batch_header h;
    const struct log_segment *g = &s->log.segments[n->slot];
    return n->to - n->from >= LOG_HEADER && log_batch_decode(n->data + n->from, &h) && h.key == g->key && h.epoch == g->epoch;
}

/* The last batch, if it does not check out. Both may have been: its writing was cut short, or it was promised and then damaged. Where a later
 * segment follows without a gap it did not check out when that one was begun: then nobody was told. */
static void tail(struct survey *s, const struct log_note *n)
{
    char meaning[256];
    if (s->calls->live || n->from >= n->to || n->count > 0)
        return;
    struct remains found = remains_of(s, n, true);
    (void)snprintf(
        meaning, sizeof meaning,
        "%u messages in it are whole, of %u only a part is left; either it was being written when the host stopped, and nobody was "
        "told that they had been taken, or the disk damaged it",
        found.whole, found.broken);
    if (found.whole + found.broken > 0)
        find_in_log(s, n, FINDING_DAMAGED, true, "the last batch does not check out", meaning);
    else if (n->from == LOG_BLOCK)
        find_in_log(s, n, FINDING_DAMAGED, true, "it has a header, and no batch that checks out",
                    "either the host stopped in its first write, and nobody was told, or the mail in it is lost");
    else if (found.records > 0 || a_batch_begins(s, n))
        find_in_log(s, n, FINDING_INCOMPLETE, true, "the last batch was not written in full",
                    "no message is in it; somebody may get a message twice");
}

static void note(const struct log_note *n, void *arg)
{
    struct survey *s = arg;
    char text[128], path[LOG_PATH];
    log_path(path, n->slot);
    survey_progress(s, path);
    switch (n->kind) {
    case LOG_NOTE_DAMAGED:
        damaged(s, n);
        break;
    case LOG_NOTE_UNREADABLE:
        (void)snprintf(text, sizeof text, "%u blocks of %u octets can't be read", n->count, LOG_BLOCK);
        find_in_log(s, n, FINDING_DAMAGED, false, text,
                    "they count as damaged; a second attempt, or one on a copy of the disk, may have more");
        break;
    case LOG_NOTE_SHORT:
        (void)snprintf(text, sizeof text, "cut to %llu octets of %llu", (unsigned long long)n->from, (unsigned long long)n->to);
        find_in_log(s, n, FINDING_DAMAGED, true, text, "what stood behind is lost, if anything did");
        break;
    case LOG_NOTE_HEADER:
        find_in_log(s, n, FINDING_DAMAGED, false, "both copies of its header are damaged", "its batches are read without it");
        break;
    case LOG_NOTE_HEADER_COPY:
        s->header_copy[n->slot] = true;
        break;
    case LOG_NOTE_NOTHING:
        find_in_log(s, n, FINDING_DAMAGED, false, "nothing in it can be read as a segment of the log", "the mail in it, if any, is lost");
        break;
    case LOG_NOTE_FOREIGN:
        find_in_log(s, n, FINDING_FOREIGN, false, "no regular file", "none: it is ignored");
        break;
    case LOG_NOTE_END:
        tail(s, n);
        break;
    }
}

/* ---- each message ------------------------------------------------------------------------------------------------ */

static void found_message(struct survey *s, const struct survey_entry *e, struct spool_file *f, const struct spool_record *r, bool whole)
{
    char path[LOG_PATH];
    log_path(path, e->at.segment);
    survey_message(s, &(struct survey_message){.id = e->node.key,
                                               .place = SURVEY_LOG,
                                               .name = path,
                                               .f = f,
                                               .fd = s->log.segments[e->at.segment].fd,
                                               .body = (uint64_t)e->at.offset + SPOOL_RECORD_HEADER,
                                               .octets = r->body,
                                               .body_crc = r->body_crc,
                                               .whole = whole,
                                               .surely = e->kind == SURVEY_GIVEN});
}

static void find_message(struct survey *s, const struct survey_entry *e, const struct spool_file *f, const char *what, const char *meaning,
                         enum finding_remedy remedy)
{
    struct buf text = BUF_EMPTY(4096);
    char path[LOG_PATH];
    log_path(path, e->at.segment);
    buf_add_text(&text, meaning);
    if (f->states)
        survey_who(&text, &f->envelope);
    survey_find(s, &(struct finding){.kind = s->calls->live ? FINDING_INCOMPLETE : FINDING_DAMAGED,
                                     .remedy = remedy,
                                     .file = path,
                                     .at = true,
                                     .offset = e->at.offset,
                                     .id = e->node.key,
                                     .what = what,
                                     .meaning = buf_text(&text),
                                     .next = NEXT_REPAIR "; look at the disk"});
    buf_free(&text);
}

/* As much of it as can be had, though it does not check out. */
static void broken_message(struct survey *s, const struct survey_entry *e, const char *why)
{
    const struct log_segment *g = &s->log.segments[e->at.segment];
    unsigned char header[SPOOL_RECORD_HEADER];
    struct spool_record r = {0};
    struct spool_file f = {.recipients = BUF_EMPTY(0)};
    if (disk_read(g->fd, header, sizeof header, e->at.offset) != 0 || !spool_record_decode(header, &r) || r.body > g->size) {
        find_message(s, e, &f, why, "it is not delivered", REMEDY_LOG);
        return;
    }
    f.rest = malloc((size_t)r.rest + 1);
    bool envelope = f.rest && disk_read(g->fd, f.rest, r.rest, e->at.offset + SPOOL_RECORD_HEADER + r.body) == 0 &&
                    spool_file_decode(&f, &r) == SPOOL_FILE_GOOD;
    find_message(s, e, &f, envelope ? "the checksum of its body is wrong" : why,
                 envelope ? "not delivered: the message " : "it is not delivered", REMEDY_LOG);
    found_message(s, e, &f, &r, false);
    spool_file_free(&f);
}

static void load_message(struct survey *s, const struct survey_entry *e)
{
    struct spool_file f;
    enum spool_file_verdict v = log_load(&s->log, e->node.key, e->at, e->settled, &f, NULL);
    struct spool_record r = {.body = f.envelope.size, .body_crc = f.body_crc};
    if (v == SPOOL_FILE_GOOD) {
        if (f.torn)
            find_message(s, e, &f, "a settlement of it is damaged", "some recipient may get it once more: the message ", REMEDY_LOG);
        found_message(s, e, &f, &r, true);
    } else {
        find_message(s, e, &f, f.why,
                     v == SPOOL_FILE_UNREADABLE ? "not delivered as long as the disk can't read it" : "it is not delivered",
                     v == SPOOL_FILE_UNREADABLE ? REMEDY_NONE : REMEDY_LOG);
    }
    spool_file_free(&f);
}

static int by_id(const void *a, const void *b)
{
    const struct survey_entry *const *x = a, *const *y = b;
    return (x[0]->node.key > y[0]->node.key) - (x[0]->node.key < y[0]->node.key);
}

static void each_message(struct survey *s)
{
    size_t n = 0, count = s->index.count;
    struct survey_entry **all = memory_new(count + 1, sizeof *all);
    for (struct hash_node *node = hash_first(&s->index); node; node = hash_after(&s->index, node))
        all[n++] = HASH_OWNER(node, struct survey_entry, node);
    qsort(all, n, sizeof *all, by_id);
    for (size_t i = 0; i < n && s->stopped == 0; i++) {
        if (all[i]->kind == SURVEY_BROKEN && s->log.segments[all[i]->at.segment].epoch < s->log.oldest_durable)
            continue; /* a batch behind it said that nothing there is alive */
        if (all[i]->kind == SURVEY_BROKEN)
            broken_message(s, all[i], "it does not check out");
        else
            load_message(s, all[i]);
        survey_progress(s, "log");
    }
    free(all);
}

/* ---- all --------------------------------------------------------------------------------------------------------- */

/* A segment's first write, cut short, leaves one copy of its header too. */
static void header_copies(struct survey *s)
{
    for (unsigned slot = 0; slot < LOG_SLOTS; slot++) {
        if (s->header_copy[slot] && s->log.segments[slot].state == LOG_FULL)
            find_in_log(s, &(struct log_note){.slot = slot}, FINDING_DAMAGED, false, "one of the two copies of its header is damaged",
                        "none: the other copy counts");
    }
}

/* Also those that are free by now: were they to stay when the others go, they would count again. */
static void order(struct survey *s)
{
    unsigned *n = &s->sums->segment_count;
    for (unsigned slot = 0; slot < LOG_SLOTS; slot++) {
        const struct log_segment *g = s->log.segments;
        if (g[slot].epoch == 0 && g[slot].state != LOG_FOREIGN)
            continue;
        if (g[slot].fd < 0)
            continue; /* no regular file */
        unsigned at = (*n)++;
        for (; at > 0 && g[s->sums->segments[at - 1]].epoch > g[slot].epoch; at--)
            s->sums->segments[at] = s->sums->segments[at - 1];
        s->sums->segments[at] = slot;
    }
}

int survey_log(struct survey *s)
{
    s->log.read_only = true;
    s->log.note = note;
    s->log.note_arg = s;
    if (log_scan(&s->log, record, s, s->error) != 0)
        return -1;
    header_copies(s);
    order(s);
    each_message(s);
    return s->stopped;
}

void survey_log_free(struct survey *s)
{
    for (struct hash_node *n = hash_first(&s->index), *next; n; n = next) {
        next = hash_after(&s->index, n);
        free(HASH_OWNER(n, struct survey_entry, node));
    }
    hash_free(&s->index);
    log_free(&s->log);
}
