#include "tests/unit/logged.h"

#include "common/log.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

static int memory = -1;
static char said[1 << 16];

void logged_open(void)
{
    memory = memfd_create("log", 0);
    log_open("test", dup(memory), LOG_TO_STDERR, LOG_LEVEL_DEBUG);
}

void logged_forget(void)
{
    log_flush();
    assert_int_equal(ftruncate(memory, 0), 0);
    assert_int_equal(lseek(memory, 0, SEEK_SET), 0);
}

bool logged(const char *text)
{
    log_flush();
    ssize_t n = pread(memory, said, sizeof said - 1, 0);
    said[n > 0 ? n : 0] = '\0';
    return strstr(said, text);
}

void has_logged(const char *text)
{
    if (!logged(text))
        fail_msg("the log has no %s: %s", text, said);
    logged_forget();
}
