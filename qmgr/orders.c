#include "qmgr/orders.h"

bool orders_hold(uint16_t orders, uint16_t flags)
{
    return orders & ORDERS_HELD || (flags & ENVELOPE_HOLD && !(orders & ORDERS_RELEASED));
}

/* MIXER's numbers (RFC 6710 Appendix) for what has none of its own. */
#define MIXER_URGENT     4
#define MIXER_NON_URGENT (-4)

int8_t orders_class(uint16_t orders, uint16_t flags, uint8_t mt_priority)
{
    unsigned priority = orders >> ORDERS_PRIORITY_SHIFT & 3;
    if (priority == PRIORITY_UNSET && mt_priority)
        return (int8_t)(mt_priority - MT_PRIORITY_ZERO);
    if (priority == PRIORITY_HIGH || (priority == PRIORITY_UNSET && flags & ENVELOPE_HIGH))
        return MIXER_URGENT;
    if (priority == PRIORITY_LOW || (priority == PRIORITY_UNSET && flags & ENVELOPE_LOW))
        return MIXER_NON_URGENT;
    return 0;
}

enum priority orders_priority(uint16_t orders, uint16_t flags, uint8_t mt_priority)
{
    int8_t class = orders_class(orders, flags, mt_priority);
    return class > 0 ? PRIORITY_HIGH : class < 0 ? PRIORITY_LOW : PRIORITY_NORMAL;
}
