/* refresh: policies are known, and looked at, before mail asks for them (RFC 8461 3.3, 10.2): who can block the moment in which we ask gains nothing. */
#ifndef POSTINO_STS_REFRESH_H
#define POSTINO_STS_REFRESH_H

struct event_base;

void refresh_start(struct event_base *); /* in the sandbox: reads what is kept, some at a time, and then looks once a minute */

#endif
