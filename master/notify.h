/* notify: telling the service manager how it goes (sd_notify(3)), when it asked for it by NOTIFY_SOCKET. Failures are of no consequence. */
#ifndef POSTINO_NOTIFY_H
#define POSTINO_NOTIFY_H

#include "common/buf.h"

#include <stdint.h>
#include <sys/types.h>

enum notify_event { NOTIFY_EVENT_READY, NOTIFY_EVENT_RELOADING, NOTIFY_EVENT_STOPPING };

/* `status` is for people ("systemctl status"); one line. */
void notify_send(enum notify_event, const char *status);

/* What is sent. Pure. */
void notify_text(struct buf *out, enum notify_event, const char *status, pid_t pid, uint64_t monotonic_us);

#endif
