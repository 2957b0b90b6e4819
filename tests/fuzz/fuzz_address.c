/* The address parser and its relatives: whatever they accept, they accept again in its own canonical form, with the same result. */
#include "common/address.h"
#include "common/utf8.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds)
{
    if (!holds)
        abort();
}

static bool within(struct span part, struct span whole)
{
    return part.n == 0 || (part.p >= whole.p && part.p + part.n <= whole.p + whole.n);
}

static void check_canonical(const struct address *address)
{
    struct buf once = {0}, twice = {0};
    struct address again;
    address_canonical(address, &once);
    must(address_parse(buf_span(&once), ADDRESS_ALLOW_NULL | ADDRESS_ALLOW_BARE | ADDRESS_ALLOW_UTF8, &again));
    address_canonical(&again, &twice);
    must(span_equal(buf_span(&once), buf_span(&twice)));
    must(again.local.n <= address->local.n && again.domain.n == address->domain.n);
    buf_free(&once);
    buf_free(&twice);
}

static void check_address(const struct address *address, struct span in, int flags)
{
    must(within(address->whole, in) && within(address->local, in) && within(address->domain, in));
    must(address->whole.n <= 254 && address->local.n <= 128 && address->domain.n <= 255);
    must(address->whole.n == address->local.n + address->domain.n + (address->domain.n > 0));
    must(utf8_is_printable(address->whole));
    must((flags & ADDRESS_ALLOW_NULL) || address->whole.n > 0);
    must((flags & (ADDRESS_ALLOW_BARE | ADDRESS_ALLOW_NULL)) || address->domain.n > 0);
    for (size_t i = 0; i < address->whole.n && !(flags & ADDRESS_ALLOW_UTF8); i++)
        must((unsigned char)address->whole.p[i] < 0x80);
    check_canonical(address);
}

static void check_path(struct span in, int flags)
{
    struct span rest = in;
    struct address address;
    if (address_parse_path(&rest, flags, &address)) {
        must(rest.n < in.n && rest.p + rest.n == in.p + in.n);
        check_address(&address, in, flags);
    } else {
        must(rest.p == in.p && rest.n == in.n);
    }
    if (address_parse(in, flags, &address)) {
        must(address.whole.n == in.n);
        check_address(&address, in, flags);
    }
}

static void check_socket(struct span in)
{
    struct sockaddr_storage socket, again;
    socklen_t len, again_len;
    struct network network;
    struct buf text = {0};
    if (network_parse(in, &network))
        must(network.bits <= (network.family == AF_INET ? 32U : 128U));
    if (!address_to_socket(in, 25, &socket, &len))
        return;
    address_of_socket((struct sockaddr *)&socket, &text);
    must(address_to_socket(buf_span(&text), 25, &again, &again_len));
    must(network_parse(in, &network) && network_contains(&network, (struct sockaddr *)&socket));
    must(network_contains(&network, (struct sockaddr *)&again));
    must(network_parse(buf_span(&text), &network) && network_contains(&network, (struct sockaddr *)&socket));
    buf_free(&text);
}

static void check_xtext(struct span in)
{
    struct buf encoded = {0}, decoded = {0};
    xtext_encode(in, &encoded);
    bool good = xtext_decode(buf_span(&encoded), &decoded);
    must(good == utf8_is_printable(in));
    must(!good || span_equal(buf_span(&decoded), in));
    buf_clear(&decoded);
    must(xtext_decode(in, &decoded) ? utf8_is_printable(buf_span(&decoded)) : decoded.len == 0);
    buf_free(&encoded);
    buf_free(&decoded);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct sockaddr_storage socket;
    if (size == 0)
        return 0;
    struct span in = span_make(data + 1, size - 1);
    check_path(in, data[0] & 7);
    check_socket(in);
    check_xtext(in);
    address_is_domain(in, data[0] & 1);
    address_literal(in, &socket);
    return 0;
}
