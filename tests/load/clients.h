/* clients: those that a mail host is there for. Held sessions have said EHLO (over TLS, if so) and then nothing; good clients send messages, each at most
 * one in `interval`, and measure what they wait. Hostile ones are in hostile.h. */
#ifndef POSTINO_LOAD_CLIENTS_H
#define POSTINO_LOAD_CLIENTS_H

#include <stdbool.h>
#include <stdint.h>

struct held_sums {
    unsigned wanted, open, refused, lost;
};
void held_begin(unsigned plain, unsigned tls);
bool held_settled(void); /* each is open, or was refused */
struct held_sums held_sums(void);

/* Half of them connect anew for each message, half keep a connection for 20. */
void good_begin(unsigned count, unsigned interval_ms);
void good_pace(unsigned interval_ms); /* 0: as fast as they can */
void good_stop(void);                 /* no new messages; what is under way ends */
bool good_stopped(void);
void good_tick(void);
void good_mark(void);          /* counts begin again */
void good_report(uint64_t us); /* prints them; they are of so long a time */

#endif
