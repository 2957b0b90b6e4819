/* fake_clock: the clock of this process goes on as it does, and jumps when it is told to: for the program under test and the libraries that
 * it uses, which all ask clock_gettime(). What waits is due then, in the next turn of the event loop. */
#ifndef POSTINO_TEST_FAKE_CLOCK_H
#define POSTINO_TEST_FAKE_CLOCK_H

void clock_pass(double seconds);

#endif
