/* The switch beneath fibers: leaves one stack and continues on another. */
#ifndef TINE_WORKERS_FIBER_SWITCH_H
#define TINE_WORKERS_FIBER_SWITCH_H

#include <stddef.h>

#if !defined(TINE_FIBER_UCONTEXT) && !defined(__x86_64__) && !defined(__aarch64__)
#define TINE_FIBER_UCONTEXT
#endif

#ifdef TINE_FIBER_UCONTEXT
#include <ucontext.h>
typedef ucontext_t tine_switch_point;
#else
typedef struct tine_switch_point {
    void *sp; /* points to the saved registers */
} tine_switch_point;
#endif

/* Makes `p` such that switching to it calls entry(arg) on the stack [low, low + size); low + size
 * is aligned to 16. entry must not return. */
void tine_switch_make(tine_switch_point *p, void *low, size_t size, void (*entry)(void *arg),
                      void *arg);
/* Saves the current state in `from` and continues where `to` was saved. */
void tine_switch(tine_switch_point *from, tine_switch_point *to);

#endif
