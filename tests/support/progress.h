/* Two scenes in which a large message has to travel while the task that sent it, or the next one of its worker, computes. Each
 * task stands for one that computes by blocking in open() of a FIFO until the other side of the scene has been reached; if the message
 * stood still the scene would never end, and its test's time limit would. Tine has been started by the caller. */
#ifndef TINE_TESTS_PROGRESS_H
#define TINE_TESTS_PROGRESS_H

/* NULL: as it should be; else what was wrong. */
const char *progress_of_an_argument(void); /* needs 2 workers */
const char *progress_of_a_result(void);    /* needs exactly 1 worker */

#endif
