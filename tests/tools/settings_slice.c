/* settings-slice FILE LETTER: prints the slice of a postino.conf that the program with that letter gets from the master.
 * For tests that start one program alone. It is not installed. */
#include "conf/parse.h"

#include <stdio.h>

int main(int argc, char **argv)
{
    struct report report = {0};
    struct settings *settings = argc == 3 ? parse_file(argv[1], PARSE_FILE, &report) : NULL;
    if (settings == NULL) {
        fprintf(stderr, "settings-slice FILE LETTER\n%s\n", buf_text(&report.errors));
        report_free(&report);
        return 1;
    }
    struct buf out = BUF_EMPTY(0);
    settings_encode(settings, argv[2][0], &out);
    bool whole = !out.failed && fwrite(out.data, 1, out.len, stdout) == out.len && fflush(stdout) == 0;
    buf_free(&out);
    report_free(&report);
    settings_free(settings);
    return whole ? 0 : 1;
}
