/* The load generator of `make load`: all clients and the next host in one process and one loop. It is told what to do by lines on its standard
 * input, and answers each with one line:
 *
 *   server PORT           where Postino (or another) is, on loopback
 *   hold PLAIN TLS        opens so many sessions; answers when they are there
 *   good COUNT MS         good clients, a message each in so many milliseconds
 *   pace MS               another time
 *   hostile COUNT         hostile clients; 0: they go
 *   flood RATE MANY       connections a second, from one /24 (MANY 0) or everywhere; 0: no more
 *   mark                  counts begin
 *   report                counts since the mark, of everything
 *   finish                good clients end; answers with the books when every message has come to the sink, or ten seconds later
 */
#include "tests/load/books.h"
#include "tests/load/clients.h"
#include "tests/load/hostile.h"
#include "tests/load/sink.h"
#include "tests/load/wire.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <unistd.h>

#define TICK_US        1000
#define FINISH_SECONDS 10
#define STILL_US       200000 /* we, and perhaps the whole machine, stood still for longer: that time is left out of all plans and measures */

static struct fired orders;
static uint64_t marked, finish_by;
static bool holding, finishing;

static void say_held(const char *word)
{
    struct held_sums h = held_sums();
    printf("%sheld=%u held_open=%u held_refused=%u held_lost=%u", word, h.wanted, h.open, h.refused, h.lost);
}

static void report(void)
{
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    good_report(now_us - marked);
    say_held(" ");
    hostile_report();
    flood_report();
    printf(" own_cpu=%.3f\n",
           (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) + (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6);
}

static void obey(const char *line)
{
    unsigned a = 0, b = 0;
    if (sscanf(line, "server %u", &a) == 1) {
        server_port = (uint16_t)a;
        printf("ok\n");
    } else if (sscanf(line, "hold %u %u", &a, &b) == 2) {
        held_begin(a, b);
        holding = true;
    } else if (sscanf(line, "good %u %u", &a, &b) == 2) {
        good_begin(a, b);
        printf("ok\n");
    } else if (sscanf(line, "pace %u", &a) == 1) {
        good_pace(a);
        printf("ok\n");
    } else if (sscanf(line, "hostile %u", &a) == 1) {
        if (a)
            hostile_begin(a);
        else
            hostile_end();
        printf("ok\n");
    } else if (sscanf(line, "flood %u %u", &a, &b) == 2) {
        flood_begin(a, (int)b);
        printf("ok\n");
    } else if (strcmp(line, "mark") == 0) {
        good_mark();
        marked = now_us;
        printf("ok\n");
    } else if (strcmp(line, "report") == 0) {
        report();
    } else if (strcmp(line, "finish") == 0) {
        good_stop();
        finishing = true;
        finish_by = now_us + FINISH_SECONDS * 1000000;
    } else {
        die("what is \"%s\"?", line);
    }
    fflush(stdout);
}

static void take_orders(void *self, uint32_t events)
{
    (void)self, (void)events;
    static char text[4096];
    static size_t len;
    ssize_t n = read(STDIN_FILENO, text + len, sizeof text - 1 - len);
    if (n <= 0)
        exit(0);
    len += (size_t)n;
    text[len] = '\0';
    for (char *lf; (lf = strchr(text, '\n'));) {
        *lf = '\0';
        obey(text);
        len -= (size_t)(lf + 1 - text);
        memmove(text, lf + 1, len + 1);
    }
}

static void look_at_what_is_awaited(void)
{
    if (holding && held_settled()) {
        holding = false;
        say_held("");
        printf("\n");
        fflush(stdout);
    }
    if (!finishing || (!good_stopped() && now_us < finish_by))
        return;
    struct books_sums b = books_sums();
    if (b.lost && now_us < finish_by)
        return;
    finishing = false;
    printf("accepted=%u refused=%u unknown=%u lost=%u twice=%u unexpected=%u\n", b.accepted, b.refused, b.unknown, b.lost, b.twice,
           b.unexpected);
    fflush(stdout);
}

int main(void)
{
    struct rlimit files;
    signal(SIGPIPE, SIG_IGN);
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    loop = epoll_create1(EPOLL_CLOEXEC);
    now_us = clock_us();
    printf("sink=%u\n", sink_open());
    fflush(stdout);
    orders.fire = take_orders;
    wire_watch(STDIN_FILENO, &orders, EPOLLIN);
    for (uint64_t ticked = 0;;) {
        struct epoll_event events[256];
        uint64_t before = now_us;
        int n = epoll_wait(loop, events, 256, 1);
        now_us = clock_us();
        if (now_us - before > STILL_US) {
            clock_stood(now_us - before);
            now_us = before;
        }
        for (int i = 0; i < n; i++)
            ((struct fired *)events[i].data.ptr)->fire(events[i].data.ptr, events[i].events);
        if (now_us - ticked < TICK_US)
            continue;
        ticked = now_us;
        good_tick();
        hostile_tick();
        flood_tick();
        look_at_what_is_awaited();
    }
}
