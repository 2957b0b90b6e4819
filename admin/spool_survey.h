/* spool_survey: reads a whole spool (docs/spool.md) and tells what is in it and what is wrong with it; changes nothing. What counts is what
 * counts for postino-qmgr: the same code reads.
 *
 *   version --> segments of the log --> messages in the log --> msg/XX --> tmp --> bad
 *
 * Every octet of a spool is hostile here: no symbolic link is followed, nothing but regular files is read, sizes are bounded. Memory: a segment
 * of the log, or one message's envelope and states, and 64 octets a message in the log. */
#ifndef POSTINO_SPOOL_SURVEY_H
#define POSTINO_SPOOL_SURVEY_H

#include "qmgr/log_store.h"

enum finding_kind {
    FINDING_DAMAGED,    /* complete once, and wrong now */
    FINDING_INCOMPLETE, /* what a crash leaves; nobody was told of it */
    FINDING_FOREIGN,    /* not made by Postino */
    FINDING_KINDS
};

/* What `postino spool repair` does about it. */
enum finding_remedy {
    REMEDY_NONE,
    REMEDY_ASIDE,    /* the file goes to bad/ */
    REMEDY_CUT,      /* the file ends at `offset` from then on; what was behind goes to bad/ */
    REMEDY_SECOND,   /* a second name of a file in msg/: the name goes */
    REMEDY_LOG,      /* the mail of the whole log goes to files of its own, its segments to bad/ */
    REMEDY_VERSION,  /* `version` is written anew */
    REMEDY_DIRECTORY /* it is made */
};

struct finding {
    enum finding_kind kind;
    enum finding_remedy remedy;
    const char *file; /* hostile: to be escaped */
    bool at;          /* `offset` says where */
    uint64_t offset, id /* of the message; 0: of none */;
    const char *what, *meaning, *next; /* meaning: for the mail */
};

enum survey_place { SURVEY_LOG, SURVEY_FILE, SURVEY_ASIDE, SURVEY_PLACES };

struct survey_message {
    uint64_t id;
    enum survey_place place;
    const char *name;      /* where: "log/00", "msg/12/ID", "bad/ID.1" */
    struct spool_file *f;  /* its envelope and states; f->states is NULL when they are lost */
    int fd;                /* the body stands here... */
    uint64_t body, octets; /* ...at this offset, so long */
    uint32_t body_crc;
    bool whole;  /* it is deliverable: body and envelope check out */
    bool surely; /* LOG: it counts for postino-qmgr; else it stands in a batch that does not check out */
    bool copy;   /* FILE: what is in the log counts, and not this */
};

struct survey_sums {
    uint64_t messages[SURVEY_PLACES]; /* that count; ASIDE: files in bad/ */
    uint64_t waiting, done, octets;   /* recipients; octets of bodies that count */
    uint64_t finished;                /* messages all of whose recipients are done */
    uint64_t findings[FINDING_KINDS];
    uint64_t log_octets;          /* of all that stands in the log and can be had */
    unsigned segments[LOG_SLOTS]; /* of the log that were ever used, oldest first */
    unsigned segment_count;
};

struct survey_calls {
    void (*finding)(const struct finding *, void *arg);
    int (*message)(const struct survey_message *, void *arg); /* not 0: the survey ends with -1. NULL: none is told */
    void (*progress)(const char *where, uint64_t messages, void *arg);
    void *arg;
    bool live;  /* postino-qmgr is at work in it: what looks incomplete may just be being written */
    bool aside; /* messages in bad/ are told too */
};

/* -1: it can't be read at all, or is newer than this program; or message() said so. */
int spool_survey(int directory, const struct survey_calls *, struct survey_sums *, struct error *);

#endif
