/* Where the threads of one call wait for each other, thousands of times a second: a barrier that spins, and after a
 * while lets others run. */
#ifndef LSTMFAST_MEETING_H
#define LSTMFAST_MEETING_H

/* Zeroed at first. Thread 0 sets `asked` when the others should leave with it; `leave` tells everybody, at the end of the
 * meeting, whether it had done so before: all of them leave there, or none. */
typedef struct {
    int waiting, asked, leave;
    unsigned round; /* it may wrap */
} meeting;

#if defined(_OPENMP) && defined(__GNUC__)
#include <sched.h>
#define CAN_MEET 1
#define SPINS 4000 /* about 50 us: longer than any step, shorter than a time slice */

static inline int meet(meeting *place, int parties) {
    unsigned round = __atomic_load_n(&place->round, __ATOMIC_ACQUIRE);
    if (__atomic_add_fetch(&place->waiting, 1, __ATOMIC_ACQ_REL) == parties) {
        place->waiting = 0;
        place->leave = place->asked;
        __atomic_store_n(&place->round, round + 1, __ATOMIC_RELEASE);
        return place->leave;
    }
    int spins = 0;
    while (__atomic_load_n(&place->round, __ATOMIC_ACQUIRE) == round) {
        if (spins < SPINS) spins++; /* no further: the other may be in a debugger for an hour */
        else sched_yield();
#if defined(__x86_64__)
        __builtin_ia32_pause();
#elif defined(__aarch64__)
        __asm__ volatile("yield");
#endif
    }
    return place->leave;
}
#else
#define CAN_MEET 0
static inline int meet(meeting *place, int parties) { return (void)place, (void)parties, 0; }
#endif
#endif
