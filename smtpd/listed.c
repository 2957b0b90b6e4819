#include "smtpd/listed.h"

#include "common/address.h"

bool listed(const struct strings *networks, const struct sockaddr *address)
{
    struct network network;
    for (size_t i = 0; i < networks->n; i++)
        if (network_parse(span_of(networks->v[i]), &network) && network_contains(&network, address))
            return true;
    return false;
}
