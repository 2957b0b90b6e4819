/* spool_writer: the helper thread that changes the disk. It is given one batch at a time; what it has done stands in the batch's operations
 * afterwards. Nothing of an operation is touched by the caller while its batch is under way. */
#ifndef POSTINO_SPOOL_WRITER_H
#define POSTINO_SPOOL_WRITER_H

#include "qmgr/spool_format.h"

/* MOVE: from the log to a file of its own. FORGET: like REMOVE, of what the spool does not know any more, or never did. */
enum spool_op_kind { SPOOL_OP_APPEND, SPOOL_OP_PUT, SPOOL_OP_DROP, SPOOL_OP_SETTLE, SPOOL_OP_REMOVE, SPOOL_OP_MOVE, SPOOL_OP_FORGET };

/* Where a record stands in the log. */
#define LOG_NOWHERE 0xff
struct log_place {
    uint8_t segment; /* LOG_NOWHERE: in none */
    uint32_t offset;
};

struct spool_op {
    struct spool_op *next;
    enum spool_op_kind kind;
    uint64_t id;
    /* APPEND: a piece, at `offset` of tmp/ID. PUT: the last piece, at `offset`; `tail` is the envelope, `header` goes in front; `pieces`:
     * there were some. SETTLE: `body` is the record, at `offset` of msg/XX/ID. */
    struct buf body, tail;
    unsigned char header[SPOOL_RECORD_HEADER];
    uint64_t offset;
    bool pieces;
    /* For the log (op->log): PUT with header, body and tail as above; SETTLE, `body` is the states; REMOVE; FORGET; MOVE, of the message at `at`. */
    bool log, copied;              /* copied: MOVE, its file is there and flushed */
    struct log_place at, previous; /* at: of the record, set by the writer; previous: of the message's SETTLE before */
    /* PUT: a settlement of `parent` goes into the same batch. */
    uint64_t parent;
    struct buf with;
    size_t with_older;                /* octets of it that were gathered before */
    struct log_place with_at, before; /* before: FORGET, `previous` of the parent's settlement */
    bool with_log;                    /* decided: it goes there */
    uint64_t room;                    /* op->log: octets of the batch that were counted for it */
    /* The writer's. */
    int status;       /* 0 or an errno */
    const char *step; /* what failed */
    int fd;
    /* SETTLE in a file: it is written anew. The writer takes `rewrite` back if it can't be; `made` and `rewritten` octets long: it was. */
    bool rewrite;
    bool name; /* its directory has to be flushed too: that failed when it was written anew */
    uint64_t rewritten;
    bool made; /* the file in msg/ is there, and of this operation */
    /* The caller's. */
    uint64_t octets; /* that it was let in with */
    bool makes_room; /* a removal that others wait for */
    spool_done_fn *done;
    void *arg;
};

struct spool_ops {
    struct spool_op *first, **end;
    size_t count;
};

void spool_ops_init(struct spool_ops *);
void spool_ops_add(struct spool_ops *, struct spool_op *);
struct spool_op *spool_ops_take(struct spool_ops *); /* NULL: none */
void spool_op_free(struct spool_op *);

struct spool_writer;
struct log;
struct spool_writer *spool_writer_new(int directory, struct log *, struct error *);
void spool_writer_free(struct spool_writer *); /* with no batch under way */
int spool_writer_fd(const struct spool_writer *);
void spool_writer_start(struct spool_writer *, struct spool_ops *batch, bool rotate /* the log */);
bool spool_writer_done(struct spool_writer *); /* true once for each batch */
void spool_writer_wait(struct spool_writer *); /* until the batch is done */

#endif
