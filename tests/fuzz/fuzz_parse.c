/* The parser of postino.conf: a file in memory, parsed to settings. Either there are settings or there are errors. */
#include "conf/parse.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char path[64];
    struct report report = {0};
    int fd = memfd_create("postino.conf", MFD_CLOEXEC);
    if (fd < 0 || fchmod(fd, 0600) < 0 || write(fd, data, size) != (ssize_t)size)
        abort();
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    struct settings *settings = parse_file(path, PARSE_FILE, &report);
    if (!settings != (report.error_count > 0) || (report.error_count > 0) != (report.errors.len > 0))
        abort();
    settings_free(settings);
    report_free(&report);
    close(fd);
    return 0;
}
