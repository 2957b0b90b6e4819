/* orders: what an administrator said about a message, as it stands in its states on disk (spool_state.orders, docs/spool.md): whether it is held,
 * and its priority. Pure. `flags`: the envelope's, which hold until an administrator has said something else. */
#ifndef POSTINO_QMGR_ORDERS_H
#define POSTINO_QMGR_ORDERS_H

#include "common/messages.h"

#define ORDERS_HELD           1
#define ORDERS_PRIORITY_SHIFT 1 /* of enum priority */
#define ORDERS_RELEASED       8 /* the envelope's hold does not count any more */

bool orders_hold(uint16_t orders, uint16_t flags);
/* job.priority: an administrator's word, else MT-PRIORITY, else the listener's. */
int8_t orders_class(uint16_t orders, uint16_t flags, uint8_t mt_priority);
enum priority orders_priority(uint16_t orders, uint16_t flags, uint8_t mt_priority); /* the same in a word; never UNSET */

#endif
