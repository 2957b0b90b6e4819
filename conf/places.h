/* places: in which line each setting of the file was given, so that a check of the whole can name it. */
#ifndef POSTINO_PLACES_H
#define POSTINO_PLACES_H

#include "conf/settings.h"

struct place {
    enum settings_kind kind; /* SETTINGS_KINDS: not in a titled section */
    size_t index;            /* of the titled section */
    const char *name;        /* the setting's; NULL: the section begins here */
    const char *section;     /* "" at the top */
    unsigned line;
    bool refused; /* the value was wrong by itself, and is not in the settings */
};

struct places {
    struct place *v;
    size_t n;
};

bool places_add(struct places *, struct place); /* false: no memory */
void places_free(struct places *);

/* Whether the same setting of the same section is there already. */
bool places_given(const struct places *, const struct place *);
/* Whether a setting was given a value that was refused: checks that would judge its default keep silent. */
bool places_refused(const struct places *, enum settings_kind, size_t index, const char *section, const char *name);

/* The line of a setting (its last item, for a list), 0: not in the file. */
unsigned places_line(const struct places *, const char *section, const char *name);
/* The same in a titled section; where it begins, if the setting is not there; 0 if that was not in the file either. */
unsigned places_line_in(const struct places *, enum settings_kind, size_t index, const char *name);
/* Whether the section gives this setting itself. */
bool places_given_in(const struct places *, enum settings_kind, size_t index, const char *name);
/* The line of item `item` of a list (all its items are in the file, in order); the list's line, if it is not known. */
unsigned places_line_item(const struct places *, const char *section, const char *name, size_t item, size_t items);

#endif
