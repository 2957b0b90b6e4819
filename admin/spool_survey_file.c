/* A message's file in the spool: what it is good for, what is wrong with it, and what that means. */
#include "admin/spool_survey_private.h"
#include "qmgr/disk.h"

#include <stdlib.h>

void survey_foreign(struct survey *s, const char *path)
{
    survey_find(s, &(struct finding){.kind = FINDING_FOREIGN,
                                     .file = path,
                                     .what = "not made by Postino",
                                     .meaning = "none: it is ignored",
                                     .next = "look who put it there"});
}

static enum finding_kind at_worst(const struct survey *s, enum finding_kind kind)
{
    return s->calls->live && kind == FINDING_DAMAGED ? FINDING_INCOMPLETE : kind;
}

/* What stands behind the last good record. A settlement whose writing was cut short is zeros, or shorter than it says. */
static bool cut_short(int fd, uint64_t tail)
{
    unsigned char header[SPOOL_RECORD_HEADER];
    struct spool_record r;
    uint64_t size;
    if (disk->size(fd, &size) != 0 || size - tail < SPOOL_RECORD_HEADER || disk_read(fd, header, sizeof header, tail) != 0)
        return true;
    if (spool_record_decode(header, &r))
        return r.rest > size - tail - SPOOL_RECORD_HEADER;
    for (size_t i = 0; i < sizeof header; i++) {
        if (header[i] != 0)
            return false;
    }
    return true;
}

static void torn_file(struct survey *s, const char *path, int fd, const struct spool_file *f)
{
    bool harmless = cut_short(fd, f->tail);
    struct buf meaning = BUF_EMPTY(4096);
    buf_add_text(&meaning, "what it said does not count, and some recipient may get the message once more: the message ");
    survey_who(&meaning, &f->envelope);
    survey_find(s, &(struct finding){.kind = harmless ? FINDING_INCOMPLETE : at_worst(s, FINDING_DAMAGED),
                                     .remedy = REMEDY_CUT,
                                     .file = path,
                                     .at = true,
                                     .offset = f->tail,
                                     .id = f->envelope.id,
                                     .what = harmless ? "a settlement was not written in full" : "a settlement is damaged",
                                     .meaning = buf_text(&meaning),
                                     .next = harmless ? "nothing need be done; postino spool repair cuts it off" : "postino spool repair"});
    buf_free(&meaning);
}

/* The envelope of a file that is not good, if it can be had. */
static bool envelope_of(int fd, struct spool_file *f, struct spool_record *r)
{
    unsigned char header[SPOOL_RECORD_HEADER];
    spool_file_free(f);
    *f = (struct spool_file){.recipients = BUF_EMPTY(0)};
    if (disk_read(fd, header, sizeof header, 0) != 0 || !spool_record_decode(header, r) || r->type != SPOOL_MSG)
        return false;
    f->rest = malloc((size_t)r->rest + 1);
    return f->rest && disk_read(fd, f->rest, r->rest, SPOOL_RECORD_HEADER + r->body) == 0 && spool_file_decode(f, r) == SPOOL_FILE_GOOD;
}

static void bad_file(struct survey *s, const char *path, uint64_t id, const char *why, const struct spool_file *f, bool envelope)
{
    struct buf meaning = BUF_EMPTY(4096);
    buf_add_text(&meaning, "not delivered");
    if (envelope) {
        buf_add_text(&meaning, ": the message ");
        survey_who(&meaning, &f->envelope);
    }
    survey_find(s,
                &(struct finding){.kind = FINDING_DAMAGED,
                                  .remedy = REMEDY_ASIDE,
                                  .file = path,
                                  .id = id,
                                  .what = why,
                                  .meaning = buf_text(&meaning),
                                  .next = envelope ? "tell them; postino spool repair sets it aside, postino spool dump shows what is left"
                                                   : "postino spool repair sets it aside"});
    buf_free(&meaning);
}

void survey_incomplete_file(struct survey *s, const char *path, uint64_t id, const char *why)
{
    survey_find(s, &(struct finding){.kind = FINDING_INCOMPLETE,
                                     .remedy = REMEDY_ASIDE,
                                     .file = path,
                                     .id = id,
                                     .what = why,
                                     .meaning = "none: nobody was told that it had been taken",
                                     .next = "nothing need be done; postino spool repair sets it aside"});
}

void survey_unreadable_file(struct survey *s, const char *path, uint64_t id, const char *why)
{
    survey_find(s, &(struct finding){.file = path,
                                     .id = id,
                                     .what = why,
                                     .meaning = "not delivered as long as the disk can't read it",
                                     .next = "copy the disk (ddrescue) while it can be read at all, and go on with the copy"});
}

static void tell_file(struct survey *s, enum survey_place place, const char *path, uint64_t id, int fd, struct spool_file *f,
                      const struct spool_record *r, bool whole)
{
    survey_message(s, &(struct survey_message){.id = id,
                                               .place = place,
                                               .name = path,
                                               .f = f,
                                               .fd = fd,
                                               .body = SPOOL_RECORD_HEADER,
                                               .octets = r->body,
                                               .body_crc = r->body_crc,
                                               .whole = whole,
                                               .copy = place == SURVEY_FILE && survey_in_log(s, id)});
}

static void copy_of_log(struct survey *s, const char *path, uint64_t id)
{
    survey_find(s, &(struct finding){.kind = FINDING_INCOMPLETE,
                                     .file = path,
                                     .id = id,
                                     .what = "a copy of what is in the log, from a move that was not finished",
                                     .meaning = "none: the log counts",
                                     .next = "nothing need be done; the next start removes it"});
}

void survey_message_file(struct survey *s, const char *path, uint64_t id, int fd)
{
    struct spool_file f;
    enum spool_file_verdict v = spool_file_load(fd, id, &f);
    struct spool_record r = {.body = f.envelope.size, .body_crc = f.body_crc};
    const char *why = f.why;
    bool envelope;
    if (survey_in_log(s, id))
        copy_of_log(s, path, id);
    switch (survey_in_log(s, id) && v != SPOOL_FILE_GOOD ? SPOOL_FILE_INCOMPLETE : v) {
    case SPOOL_FILE_GOOD:
        if (f.torn && !survey_in_log(s, id))
            torn_file(s, path, fd, &f);
        tell_file(s, SURVEY_FILE, path, id, fd, &f, &r, true);
        break;
    case SPOOL_FILE_INCOMPLETE:
        if (!survey_in_log(s, id))
            survey_incomplete_file(s, path, id, why);
        break;
    case SPOOL_FILE_BAD:
        envelope = envelope_of(fd, &f, &r);
        bad_file(s, path, id, why, &f, envelope);
        if (envelope)
            tell_file(s, SURVEY_FILE, path, id, fd, &f, &r, false);
        break;
    case SPOOL_FILE_FOREIGN:
        survey_foreign(s, path);
        break;
    case SPOOL_FILE_UNREADABLE:
        survey_unreadable_file(s, path, id, why);
        break;
    }
    spool_file_free(&f);
}

void survey_aside_file(struct survey *s, const char *path, uint64_t id, int fd)
{
    struct spool_file f = {.recipients = BUF_EMPTY(0)};
    struct spool_record r;
    if (envelope_of(fd, &f, &r))
        tell_file(s, SURVEY_ASIDE, path, id, fd, &f, &r, false);
    spool_file_free(&f);
}
