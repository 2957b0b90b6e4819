/* life: what the master does when something happens to a process, or is asked of the master.
 *
 *     STARTING --all are ready--> RUNNING <--the new generation is ready, or failed-- RELOADING
 *        |                         |  |  ------------------SIGHUP------------------>    |
 *        | a program can't start   |                                                   |
 *        +----------------> STOPPING <---------------SIGTERM, SIGINT-------------------+
 *                             intake -> queue -> rest -> exit
 *
 *   STARTING   a program that ends before it was ever ready ends it all, with that program's exit status
 *   RUNNING    what dies is started anew, at once or (dying quickly again and again) after a while
 *   RELOADING  (reload.h) the current generation as in RUNNING; the death of a process of the new one ends the reload, and the old stays
 *   STOPPING   (stop.h) nothing is started any more */
#ifndef POSTINO_LIFE_H
#define POSTINO_LIFE_H

#include "master/process.h"

/* Starts all processes of master.current. */
void life_begin(void);

/* Makes places for all programs of a plan (but those that stay, if `all` is false), launches and wires them. -1: one can't be launched. */
int life_launch_generation(const struct plan *, bool all, struct error *);

/* A process of the current generation that is DOWN; if it can't be launched now, it is tried again. */
void life_launch(struct process *);

void life_ready(struct process *);
void life_progress(void); /* a process did what it was told, DRAIN or another CONFIG, or ended over it */
void life_reap(void);     /* SIGCHLD */

#endif
