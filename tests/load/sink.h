/* sink: the next host. Takes everything on a port of loopback, and tells the books which message came. */
#ifndef POSTINO_LOAD_SINK_H
#define POSTINO_LOAD_SINK_H

#include <stdint.h>

#define SUBJECT "Subject: message "

uint16_t sink_open(void); /* the port that it listens on */

#endif
