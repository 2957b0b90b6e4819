/* alabels: domains of postino.conf in the one form in which all programs compare them: A-labels, lower case. In the file they may be written
 * as people do ("bücher.example"). */
#ifndef POSTINO_ALABELS_H
#define POSTINO_ALABELS_H

#include "conf/settings.h"

/* Appends "example.org" or ".example.org" (all below it); what is no domain is appended as it is, and told about by the checks. */
void alabels_add(struct span name, struct buf *out);
void alabels_list(struct strings *); /* of domains */

#endif
