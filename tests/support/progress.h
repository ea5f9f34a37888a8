/* Scenes in which a message has to travel while the task that sent it, or the next one of its
 * worker, computes. Each task stands for one that computes by blocking in open() of a FIFO until
 * the other side of the scene has been reached; if the message stood still the scene would never
 * end, and its test's time limit would. Tine has been started by the caller. */
#ifndef TINE_TESTS_SUPPORT_PROGRESS_H
#define TINE_TESTS_SUPPORT_PROGRESS_H

/* NULL: as it should be; else what was wrong. */
const char *progress_of_a_result(void);      /* needs exactly 1 worker, as the next; the others 2 */
const char *progress_of_short_results(void); /* before a call of the same function that computes */
const char *progress_of_an_argument(void);
/* more than the worker looks at in one go */
const char *progress_while_small_results_come(void);
const char *progress_past_what_a_transport_queues(void); /* 320 MB of arguments */
/* more forks than the coordinator asks for at first; each one blocks a worker */
const char *progress_of_queued_forks(void);
/* that the argument's release callback wants too */
const char *progress_with_a_lock_held(void);
const char *progress_with_a_lock_held_by_the_program(void);
/* What was sent is released without a further call. Not for inproc, which sends the buffer
 * itself. */
const char *progress_of_a_release(void);

#endif
