/* try: tries what the sandbox must forbid, in the build for that (VARIANT=try), to prove that it does.
 *
 * POSTINO_TRY="smtpd:open:/etc/passwd" makes smtpd, once it is in its sandbox, do exactly that. Before: a line `trying=open
 * what=/etc/passwd`; after: `try=open what=/etc/passwd result=allowed`, or `result="refused: Permission denied"`. If the kernel kills the
 * program there is no second line, and the master tells of SIGSYS.
 *
 *   open:PATH  write:PATH  list:PATH  stat:PATH  exec:PATH  unlink:PATH     (PATH: as it is outside)
 *   connect:ADDRESS:PORT  unix:PATH  socket  raw  fork  ptrace  setuid  kill:PID
 *
 * POSTINO_TRY_LAYER=files leaves out seccomp, so that Landlock and the root directory stand alone; =calls leaves out these two, so that
 * seccomp does. */
#ifndef POSTINO_TRY_H
#define POSTINO_TRY_H

void try_forbidden(const char *program);
/* For a process whose log was closed: to stderr, by a descriptor from `at` on, as the former one's number may be another's by now. */
void try_log(const char *program, int at);

#endif
