#include "qmgr/log_format.h"
#include "common/crc32c.h"

#define SEGMENT_MAGIC 0x474c5350u /* "PSLG" */
#define BATCH_MAGIC   0x54425350u /* "PSBT" */
#define LOG_VERSION   1

static void put(unsigned char *p, uint64_t value, unsigned octets)
{
    for (unsigned i = 0; i < octets; i++)
        p[i] = (unsigned char)(value >> (8 * i));
}

static uint64_t get(const unsigned char *p, unsigned octets)
{
    uint64_t value = 0;
    for (unsigned i = 0; i < octets; i++)
        value |= (uint64_t)p[i] << (8 * i);
    return value;
}

static void begin(unsigned char out[LOG_HEADER], uint32_t magic)
{
    memset(out, 0, LOG_HEADER);
    put(out, magic, 4);
    put(out + 4, LOG_VERSION, 4);
}

static bool begins(const unsigned char in[LOG_HEADER], uint32_t magic)
{
    return get(in, 4) == magic && get(in + 4, 4) == LOG_VERSION && get(in + 60, 4) == crc32c(0, in, 60);
}

void log_segment_encode(const struct log_segment_header *h, unsigned char out[LOG_BLOCK])
{
    memset(out, 0, LOG_BLOCK);
    begin(out, SEGMENT_MAGIC);
    put(out + 8, h->number, 4);
    put(out + 12, h->size, 4);
    put(out + 16, h->epoch, 8);
    put(out + 24, h->key, 8);
    put(out + 32, h->first, 8);
    put(out + 40, h->oldest, 8);
    put(out + 60, crc32c(0, out, 60), 4);
    memcpy(out + LOG_HEADER_COPY, out, LOG_HEADER);
}

static bool segment_decode_one(const unsigned char in[LOG_HEADER], struct log_segment_header *h)
{
    if (!begins(in, SEGMENT_MAGIC))
        return false;
    *h = (struct log_segment_header){.number = (uint32_t)get(in + 8, 4),
                                     .size = (uint32_t)get(in + 12, 4),
                                     .epoch = get(in + 16, 8),
                                     .key = get(in + 24, 8),
                                     .first = get(in + 32, 8),
                                     .oldest = get(in + 40, 8)};
    return h->epoch > 0 && h->size >= LOG_SEGMENT_LEAST && h->size <= LOG_SEGMENT_MOST && h->size % LOG_BLOCK == 0;
}

bool log_segment_decode(const unsigned char in[LOG_BLOCK], struct log_segment_header *h)
{
    return segment_decode_one(in, h) || segment_decode_one(in + LOG_HEADER_COPY, h);
}

void log_batch_encode(const struct log_batch_header *h, unsigned char out[LOG_HEADER])
{
    begin(out, BATCH_MAGIC);
    put(out + 8, h->epoch, 8);
    put(out + 16, h->key, 8);
    put(out + 24, h->sequence, 8);
    put(out + 32, h->oldest, 8);
    put(out + 40, h->length, 4);
    put(out + 44, h->count, 4);
    put(out + 60, crc32c(0, out, 60), 4);
}

bool log_batch_decode(const unsigned char in[LOG_HEADER], struct log_batch_header *h)
{
    if (!begins(in, BATCH_MAGIC))
        return false;
    *h = (struct log_batch_header){.epoch = get(in + 8, 8),
                                   .key = get(in + 16, 8),
                                   .sequence = get(in + 24, 8),
                                   .oldest = get(in + 32, 8),
                                   .length = (uint32_t)get(in + 40, 4),
                                   .count = (uint32_t)get(in + 44, 4)};
    return h->epoch > 0 && h->length >= LOG_HEADER;
}
