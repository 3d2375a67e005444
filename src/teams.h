/* Teams of threads that survive forks, crowds and limits, and calls that an interrupt can end early. */
#ifndef LSTMFAST_TEAMS_H
#define LSTMFAST_TEAMS_H

/* Number of threads, at most `wanted`, that the calling thread may use until it leaves. */
int lstmfast_enter_team(int wanted);
void lstmfast_leave_team(int size);

/* One call, and who asks on its behalf, every ANSWER_MS, whether to end it: the thread that made the call. All threads
 * of its team see the answer. Zeroed: nobody asks. */
typedef struct {
    int (*answer)(void *whose);
    void *whose;
    const void *thread;
    int stop;
    double work; /* multiply-adds since the clock was read */
    long long asked_at;
} interruption;

void lstmfast_watch(interruption *call, int (*answer)(void *), void *whose);
int lstmfast_poll(interruption *call, double work);

/* Whether to end now what `call` stands for; `work` multiply-adds follow if not. */
static inline int stopped(interruption *call, double work) {
    return call && call->answer && lstmfast_poll(call, work);
}
#endif
