/* reload: SIGHUP. A second generation of all programs but those that stay is brought up beside the first; then everybody's edges are
 * pointed at it, and the first one is told to finish. Until the new generation is complete nothing has changed, and whatever goes wrong
 * leaves it so.
 *
 *   read and check the file; what needs a restart has not changed;
 *   bind the new ports; open the log                                  -- fails: refused, nothing was touched
 *   launch, wire, wait for READY of all                               -- fails: the new ones are ended
 *   commit: CONFIG to qmgr, edges, DRAIN to the old
 *   wait until no old one lets a client in, and qmgr has taken it over: only then it is said that the new generation serves */
#ifndef POSTINO_RELOAD_H
#define POSTINO_RELOAD_H

void reload_begin(void);
void reload_pending(void); /* begins if SIGHUP came when it could not: at the start, in another reload */
void reload_commit(void);
void reload_continue(void); /* a process did what the commit told it */
void reload_failed(const char *why);
void reload_logs(void); /* SIGUSR1 */

#endif
