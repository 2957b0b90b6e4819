/* hostile: clients that want to harm, one kind after the other; and floods of connections that say nothing. */
#ifndef POSTINO_LOAD_HOSTILE_H
#define POSTINO_LOAD_HOSTILE_H

#include <stdint.h>

void hostile_begin(unsigned count);
void hostile_end(void); /* all of them hang up, and no more come */
void hostile_tick(void);
void hostile_report(void); /* prints counts by kind, and begins them again */

/* So many new connections a second, from one /24 or from addresses everywhere, each kept open until it is closed, five seconds at most. 0: no more. */
void flood_begin(unsigned rate, int many);
void flood_tick(void);
void flood_report(void);

#endif
