/* date: moments as RFC 3339 has them, in UTC: "2026-11-22T06:38:25Z". Pure. */
#ifndef POSTINO_DATE_H
#define POSTINO_DATE_H

#include "common/span.h"

#include <stdbool.h>
#include <stdint.h>

#define DATE_TEXT 21 /* octets, with the NUL */

/* Seconds since 1970 of a date-time of RFC 3339 5.6 whose offset is Z: every field in its range, days as the month has them. A fraction counts as
 * a whole second (nothing is early), a leap second as the one behind it. Years 1970 to 2105. */
bool date_parse(struct span, uint64_t *seconds);

/* Such a text; moments past 2105 are shown as its last. */
void date_format(uint64_t seconds, char out[DATE_TEXT]);

#endif
