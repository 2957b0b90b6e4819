#include "master/edges.h"

#include "common/log.h"

#include <errno.h>
#include <sys/socket.h>

struct process *edges_server(const struct process *client, const struct edge_row *edge)
{
    bool fresh = master.next && client->generation == master.next->generation && !programs[edge->server].stays;
    uint32_t generation = fresh ? master.next->generation : master.current->generation;
    for (struct process *p = process_first(); p; p = p->next)
        if (p->program == edge->server && p->generation == generation && p->state != PROCESS_DRAINING)
            return p;
    return NULL;
}

static void connect_pair(struct process *client, struct process *server, size_t edge)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0) {
        log_error("no socketpair from %s to postino-%s: %s", process_name(client), programs[server->program].name, strerror(errno));
        return;
    }
    process_send_peer(client, server, pair[0]);
    process_send_peer(server, client, pair[1]);
    client->connected[edge] = server->serial;
}

static void wire_client(struct process *client)
{
    for (size_t i = 0; i < EDGE_COUNT; i++) {
        struct process *server = edges[i].client == client->program ? edges_server(client, &edges[i]) : NULL;
        if (server && client->connected[i] != server->serial)
            connect_pair(client, server, i);
    }
}

void edges_wire(void)
{
    for (struct process *p = process_first(); p; p = p->next)
        if (p->channel)
            wire_client(p);
}
