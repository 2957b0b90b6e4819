/* stop: an orderly end. Intake first, then the queue, then whom the queue asks (enum stop_step); each step waits for its processes, and
 * kills what is there after stop_grace and 5 seconds. A second signal ends the waiting. */
#ifndef POSTINO_STOP_H
#define POSTINO_STOP_H

void stop_begin(const char *why);
void stop_continue(void); /* a process has ended */

/* The first start has failed: everything ends at once, with that exit status; `text` is what whoever waits in front of the terminal gets to
 * read. */
void stop_failed(int exit_status, const char *text);

#endif
