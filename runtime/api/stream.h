/* Streams: what the owner of a task that yields keeps of it. A future has a stream if it was forked
 * with the option `stream`. With the context's lock. */
#ifndef TINE_RUNTIME_API_STREAM_H
#define TINE_RUNTIME_API_STREAM_H

#include "runtime/api/future.h"

struct tine_stream;

/* The most that the option may be: so numbers of values are never far apart. */
enum { TINE_STREAM_MAX = 65536 };

/* Makes f, which is new and has an `extra`, a stream. ENOMEM with a sentence. */
tine_error tine_stream_begin(tine_future *f, uint32_t window);
void tine_stream_free(struct tine_stream *s); /* accepts NULL */
/* Value number `item` has arrived: as tine_future_complete. */
void tine_stream_arrived(tine_future *f, uint64_t item, tine_error status, tine_payload *payload,
                         const char *text);
/* The first value after number *item that somebody waits for; NULL: none. Sets *item. f need not be
 * a stream. */
tine_future *tine_stream_awaited(const tine_future *f, uint64_t *item);
/* f is done: no more values arrive. */
void tine_stream_ended(tine_future *f);

#endif
