# Maps (common/map*.c), as no other folder is their own.
TESTS += test_map
test_map_LIBS = -ldb-5.3
FUZZERS += fuzz_aliases
fuzz_aliases_LIBS = -ldb-5.3 -lssl -lcrypto -levent_core -lseccomp

TESTS += test_wire
test_wire_SRC = resolver/wire.c
FUZZERS += fuzz_wire
fuzz_wire_SRC = resolver/wire.c
fuzz_wire_LIBS = -ldb-5.3 -lssl -lcrypto -levent_core -lseccomp

# libunbound is bound to libevent as a whole; with libevent_core beside it there would be two.
PROGRAMS += postino-dns
postino-dns_SRC  = resolver/dns.c resolver/anchor.c resolver/context.c resolver/question.c resolver/stub.c resolver/wire.c resolver/resolve.c resolver/dane.c resolver/clientname.c resolver/nameservers.c
postino-dns_LIBS = -lunbound -levent -lseccomp $(IDN_LIBS)
MANUALS += resolver/postino-dns.8

# For tests that drive one program by its control channel (tests/e2e/driven.py).
PROGRAMS += settings-slice
settings-slice_SRC  = tests/tools/settings_slice.c $(conf_parse_SRC)
settings-slice_LIBS = $(conf_parse_LIBS)

routing_SRC := resolver/routing.c resolver/aliases.c resolver/mailboxes.c resolver/address_maps.c resolver/senders.c resolver/clientcerts.c resolver/relay.c resolver/nexthop.c
access_SRC := resolver/access.c resolver/access_rules.c resolver/access_table.c resolver/access_names.c resolver/access_dnsbl.c conf/access_words.c
TESTS += test_access
test_access_SRC  = $(access_SRC)
test_access_LIBS = -ldb-5.3 $(IDN_LIBS)
FUZZERS += fuzz_access
fuzz_access_SRC := $(access_SRC)
fuzz_access_LIBS = -ldb-5.3 -lssl -lcrypto -levent_core -lseccomp
FUZZERS += fuzz_policy
fuzz_policy_SRC := resolver/policy_reply.c $(access_SRC)
fuzz_policy_LIBS = -ldb-5.3 -lssl -lcrypto -levent_core -lseccomp
door_SRC := resolver/door.c resolver/throttle.c resolver/passed.c resolver/fairtable.c
TESTS += test_throttle test_door
test_throttle_SRC = $(door_SRC)
test_door_SRC  = $(door_SRC) tests/unit/fake_clock.c
PROGRAMS += postino-route
postino-route_SRC  = $(door_SRC) resolver/route.c resolver/screen.c resolver/policy.c resolver/policy_reply.c resolver/users.c $(access_SRC) $(routing_SRC)
postino-route_LIBS = $(COMMON_LIBS) $(IDN_LIBS) -ldb-5.3
MANUALS += resolver/postino-route.8

TESTS += test_route
test_route_SRC  = $(routing_SRC)
test_route_LIBS = -ldb-5.3 $(IDN_LIBS)
