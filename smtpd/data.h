/* data: the text of a message as it comes behind DATA (RFC 5321 4.1.1.4, 4.5.2), or in the chunks of BDAT (RFC 3030). Pure and incremental:
 * any cut of the input into pieces gives the same result.
 *
 *   LINE_START --.--> DOT --CR--> DOT_CR --LF--> the end
 *     |  ^             |             |
 *     v  |CR LF        v             v
 *    TEXT <---------- TEXT <------- TEXT
 *
 * Only CR LF . CR LF ends a message (the CR LF of the DATA command counts as its first). A bare CR or LF is refused, or normalized: LF to
 * CR LF, CR to a blank. What follows a normalized LF is no LINE_START: a dot there is text, and can end nothing.
 *
 * In chunks a dot is text like any other, and nothing in the text ends it: the caller does, with data_finish(). A last line without CR LF
 * gets one. A binary text (BODY=BINARYMIME) is CR LF lines as any other in its header, which it must have; what follows is octets, of which
 * nothing is added, taken away or refused.
 *
 * Out come CR LF lines without dot-stuffing. A NUL is passed on as any octet, unless it is unwanted. A fault does not stop the reading: the text is read to its
 * end, where the reply belongs, but no more of it is put out. The first fault counts. */
#ifndef POSTINO_DATA_H
#define POSTINO_DATA_H

#include "common/buf.h"

enum data_fault { DATA_OK, DATA_BARE_CR, DATA_BARE_LF, DATA_NUL, DATA_LINE_TOO_LONG, DATA_TOO_LARGE, DATA_LOOP, DATA_NO_HEADER };

enum data_header { HEADER_DATE = 1, HEADER_FROM = 2, HEADER_MESSAGE_ID = 4, HEADER_TLS_OPTIONAL = 8 /* TLS-Required: No */ };

struct data_limits {
    uint64_t line; /* octets, CR LF included */
    uint64_t size; /* octets put out */
    uint64_t hops; /* Received: lines */
    bool normalize;
    bool no_nul;  /* a NUL is a fault */
    bool chunked; /* it comes by BDAT */
    bool binary;  /* ... as BODY=BINARYMIME */
};

struct data {
    struct data_limits limits;
    enum data_fault fault;
    uint64_t size; /* octets put out so far (had there been no fault) */
    uint64_t hops;
    unsigned headers; /* enum data_header bits that were seen */
    bool no_header;   /* the first line is no header field */
    bool eight_bit;
    enum header_text { HEADER_ASCII, HEADER_UTF8, HEADER_OTHER } header_text; /* OTHER: octets beyond ASCII that are no UTF-8 */
    /* private */
    enum { DATA_LINE_START, DATA_TEXT, DATA_CR, DATA_DOT, DATA_DOT_CR, DATA_DONE } state;
    bool in_header, first_line;
    unsigned char tail; /* octets of a UTF-8 character in the header that are to come */
    uint64_t line;      /* octets of this line so far */
    char head[32];      /* its beginning, in the header */
};

void data_start(struct data *, const struct data_limits *);
/* Takes the front of `in`, appends to `out` at most twice as many octets and 2. Returns how many it took: all of it, unless data_done(). */
size_t data_take(struct data *, struct span in, struct buf *out);
bool data_done(const struct data *);
/* The end of a text in chunks: appends at most 3 octets. */
void data_finish(struct data *, struct buf *out);

#endif
