/* fake_clock: the clock of this process stands still, and goes on by what it is told: for the program under test and the libraries that it uses,
 * which all ask clock_gettime(). What waits is due then, in the next turn of the event loop. However long a machine takes for a test, no time
 * passes in it that the test does not know of. An event loop must not be left to wait for a timer: that would be for ever. */
#ifndef POSTINO_TEST_FAKE_CLOCK_H
#define POSTINO_TEST_FAKE_CLOCK_H

void clock_pass(double seconds);

#endif
