/* local_job: deliveries that qmgr asked for, from the question to its answer.
 *
 * A job is one DELIVER; it has a task a recipient, each of which is one delivery for a worker (workers.h). When the last task of a job has its
 * outcome, the RESULT is sent. When the edge that asked is gone, what no worker has yet is dropped (qmgr's successor asks again), and what
 * runs, ends. */
#ifndef POSTINO_LOCAL_JOB_H
#define POSTINO_LOCAL_JOB_H

#include "common/messages.h"
#include "conf/settings.h"

struct channel;
struct event_base;

void local_jobs_open(struct event_base *, const struct settings *, bool unprivileged);
void local_job_take(struct channel *, const struct message *deliver); /* takes its descriptor */
void local_jobs_drop(const struct channel *);                         /* it is gone */
bool local_jobs_idle(void);                                           /* all are answered */

#endif
