/* downgrade: a message for a host that can't take it as it is: without 8BITMIME (RFC 6152 3), or a binary one without BINARYMIME (RFC
 * 3030 3). The leaves of its MIME tree that are not 7-bit are encoded, as quoted-printable if they are text, else base64.
 *
 * Pure and incremental, in two passes over the same octets, as a leaf's header says how it is encoded and comes before it:
 *
 *   downgrade_new --> downgrade_add ... downgrade_end: what has to be done? --> downgrade_again --> downgrade_add ... downgrade_end: it is done
 *
 * Memory is bounded: a header of HEADER_MOST, some ten thousand parts, nested in each other 32 times; what goes beyond is broken.
 *
 *   leaf        its octets come out as they were when they are decoded; one that is 7-bit already is left alone
 *   multipart, message/rfc822   are labelled 7bit when something in them was encoded; they can't be encoded themselves
 *   what is around the parts of a multipart   is nobody's; what is not 7-bit in it becomes '?'
 *   header      8-bit octets in it stay: no encoding could tell what they mean
 *   no MIME     text/plain in charset unknown-8bit (RFC 1428)
 *   signed      converted all the same, and the signature no longer holds; RFC 1847 2.1 lets nobody sign what is not 7-bit
 *
 * Broken, and left to the caller: 8-bit octets in what says that it is encoded, or is message/partial and the like; two fields where there
 * can be one; a line that is a boundary to one reader and none to another; a multipart whose boundary never comes. */
#ifndef POSTINO_DOWNGRADE_H
#define POSTINO_DOWNGRADE_H

#include "common/buf.h"

enum downgrade_verdict { DOWNGRADE_CLEAN /* nothing is to be done */, DOWNGRADE_NEEDED, DOWNGRADE_BROKEN };

struct downgrade;

/* `binary`: bare CR and LF, NUL and lines over 998 octets are to go, too. NULL: no memory. */
struct downgrade *downgrade_new(bool binary);
void downgrade_free(struct downgrade *); /* NULL is fine */

/* The next octets. `out` is for the second pass; in the first nothing is appended. Up to 3.1 times of what came may be appended, and a
 * header that was kept. */
void downgrade_add(struct downgrade *, struct span, struct buf *out);
/* Begins the second pass; also once more, where one was broken off. */
void downgrade_again(struct downgrade *);
/* The end of a pass. In the second BROKEN means that these were other octets than in the first. */
enum downgrade_verdict downgrade_end(struct downgrade *, struct buf *out);

#endif
