/* queue_print: the queue as text: in the shape that mailq has had for decades (Postfix's, so that what reads it goes on working), or as
 * JSON, one object a message and line, with the names that `postqueue -j` has. Control characters from envelopes never reach the terminal.
 */
#ifndef POSTINO_QUEUE_PRINT_H
#define POSTINO_QUEUE_PRINT_H

#include "admin/queue_client.h"

#include <stdio.h>

enum queue_form { QUEUE_TABLE, QUEUE_JSON };

struct queue_printer {
    FILE *out;
    enum queue_form form;
    uint64_t id; /* of the message whose recipients are being printed */
    uint64_t messages, octets;
    bool any_recipient; /* JSON: of this message */
};

bool queue_print_entry(const struct record_entry *, void *printer); /* a queue_entry_fn; entries of a message come together */
void queue_print_end(struct queue_printer *);

/* mailq and `postino queue list`: asks and prints. EX_OK or an error. */
int queue_print_all(const char *run, uint64_t only, enum queue_form, FILE *, struct error *);
const char *queue_print_priority(uint16_t); /* "high", "normal", "low" */
void queue_print_json(FILE *, struct span); /* as a JSON string */
/* The text, so that a terminal does not obey a stranger: what is no printable UTF-8 becomes '?'. */
void queue_print_text(FILE *, struct span);

#endif
