/* crc32c: the Castagnoli CRC (RFC 3720 B.4), as used for all spool records. Start with 0; feed pieces in order.
 * Uses the CPU's instruction where there is one. crc32c(0, "123456789", 9) == 0xe3069283. */
#ifndef POSTINO_CRC32C_H
#define POSTINO_CRC32C_H

#include <stddef.h>
#include <stdint.h>

uint32_t crc32c(uint32_t crc, const void *p, size_t n);
uint32_t crc32c_by_table(uint32_t crc, const void *p, size_t n); /* without the instruction; for the tests */

#endif
