/* See block.h. There is no room until the thread frees its first block, and none again after the
 * thread has ended. */
#include "transport/base/block.h"

#include <pthread.h>
#include <stdbool.h>

_Thread_local tine_block *tine_block_kept[TINE_BLOCK_UNITS + 1];
_Thread_local size_t tine_block_room;

#ifdef TINE_BLOCK_CHECKED

void tine_block_spill(void *p, uint8_t units) {
    (void)units;
    free(p);
}

#else

static _Thread_local bool end_watched;

static pthread_key_t end_key;
static pthread_once_t end_once = PTHREAD_ONCE_INIT;
static bool end_known;

/* What another destructor frees after this has it called again. */
static void thread_ends(void *unused) {
    (void)unused;
    end_watched = false;
    tine_block_room = 0;
    for (size_t i = 1; i <= TINE_BLOCK_UNITS; i++)
        for (tine_block *b; (b = tine_block_kept[i]);) {
            tine_block_kept[i] = b->next;
            free(b);
        }
}

static void end_key_make(void) { end_known = pthread_key_create(&end_key, thread_ends) == 0; }

/* The library is unloaded: threads that end later must not call it. */
__attribute__((destructor)) static void end_key_delete(void) {
    if (end_known) pthread_key_delete(end_key);
    end_known = false;
}

static bool end_watch(void) {
    pthread_once(&end_once, end_key_make);
    end_watched = end_known && pthread_setspecific(end_key, &end_key) == 0;
    if (end_watched) tine_block_room = TINE_BLOCK_KEEPS / TINE_BLOCK_UNIT;
    return end_watched;
}

void tine_block_spill(void *p, uint8_t units) {
    if (units && !end_watched && end_watch())
        tine_block_free_units(p, units);
    else
        free(p);
}

#endif
