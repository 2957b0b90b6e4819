/* The parts that sandbox.c puts in order. Each: 0, or -1 and an error. */
#ifndef POSTINO_SANDBOX_INTERNAL_H
#define POSTINO_SANDBOX_INTERNAL_H

#include "common/sandbox.h"

/* sandbox_files.c: Landlock. A ruleset made as root, before the root directory changes, is -1 (none wanted) or a descriptor in *ruleset. */
int sandbox_files_prepare(const struct sandbox *, int *ruleset, struct error *);
int sandbox_files_restrict(int ruleset, struct error *);

/* sandbox_user.c: users and capabilities. */
int sandbox_user_set(const struct sandbox *, struct error *);
int sandbox_capabilities_none(struct error *);

/* sandbox_calls.c: seccomp. */
int sandbox_calls_restrict(const struct sandbox *, struct error *);

#endif
