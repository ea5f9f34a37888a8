/* The coordinator of a process: the scheduler, which does no I/O, joined to a link, and the context
 * (api/context.h) through which the program's calls reach it.
 *
 * One lock guards everything. The event loop (receive, tell the scheduler, carry out its actions)
 * is run by one thread at a time, which releases the lock only to block in the transport, to run
 * callbacks, and for a thread that has waited long for it. A thread inside tine_wait runs the loop
 * itself, so that a reply does not cost a thread switch. When no thread has run the loop for a
 * tick, the progress thread does, so that nested forks go on while the program computes; it stops
 * as soon as another thread wants to run it.
 *
 * Lock order: the coordinator's lock, then that of the list of changed handles or of a sleep.
 * Values may be released under the coordinator's lock. */
#ifndef TINE_RUNTIME_COORDINATOR_COORDINATOR_H
#define TINE_RUNTIME_COORDINATOR_COORDINATOR_H

#include "runtime/settings/settings.h"
#include "runtime/wire/payload.h"
#include "transport/base/run_log.h"
#include "transport/transport.h"

typedef struct tine_coordinator tine_coordinator;

/* Takes over the transport (also on an error). No thread runs the event loop until open.
 * `expected`: workers that count as all, see scheduler.h; `workers_return`: more may come, or lost
 * ones come back. */
tine_error tine_coordinator_new(tine_coordinator **out, const tine_settings *s,
                                tine_transport *transport, int expected, bool workers_return);
/* Installs it as the process's context, starts the progress thread, waits until n workers have
 * joined. ETIMEDOUT with a sentence. */
tine_error tine_coordinator_open(tine_coordinator *c, int n, double seconds);
int tine_coordinator_workers(tine_coordinator *c);
size_t tine_coordinator_list_workers(tine_coordinator *c, tine_worker_status *out, size_t room);
size_t tine_coordinator_list_tasks(tine_coordinator *c, tine_task_status *out, size_t room);
tine_error tine_coordinator_count(tine_coordinator *c, tine_counts *out);
/* See tine_worker_end. */
tine_error tine_coordinator_end_worker(tine_coordinator *c, uint32_t id, int flags);
/* fn(pid, token, flags) is called, with the lock: the local worker is to be ended as
 * tine_worker_end says or, without TINE_WORKER_NOW, ends by itself soon. Set before workers
 * join. */
void tine_coordinator_on_worker_end(tine_coordinator *c,
                                    void (*fn)(uint32_t pid, const char *token, int flags));
/* Waits until no fork of the program and no callback is pending. ETIMEDOUT with a sentence. */
tine_error tine_coordinator_drain(tine_coordinator *c, double seconds);

/* The state of the job (snapshot.h), some 50 ms old at most; a reference is the caller's. From any
 * thread. ENOMEM, ESTATE. */
tine_error tine_coordinator_snapshot(tine_coordinator *c, tine_payload **out);

/* From here on all processes record, workers that join later too. */
tine_error tine_coordinator_trace_record(tine_coordinator *c, bool on);
/* Gathers what was recorded (waits at most `seconds` for workers that compute) and writes the
 * file. */
tine_error tine_coordinator_trace_write(tine_coordinator *c, const char *path, double seconds,
                                        double keep);

/* From any thread: the local worker of this pid has ended, and why ("was killed by signal 9
 * (SIGKILL)"). `log`: what it had begun; NULL: not known. Its tasks fail or are run again once the
 * transport has delivered what it had sent before. */
void tine_coordinator_worker_died(tine_coordinator *c, uint32_t pid, const char *reason,
                                  const tine_run_log *log);
/* known(pid, token): whether this process has started the worker that a HELLO claims to be, called
 * with the lock. Set before workers join; without it every token counts. */
void tine_coordinator_know_local(tine_coordinator *c,
                                 bool (*known)(uint32_t pid, const char *token));
/* admits(token): whether a worker with this token may join; others are refused. Called with the
 * lock. Set before workers join; without it all may. */
void tine_coordinator_admit(tine_coordinator *c, bool (*admits)(const char *token));
/* fn(pid, token) is called, with the lock, when a local worker's connection is lost and its end has
 * not been reported: it is stopped, or stuck, and has to be killed so that another can take its
 * place. Set before workers join. */
void tine_coordinator_on_unreachable(tine_coordinator *c,
                                     void (*fn)(uint32_t pid, const char *token));
/* fn(token, task) is called, with the lock, again and again until the task has ended: the local
 * worker is to be killed if it runs just this task. Set before workers join. */
void tine_coordinator_on_task_end(tine_coordinator *c,
                                  void (*fn)(const char *token, uint64_t task));
/* From any thread: `failures` attempts in a row to replace local workers have failed; `reason` says
 * what happened to the last worker. Both become a part of the errors of calls that wait for a
 * worker meanwhile. */
void tine_coordinator_start_failed(tine_coordinator *c, unsigned failures, const char *reason);
/* From any thread: creates the endpoint again if its file has been removed. 0, or a negative errno
 * value with a sentence in `why`. */
int tine_coordinator_endpoint_restore(tine_coordinator *c, char *why, size_t why_size);

/* Whether the calling thread runs a callback. Then it runs the event loop, and must not wait for
 * it. */
bool tine_coordinator_in_callback(void);

/* Tells workers to stop, completes what is pending, waits at most `seconds` for frames to leave.
 * The context is taken away. */
void tine_coordinator_stop(tine_coordinator *c, double seconds);
/* After stop. Futures that the program still holds keep the context. Accepts NULL. */
void tine_coordinator_free(tine_coordinator *c);

#endif
