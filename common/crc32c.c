#include "common/crc32c.h"

#include <stdbool.h>
#include <string.h>

/* The polynomial 0x1EDC6F41, bits reversed. */
#define POLYNOMIAL UINT32_C(0x82f63b78)

static uint32_t table[256];

static uint32_t update_by_table(uint32_t crc, const unsigned char *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        crc = crc >> 8 ^ table[(crc ^ p[i]) & 0xff];
    return crc;
}

static void fill_table(void)
{
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t crc = i;
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (POLYNOMIAL & (0U - (crc & 1)));
        table[i] = crc;
    }
}

#ifdef __x86_64__
__attribute__((target("sse4.2"))) static uint32_t update_by_instruction(uint32_t crc, const unsigned char *p, size_t n)
{
    uint64_t wide = crc;
    for (; n >= 8; p += 8, n -= 8) {
        uint64_t word;
        memcpy(&word, p, 8);
        wide = __builtin_ia32_crc32di(wide, word);
    }
    crc = (uint32_t)wide;
    for (; n > 0; p++, n--)
        crc = __builtin_ia32_crc32qi(crc, *p);
    return crc;
}
#endif

static uint32_t (*update)(uint32_t, const unsigned char *, size_t) = update_by_table;

/* Before main(), so that threads find it chosen. */
__attribute__((constructor)) static void choose(void)
{
    fill_table();
#ifdef __x86_64__
    __builtin_cpu_init();
    if (__builtin_cpu_supports("sse4.2"))
        update = update_by_instruction;
#endif
}

uint32_t crc32c(uint32_t crc, const void *p, size_t n)
{
    return ~update(~crc, p, n);
}

uint32_t crc32c_by_table(uint32_t crc, const void *p, size_t n)
{
    return ~update_by_table(~crc, p, n);
}
