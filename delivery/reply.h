/* reply: what an SMTP server says, read piece by piece (RFC 5321 4.2).
 *
 * Pure: no I/O. The server is hostile: a line is at most REPLY_LINE_MAX octets, a reply at most REPLY_LINES_MAX lines and REPLY_MAX octets,
 * all its lines have one code of 200 to 599. A bare LF ends a line as CR LF does, as some servers send it. What is kept is printable ASCII:
 * every other byte becomes '?', so that a reply can go into a log, a report or a frame as it is. */
#ifndef POSTINO_REPLY_H
#define POSTINO_REPLY_H

#include "common/buf.h"

#define REPLY_LINE_MAX  ((size_t)2048)
#define REPLY_LINES_MAX 256
#define REPLY_MAX       ((size_t)64 << 10)
#define REPLY_TEXT_MAX  ((size_t)512)
#define STATUS_MAX      12 /* "5.123.123" and NUL */

enum reply_progress { REPLY_MORE, REPLY_WHOLE, REPLY_BAD };

struct reply {
    unsigned code;
    struct buf lines; /* the text of each line without its code, each ended by LF */
    size_t line_count;
    size_t octets;
    const char *wrong; /* after REPLY_BAD: what was wrong with it */
    bool cut;          /* after REPLY_BAD: only that it is too long; all that came of it says `code` */
};

void reply_begin(struct reply *); /* forgets the former reply; a zeroed struct needs it as well */
void reply_free(struct reply *);

/* Takes whole lines from the front of `in` until the reply is whole; `used` says how many octets that were. REPLY_MORE: the rest is to be
 * given again with more behind it. After REPLY_BAD the session can't be trusted any more. */
enum reply_progress reply_feed(struct reply *, struct span in, size_t *used);

/* The lines one after the other: start with *at = 0; false at the end. */
bool reply_line(const struct reply *, size_t *at, struct span *line);

/* The enhanced status code (RFC 3463) to report under the class '2', '4' or '5': the server's, with its class replaced if only that differs
 * and `lenient`, else when there is none, or one of another class, "class.0.0". */
void reply_status(const struct reply *, char class, bool lenient, char status[STATUS_MAX]);

/* Appends "550 5.1.1 no such user": one line, a multi-line reply joined with blanks, an enhanced code that each line repeats left out, cut
 * at REPLY_TEXT_MAX. */
void reply_text(const struct reply *, struct buf *out);

#endif
