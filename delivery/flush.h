/* flush: several files to the disk at the same time, each as fdatasync() does it.
 *
 * One after the other, each flush waits for the one before, and the disk does each by itself. Asked for together (io_submit(2), IOCB_CMD_FDSYNC)
 * they share the commit of the file system's journal and the disk's flush. Where the kernel can't, they go one after the other. */
#ifndef POSTINO_FLUSH_H
#define POSTINO_FLUSH_H

#include <stddef.h>

enum { FLUSH_MOST = 32 }; /* at a time, at most */

/* errors[i] is 0 when fds[i] is on the disk, or an errno. Makes what it needs in the kernel at the first call with more than one file. */
void flush_files(const int fds[], int errors[], size_t n);

#endif
