/* Teams of threads and interrupts: teams.h. */
#include "teams.h"

#include <stddef.h>
#include <time.h>

#if defined(_MSC_VER)
#define THREAD_LOCAL __declspec(thread)
#else
#define THREAD_LOCAL _Thread_local
#endif

/* ---- interrupts ---- */

#define CLOCK_WORK 1e7 /* multiply-adds between looks at the clock: 0.1 ms where fast, 10 ms where slow */
#define ANSWER_MS 50   /* between questions: each takes the GIL */

static THREAD_LOCAL char this_thread;

static long long milliseconds(void) {
    struct timespec now;
    timespec_get(&now, TIME_UTC);
    return (long long)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

#if defined(__GNUC__)
#define LOAD(place) __atomic_load_n(&(place), __ATOMIC_RELAXED)
#define STORE(place, value) __atomic_store_n(&(place), value, __ATOMIC_RELAXED)
#else
#define LOAD(place) (*(volatile int *)&(place))
#define STORE(place, value) (*(volatile int *)&(place) = (value))
#endif

void lstmfast_watch(interruption *call, int (*answer)(void *), void *whose) {
    *call = (interruption){.answer = answer, .whose = whose, .thread = &this_thread, .asked_at = milliseconds()};
}

int lstmfast_poll(interruption *call, double work) {
    if (LOAD(call->stop)) return 1;
    if (call->thread != &this_thread) return 0;
    call->work += work;
    if (call->work < CLOCK_WORK) return 0;
    call->work = 0;
    long long now = milliseconds(), waited = now - call->asked_at;
    if (waited >= 0 && waited < ANSWER_MS) return 0; /* less than 0: somebody set the clock */
    call->asked_at = now;
    if (!call->answer(call->whose)) return 0;
    STORE(call->stop, 1);
    return 1;
}

/* ---- teams ---- */

#if !defined(_OPENMP) || defined(_WIN32)
int lstmfast_enter_team(int wanted) { return wanted; } /* Windows has no fork, and one pool for all callers */
void lstmfast_leave_team(int size) { (void)size; }
#else
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* GNU OpenMP keeps the helpers of each thread that ever had a team, until that thread ends. Callers share what there is:
 *
 * - Helpers that run are fewer than CPUs: one call has them all, or several share them; who finds none works alone.
 * - Helpers that exist are at most POOLS times the CPUs; who comes later works alone.
 *
 * What one call alone asks for, it gets. Results do not depend on it. */
enum { POOLS = 4 };

int omp_get_num_procs(void);

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t at_thread_end;
static int n_running, n_helpers, only_one;
static long long full_until; /* no new helpers before: the last ones could not be had */
static THREAD_LOCAL int own_helpers;

/* LLVM's and Intel's runtime looks after forks itself, unless it is told not to, as scikit-learn does: then a child would
 * wait for threads that it does not have. */
static int kmp_forks_safely(void) {
    const char *told = getenv("KMP_INIT_AT_FORK");
    return !told || !strchr("fFnN0", told[0]);
}

/* omp_pause_resource_all(omp_pause_hard) of OpenMP 5 (GCC 9) ends the calling thread's helpers. Not called in LLVM's
 * runtime, which may hold its locks by the time of our handler. */
#if defined(__ELF__)
extern int omp_pause_resource_all(int) __attribute__((weak));
extern int kmp_get_blocktime(void) __attribute__((weak));
static int forks_safely(void) {
    return kmp_get_blocktime ? kmp_forks_safely() : omp_pause_resource_all && !omp_pause_resource_all(2);
}
#else
static int forks_safely(void) { return kmp_forks_safely(); } /* macOS: LLVM's */
#endif

/* In a child only the thread that forked goes on. GNU OpenMP would wait there for that thread's helpers, forever; so
 * they end before the fork, and both processes start new ones when they need them. Helpers of other threads do not
 * matter: those threads are not in the child. Where the helpers cannot be ended, because this is an old runtime, one
 * that is told to leave forks alone, or the fork comes from inside a parallel region, the child has one thread. */
static int child_is_safe;
static void before_fork(void) {
    pthread_mutex_lock(&lock);
    child_is_safe = forks_safely();
    if (!child_is_safe) return;
    n_helpers -= own_helpers;
    own_helpers = 0;
}
static void after_fork_in_parent(void) { pthread_mutex_unlock(&lock); }
static void after_fork_in_child(void) {
    n_running = n_helpers = own_helpers = 0;
    if (!child_is_safe) only_one = 1;
    pthread_mutex_unlock(&lock);
}

static void forget_helpers(void *own) { /* the runtime ends them with their thread */
    pthread_mutex_lock(&lock);
    n_helpers -= *(int *)own;
    pthread_mutex_unlock(&lock);
}

/* A kernel takes up to 16 kB of stack; thread-local variables and the runtime have their parts of the same memory. Where
 * helpers would get little, there are none. */
enum { LEAST_STACK = 64 << 10 };
static int stack_is_small(void) {
    const char *text = getenv("OMP_STACKSIZE"), *units = "bkmg";
    if (!text) text = getenv("GOMP_STACKSIZE");
    if (!text) return 0;
    char *end;
    double size = strtod(text, &end);
    if (end == text) return 0; /* the runtime passes over it too */
    while (*end == ' ') end++;
    const char *unit = *end ? strchr(units, *end | 0x20) : units + 1; /* kilobytes by default */
    for (; unit && unit > units; unit--) size *= 1024;
    return size < LEAST_STACK;
}

static void prepare(void) {
    pthread_key_create(&at_thread_end, forget_helpers);
    only_one = stack_is_small() || pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
}

/* GNU OpenMP ends the process when it cannot create a thread (ulimit -u, pids.max, memory): try it before. */
static void *wait_for(void *gate) {
    pthread_mutex_lock(gate);
    pthread_mutex_unlock(gate);
    return NULL;
}
static int can_create(int n) {
    enum { SOME = 64 };
    pthread_t threads[SOME];
    pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
    int created = 0, tried = n < SOME ? n : SOME;
    pthread_mutex_lock(&gate);
    while (created < tried && !pthread_create(threads + created, NULL, wait_for, &gate)) created++;
    int enough = created == tried && (n == tried || can_create(n - tried));
    pthread_mutex_unlock(&gate);
    for (int i = 0; i < created; i++) pthread_join(threads[i], NULL);
    pthread_mutex_destroy(&gate);
    return enough;
}

/* Whether there is room for a team of 1 + helpers; then it is taken. */
static int take_room(int helpers) {
    const int cpus = omp_get_num_procs(), others = n_helpers - own_helpers;
    if (only_one || (n_running && n_running + helpers >= cpus)) return 0;
    if (helpers > own_helpers && others && others + helpers > POOLS * cpus) return 0;
    if (helpers > own_helpers) {
        long long now = milliseconds();
        if (now < full_until && full_until - now <= 1000) return 0;
        if (!can_create(helpers - own_helpers)) {
            full_until = now + 1000;
            return 0;
        }
    }
    n_running += helpers;
    n_helpers = others + helpers; /* a smaller team than before ends the rest */
    own_helpers = helpers;
    return 1;
}

int lstmfast_enter_team(int wanted) {
    if (wanted <= 1) return 1;
    pthread_once(&once, prepare);
    pthread_mutex_lock(&lock);
    int size = take_room(wanted - 1) ? wanted : 1;
    pthread_mutex_unlock(&lock);
    if (size > 1) pthread_setspecific(at_thread_end, &own_helpers);
    return size;
}

void lstmfast_leave_team(int size) {
    if (size <= 1) return;
    pthread_mutex_lock(&lock);
    n_running -= size - 1;
    if (n_running < 0) n_running = 0; /* forked in the midst of it */
    pthread_mutex_unlock(&lock);
}
#endif
