/* logged: what the program under test has said to its log, which is kept in memory. */
#ifndef POSTINO_TEST_LOGGED_H
#define POSTINO_TEST_LOGGED_H

#include <stdbool.h>

void logged_open(void);            /* once, before the tests; all levels */
void logged_forget(void);          /* what was said before */
bool logged(const char *text);     /* has a line with this in it been said? */
void has_logged(const char *text); /* it has, or the test fails; then it is forgotten */

#endif
