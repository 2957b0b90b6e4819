/* log: lines for the administrator, in logfmt, batched to one write a turn of the event loop.
 *
 * Where lines go is decided by the master: it hands every program a descriptor (stderr, a file opened for append, or a datagram socket
 * connected to /dev/log) and its kind. A line is
 *     TIME postino-smtpd[PID]: QUEUEID: key=value key="a value"      (stderr and file)
 * with TIME in RFC 3339 with microseconds; to syslog the time is left out and a <priority> is put in front.
 * Nothing from outside reaches a log unescaped: the %s of log_line is for our own text; what a stranger said goes through log_value().
 */
#ifndef POSTINO_LOG_H
#define POSTINO_LOG_H

#include "common/buf.h"

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARNING, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };
enum log_kind { LOG_TO_STDERR, LOG_TO_FILE, LOG_TO_SYSLOG };

void log_open(const char *program, int fd, enum log_kind, enum log_level most); /* again at any time: replaces (and closes) the former fd */
void log_flush(void);                                                           /* called once a turn by the event loop, and at exit */
bool log_wanted(enum log_level);                                                /* before work that only a line of this level needs */
__attribute__((format(printf, 2, 3))) void log_line(enum log_level, const char *fmt, ...);
#define log_error(...)   log_line(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warning(...) log_line(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_info(...)    log_line(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...)   log_line(LOG_LEVEL_DEBUG, __VA_ARGS__)

int log_descriptor(void); /* where lines go now */

/* Building a line of key=value pairs; log_buf() writes it. Quoted when empty or with blanks, = or "; control and non-ASCII bytes as \xHH;
 * a value is cut at 512 bytes. */
void log_value(struct buf *, const char *key, struct span value);
void log_buf(enum log_level, const struct buf *);

/* A "cannot happen": writes the line, flushes, and aborts this process. Input from outside never gets here. */
__attribute__((noreturn, format(printf, 1, 2))) void log_die(const char *fmt, ...);

#endif
