#include "master/programs.h"

#include "common/messages.h"
#include "conf/settings.h"

#include <sched.h>

/* In the order of their start. */
const struct program_row programs[PROGRAM_COUNT] = {
    [PROGRAM_DNS] = {.name = "dns", .letter = 'D', .step = STOP_REST},
    [PROGRAM_ROUTE] = {.name = "route", .letter = 'O', .step = STOP_REST},
    [PROGRAM_AUTH] = {.name = "auth", .letter = 'A', .step = STOP_REST},
    [PROGRAM_TLSMGR] = {.name = "tlsmgr", .letter = 'T', .step = STOP_REST},
    [PROGRAM_STS] = {.name = "sts", .letter = 'P', .step = STOP_REST},
    [PROGRAM_CREDS] = {.name = "creds", .letter = 'C', .step = STOP_REST},
    [PROGRAM_REMOTE] = {.name = "remote", .letter = 'R', .step = STOP_REST},
    [PROGRAM_LMTP] = {.name = "lmtp", .letter = 'R', .step = STOP_REST}, /* it is remote, in another place */
    [PROGRAM_LOCAL] = {.name = "local", .letter = 'L', .step = STOP_REST},
    [PROGRAM_QMGR] = {.name = "qmgr", .letter = 'Q', .stays = true, .unix_name = "queue", .step = STOP_QUEUE},
    [PROGRAM_SMTPD] =
        {.name = "smtpd", .letter = 'S', .many = true, .last = true, .inet = true, .unix_name = "submit", .step = STOP_INTAKE},
};

#define SPEAKS(protocol) (1u << PROTOCOL_##protocol)

const struct edge_row edges[EDGE_COUNT] = {
    {PROGRAM_SMTPD, PROGRAM_ROUTE, SPEAKS(SMTPD_ROUTE) | SPEAKS(ROUTING)},
    {PROGRAM_SMTPD, PROGRAM_AUTH, SPEAKS(SMTPD_AUTH)},
    {PROGRAM_SMTPD, PROGRAM_QMGR, SPEAKS(SMTPD_QMGR)},
    {PROGRAM_SMTPD, PROGRAM_TLSMGR, SPEAKS(SMTPD_TLSMGR)},
    {PROGRAM_QMGR, PROGRAM_ROUTE, SPEAKS(ROUTING)},
    {PROGRAM_QMGR, PROGRAM_REMOTE, SPEAKS(QMGR_DELIVERY)},
    {PROGRAM_QMGR, PROGRAM_LMTP, SPEAKS(QMGR_DELIVERY)},
    {PROGRAM_QMGR, PROGRAM_LOCAL, SPEAKS(QMGR_DELIVERY)},
    {PROGRAM_QMGR, PROGRAM_DNS, SPEAKS(RESOLVING)},
    {PROGRAM_REMOTE, PROGRAM_DNS, SPEAKS(RESOLVING)},
    {PROGRAM_REMOTE, PROGRAM_STS, SPEAKS(REMOTE_STS)},
    {PROGRAM_REMOTE, PROGRAM_CREDS, SPEAKS(REMOTE_CREDS)},
    {PROGRAM_CREDS, PROGRAM_DNS, SPEAKS(RESOLVING)},
    {PROGRAM_STS, PROGRAM_DNS, SPEAKS(RESOLVING) | SPEAKS(STS_DNS)},
    {PROGRAM_STS, PROGRAM_ROUTE, SPEAKS(ROUTING)},
    {PROGRAM_STS, PROGRAM_QMGR, SPEAKS(SMTPD_QMGR)},
    {PROGRAM_ROUTE, PROGRAM_DNS, SPEAKS(ROUTE_DNS) | SPEAKS(RESOLVING)},
};

static size_t cores(void)
{
    cpu_set_t set;
    int n = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
    return n > 0 ? (size_t)n : 1;
}

size_t program_processes(enum program_id id, const struct settings *settings)
{
    if (!programs[id].many)
        return 1;
    return settings->smtpd_processes ? (size_t)settings->smtpd_processes : cores();
}
