/* What spool_survey.c, spool_survey_file.c and spool_survey_log.c share. */
#ifndef POSTINO_SPOOL_SURVEY_PRIVATE_H
#define POSTINO_SPOOL_SURVEY_PRIVATE_H

#include "admin/spool_survey.h"
#include "qmgr/hash.h"

struct survey {
    int directory;
    const struct survey_calls *calls;
    struct survey_sums *sums;
    struct error *error;
    struct log log;
    struct hash index; /* of struct survey_entry: messages in the log */
    bool header_copy[LOG_SLOTS];
    int stopped; /* message() said so */
};

/* GIVEN: it counts. TAIL: whole, in a batch that does not check out and that none follows. BROKEN: its header checks out, and not the rest. */
enum survey_entry_kind { SURVEY_GIVEN, SURVEY_TAIL, SURVEY_BROKEN };

struct survey_entry {
    struct hash_node node; /* key: the id */
    struct log_place at, settled;
    enum survey_entry_kind kind;
};

void survey_find(struct survey *, const struct finding *);
void survey_message(struct survey *, const struct survey_message *);
void survey_progress(struct survey *, const char *where);
/* "from <a@x> to <b@y> and 2 others"; control characters as '?'. */
void survey_who(struct buf *, const struct spool_envelope *);
bool survey_all_done(const struct spool_file *);
/* spool_survey_file.c: a name in msg/XX, tmp or bad, and the finding that it is. */
void survey_message_file(struct survey *, const char *path, uint64_t id, int fd); /* in msg/XX */
void survey_aside_file(struct survey *, const char *path, uint64_t id, int fd);   /* in bad: what is left of it */
void survey_incomplete_file(struct survey *, const char *path, uint64_t id, const char *why);
void survey_unreadable_file(struct survey *, const char *path, uint64_t id, const char *why);
void survey_foreign(struct survey *, const char *path);

/* Reads the log; -1: s->error says why. */
int survey_log(struct survey *);
void survey_log_free(struct survey *);
bool survey_in_log(const struct survey *, uint64_t id); /* and counts */

#endif
