/* See block.h. A list has no room until the thread frees its first block, and none again after the
 * thread has ended. */
#include "transport/base/block.h"

#include <pthread.h>
#include <stdbool.h>

_Thread_local tine_block_list tine_block_lists[TINE_BLOCK_UNITS + 1];

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define BLOCK_CHECKED
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define BLOCK_CHECKED
#endif

#ifdef BLOCK_CHECKED

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
    for (size_t i = 1; i <= TINE_BLOCK_UNITS; i++) {
        tine_block_list *l = &tine_block_lists[i];
        for (tine_block *b; (b = l->first);) {
            l->first = b->next;
            free(b);
        }
        l->room = 0;
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
    for (size_t i = 1; end_watched && i <= TINE_BLOCK_UNITS; i++)
        tine_block_lists[i].room = TINE_BLOCK_KEEPS / TINE_BLOCK_UNIT / i;
    return end_watched;
}

void tine_block_spill(void *p, uint8_t units) {
    if (units && !end_watched && end_watch())
        tine_block_free_units(p, units);
    else
        free(p);
}

#endif
