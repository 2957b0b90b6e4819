/* log_recover: finds the log's segments, and gives all records that count, in the order in which they were written. */
#ifndef POSTINO_LOG_RECOVER_H
#define POSTINO_LOG_RECOVER_H

#include "qmgr/log_store.h"

/* `rest`: what follows the body. Every checksum is right; the fields in it are not looked at. */
typedef void log_each_fn(const struct spool_record *, struct span rest, struct log_place, void *arg);
/* -1: the log can't be read at all. Damage is logged, and what is readable counts. */
int log_scan(struct log *, log_each_fn *, void *arg, struct error *);
/* After it, and after log->size was chosen: frees what holds nothing, and removes what has another size. */
void log_settle_in(struct log *);

#endif
