/** @mainpage Tine: fork and wait across processes
 * Everything public is declared in one header, tine.h, in these groups:
 *
 * - @ref version - which Tine a program was compiled for, and which it runs with.
 * - @ref types - handles, whose contents are private.
 * - @ref errors - a code and a sentence for each failure.
 * - @ref startup - settings; the start and the end of the workers.
 * - @ref calling - starts a task on a worker, or makes the same call here.
 * - @ref waiting - blocks until tasks are done, and takes their results.
 * - @ref promises - futures that the program completes, or that follow from others.
 * - @ref cancelling - ends work whose result is not needed any more.
 * - @ref streams - values that a task gives as it goes.
 * - @ref pool - lists, prepares and ends workers; lists and counts tasks; waits for all of them.
 * - @ref making - makes values: numbers, texts, tensors, lists, dicts.
 * - @ref files - tensors in safetensors files.
 * - @ref reading - what is in a value.
 * - @ref references - keeps and releases what the other calls have given.
 * - @ref functions - what tasks run: functions by their names, and their arguments.
 * - @ref modules - state that lives on workers, and its methods.
 * - @ref trace - records what every process does, and when.
 * - @ref arrays - calls whose arguments are counted at run time, and for bindings.
 * - C++ - handles that release themselves, and exceptions.
 *
 * A program:
 *
 *     TINE_FUNCTION(foo, "x") { return tine_call("neg", tine_arg(task, 0)); }
 *
 *     int main(int argc, char **argv) {
 *         if (tine_init(&argc, argv, NULL)) return 1; // starts the workers, or becomes one
 *         tine_value *x = tine_ones(TINE_F32, 1, TINE_SHAPE(1)), *y;
 *         tine_future *future = tine_fork("foo", x); // returns at once
 *         if (tine_wait(future, &y) == TINE_OK) tine_print(y);
 *         return tine_shutdown();
 *     }
 *
 * Conventions, which hold wherever a description says nothing else:
 *
 * - **Ownership.** Values are immutable and reference-counted. A call borrows its arguments and
 *   takes references of its own. A function that makes a value or a future gives the caller one
 *   reference, to be released with tine_release(). Inside a task that is optional: references
 *   that a task was given are released when it returns. One taken with tine_ref() is kept, so that
 *   a module can hold a value from one call to the next.
 * - **Errors.** A function that returns a value returns NULL on failure, others return a
 *   #tine_error; tine_error_message() is then a sentence. A NULL value as an argument means that
 *   its maker failed: the call fails with that error, so a chain of calls needs one check at its
 *   end. tine_fork() reports every error at tine_wait().
 * - **Blocking.** A function returns without waiting for another process.
 * - **Threads.** Any thread of the program may call any function; tine_init() and tine_shutdown()
 *   are for one thread. A future belongs to the process that forked it. A thread that a task starts
 *   may make and read values and use tine_call(); it releases what it makes, and gets ESTATE from
 *   calls that fork, wait, put or make modules: these are the task's own. */
#ifndef TINE_H
#define TINE_H
/** @file
 * The public header of Tine. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/** @cond internal */
#define TINE_API __attribute__((visibility("default")))
#define TINE_DOTTED_(a, b, c) #a "." #b "." #c
#define TINE_DOTTED(a, b, c) TINE_DOTTED_(a, b, c)
/** @endcond */

/** @defgroup version Version
 * Which Tine a program was compiled for, and which it runs with. Versions follow semver.org.
 * @{ */

#define TINE_VERSION_MAJOR 0 /**< Changes when programs may have to be changed or recompiled. */
#define TINE_VERSION_MINOR 1 /**< Changes when something is added. */
#define TINE_VERSION_PATCH 0 /**< Changes when something is fixed. */
/** The version of this header as a string literal, "MAJOR.MINOR.PATCH". */
#define TINE_VERSION TINE_DOTTED(TINE_VERSION_MAJOR, TINE_VERSION_MINOR, TINE_VERSION_PATCH)

/** The version of the library that the program runs with.
 * @return "MAJOR.MINOR.PATCH", a constant. Differs from #TINE_VERSION where the program was
 *     compiled with another header. */
TINE_API const char *tine_version(void);

/** @} */
/** @defgroup types Types
 * What the calls take and give: handles whose contents are private.
 * @{ */

/** An immutable argument or result. Made in @ref making, read in @ref reading. */
typedef struct tine_value tine_value;
/** A handle on one result to come, completed exactly once. */
typedef struct tine_future tine_future;
/** The side of a future that the program completes (@ref promises). */
typedef struct tine_promise tine_promise;
/** Futures in the order in which they are done (tine_as_completed()). */
typedef struct tine_completer tine_completer;
/** One running call, as the function that is called sees it. Valid until that function returns. */
typedef struct tine_task tine_task;

/** @} */
/** @defgroup errors Errors
 * Every failure has a code and a sentence.
 * @{ */

/** What kind of failure. TINE_OK is 0, so `if (error)` tests for a failure. */
typedef enum tine_error {
    TINE_OK = 0,    /**< No failure. */
    TINE_EINVAL,    /**< An argument, option or file is wrong. */
    TINE_ENOMEM,    /**< There is no memory. */
    TINE_EUNKNOWN,  /**< No worker knows this function, class or method. */
    TINE_EFAILED,   /**< The task itself failed. */
    TINE_ELOST,     /**< The worker, or the coordinator, was lost. */
    TINE_ETIMEDOUT, /**< A deadline passed. */
    /** It was cancelled, tine_shutdown() was called first, or its promise was released. */
    TINE_ECANCELED,
    TINE_EAGAIN, /**< A limit is reached: try later. */
    TINE_EPROTO, /**< A peer broke the wire format. */
    TINE_EIO,    /**< The transport or the operating system failed. */
    TINE_ESTATE, /**< Called at the wrong time: before tine_init(), or in a callback. */
    /** A deadlock: it waits for what waits for it (@ref waiting). */
    TINE_EDEADLK,
    TINE_ENDED, /**< Nothing is left to be taken. */
} tine_error;

/** The sentence behind the last error of this thread; inside a task, of this task. It says what
 * happened, to what, and what to do; for a task that ran elsewhere it names the function, the
 * worker (process, host, rank), the attempt and the cause. A long cause is cut in the middle;
 * control characters of a cause other than newline and tab are written as \\x1b.
 * @return Never NULL. Valid until the next call of this thread that fails. */
TINE_API const char *tine_error_message(void);

/** The code of the last error of this thread; inside a task, of this task.
 * @return TINE_OK if nothing has failed yet. A call that succeeds does not reset it. */
TINE_API tine_error tine_last_error(void);

/** The name of a code.
 * @param e A code.
 * @return "EFAILED" for TINE_EFAILED; a constant, never NULL. */
TINE_API const char *tine_error_name(tine_error e);

/** @} */
/** @defgroup startup Starting and stopping
 * Which role a process has, and how many workers there are.
 * @{ */

/** Settings of a program. Zero or NULL means the default; in a number that may be zero, -1 means
 * zero. Each is overridden by the variable TINE_NAME (`TINE_WORKERS=4`), that by `--tine-name=…` on
 * the command line given to tine_init(). `tine info` prints what is in force. */
typedef struct tine_options {
    /** `ipc://PATH`, `tcp://HOST:PORT`, `inproc://NAME` or `mpi://`. Default: a private ipc path,
     * or `mpi://` when started by mpirun or srun. Where the ranks of a job are given a path or a
     * port, rank 0 listens there and the others join it. */
    const char *endpoint;
    /** Workers to start on this host. Default: one a physical core, divided by `threads`, within
     * the affinity mask, the cpuset and the CPU quotas of this process. Workers that take all of
     * these cores exactly are pinned, near ones side by side. -1: none; they join with
     * `tine worker`. */
    int workers;
    /** tine_init() returns when so many workers have joined. Default: those started here. */
    int await_workers;
    /** BLAS threads of one worker. Default: 1. */
    int threads;
    /** Bytes of a task's stack, which has a guard page below it. Default: 256 KiB. */
    size_t stack_size;
    /** Tasks that have not started, and forks that wait for the futures among their arguments,
     * past which tine_fork() waits. Default: 131072. Forks that tasks make have limits of their
     * own, and past these the task is suspended: 4096 that have not started for all tasks of one
     * worker, and 1 GiB of arguments of those that stay at the worker; 65536, or 1 GiB, that wait
     * for their arguments for one task. */
    size_t max_pending;
    /** Bytes of the arguments of tasks that have not started, past which tine_fork() waits; a
     * single task of any size passes. Default: 1 GiB. */
    size_t max_pending_bytes;
    /** Bytes of one message: arguments, a result, a put value or a module's arguments that would
     * take more are refused with EINVAL by the call that makes them, and a process that sends more
     * is disconnected. The same in all processes. Default: 64 GiB. */
    size_t max_frame;
    /** Resident bytes of a worker's process. Past 80 % of it the worker gets no more tasks until it
     * has less, or until all of its tasks wait for their forks. Past all of it, or past 80 %
     * without a task, it is ended and replaced; its tasks are run again or fail, as after its
     * death. Workers of this host are looked at every 0.25 s; those of others when they do not
     * compute. Not over inproc://; a rank of mpi:// is not ended, and gets tasks again once it has
     * none. -1: no limit. Default: 90 % of what the control groups of this process allow, or of the
     * machine's memory. */
    size_t max_memory;
    /** Further attempts of a task that was declared safe to repeat (#TINE_REPEATABLE), after its
     * worker was lost: with 3, the default, the fourth worker that dies while the task runs
     * completes its future with ELOST. -1: none. A worker on this host records what it runs, so
     * that the loss counts for that task alone (and for those above it on this worker); elsewhere
     * it counts for all that the worker had. A function that fails (EFAILED) is not run
     * again. A task that is not repeatable ends with ELOST when its worker is lost, unless it is
     * known that it had not begun: then it runs on another one. */
    int retries;
    /** Seconds in which the workers started here must join. Default: 30. */
    double connect_timeout;
    /** Seconds between two signs of life from a worker on another host that joined over tcp://.
     * After ten missed ones in a row it is lost (but see `rejoin`); time in which the coordinator
     * was stopped itself does not count. A worker on this host is lost when its process or
     * connection ends, not when it is stopped. Default: 1. */
    double heartbeat;
    /** Seconds that tasks which run have to end when their worker leaves. A worker that was
     * started by hand leaves at SIGTERM or SIGINT: it gives back the tasks that have not begun,
     * which run elsewhere as if they had not been sent, and exits with 0 when the others have
     * ended. After this time it exits with 1, and they end or run again as after its death. A
     * second SIGINT ends it at once. A signal that the program handles itself is left alone. A
     * rank of mpi:// leaves at a SIGTERM that its launcher has not sent, has no limit of time, and
     * ends with its job. Default: 25. -1: none. */
    double grace;
    /** Whether a worker that was started by hand comes back after it has lost its coordinator: on
     * or off (the default). It may be its connection that was lost, or the program that ended
     * without tine_shutdown(); then it joins the next one at the same endpoint. It tries at once
     * and then after a wait that grows to 5 s, for as long as it takes, and joins as a new worker:
     * what it had is lost as by a death. A coordinator that it has never reached ends it after
     * `connect_timeout`, and so do a signal, and a coordinator that ends or refuses it. Over tcp://
     * such a worker on another host is not lost after ten missed signs of life if it has what would
     * be lost for good (tasks and results of functions that are not repeatable, state of modules
     * with #TINE_MODULE_SINGLE): it goes on, gets no further tasks, and what it has is waited for
     * until its link is back, also its repeatable tasks; after 150 missed ones it is lost. The log
     * says so. */
    const char *rejoin;
    /** Whether workers on this host exchange messages with the program through shared memory where
     * they have joined over ipc:// or tcp://: on (the default) or off. Where it cannot be used,
     * messages take the endpoint's way, and a line of the log at level info says why. */
    const char *lane;
    /** Where messages go through shared memory: the most bytes of tensors of 16 KiB and more that
     * each process keeps in memory which the others can map, so that arguments, results and put
     * values are not copied between them. A tensor past it is copied. A process that the program
     * makes with fork() shares this memory instead of having a copy: what the program releases
     * changes there. Default: half of the machine's memory. -1: none. */
    size_t arena;
    /** Bytes of a result past which it stays at a worker on another host that joined over tcp://,
     * if other tasks take it: they are placed there, or their workers fetch it from there without
     * this process in between. When that worker is lost the result is made again, if its task is
     * repeatable. Default: 64 KiB. */
    size_t stay_bytes;
    /** Which workers may join over tcp://. "auto", the default: where other hosts can connect, only
     * those with the job's key, and messages are encrypted; "curve": the same on this host too;
     * "none": all, in plain text. Other transports need no key. */
    const char *security;
    /** A file with the job's key, which `tine key FILE` makes and only its owner can read. Default:
     * the variable TINE_KEY, or a new key, which only the workers that are started here have. */
    const char *key_file;
    /** Labels of this process as a worker, separated by commas, "big,left": forks choose workers by
     * them (tine_fork_options::label). Those of workers that are started here too. */
    const char *labels;
    /** What this process as a worker offers of named resources, "gpu=2,disk=1": the tasks that are
     * at it take no more of each at a time (tine_fork_options::resources). At most 16; a name has
     * up to 31 letters, digits and "_-.", an amount is from 1 to 1000000000, without a number 1,
     * and the text has at most 1,024 bytes. Each of the workers that are started here offers the
     * same. */
    const char *slots;
    /** What is logged to standard error: error, warn (the default), info or debug. */
    const char *log_level;
    /** A file: tine_shutdown() writes a trace of all processes to it (see @ref trace). */
    const char *trace;
    /** How many events each process keeps for a trace, at 72 bytes each. Newer ones replace the
     * oldest, and the file says how many. A task takes about 20 in all. Default: 256 Ki. */
    size_t trace_events;
    /** Only the last so many seconds are written: a program of days is traced to its end.
     * Default: 0, all that is kept. */
    double trace_seconds;
    /** What starts a worker on this host: an absolute path and its arguments, ending with NULL. It
     * has to reach tine_init(). Default: this process's own command line. For a program whose
     * command line would not run it again, such as an interactive interpreter. */
    const char *const *worker_command;
    /** Serve the job's metrics in Prometheus' text format over HTTP, at this "HOST:PORT", path
     * `/metrics`; without a host at the loopback address, with port 0 at a free one, which the log
     * says at level info. Needs libmicrohttpd at run time. Every process that can connect can read
     * the counters and the names of hosts and functions, but no values. NULL: none. */
    const char *metrics;
} tine_options;

/** Starts Tine. In the program it reads the settings, starts the workers and returns: this process
 * is the coordinator. In a process that was started as a worker it serves until the coordinator
 * ends it, then exits; there it does not return. What the ranks of a job are refused is the error
 * of the first one; another one logs a reason of its own, and exits with 1. Blocks until the
 * workers have joined, for at most `connect_timeout`. Raises the soft limit of file descriptors
 * (RLIMIT_NOFILE) by what workers need, as far as the hard limit allows. Workers, and processes
 * that tasks start, have the limit from before; processes that the program itself starts inherit
 * the raised one.
 * @param argc The number of arguments; reduced by those that were removed. May be NULL.
 * @param argv The arguments of main; `--tine-…` are removed. May be NULL.
 * @param options Settings, read during the call only. NULL: the defaults.
 * @return TINE_OK; EINVAL: a setting is wrong, and named; EIO: the endpoint or a worker cannot be
 *     started; ETIMEDOUT: too few workers joined; ESTATE: Tine is running already,
 *     or this was called in a task, or in a process that was forked from one in which Tine runs. In
 *     such a process every call that needs Tine fails with ESTATE. */
TINE_API tine_error tine_init(int *argc, char **argv, const tine_options *options);

/** Stops Tine: ends the workers, waits for them, and frees everything. Futures that are not done
 * are cancelled: they complete with ECANCELED; tine_shutdown_after() lets them be done first. Calls
 * of other threads that fork, wait or put fail with ECANCELED or ESTATE from then on. Not to be
 * called in a callback. May be called again, and without tine_init().
 * @return The exit code for main: 0, or 1 when the trace or what was printed to standard output
 *     could not be written, or when this was called in a callback, in a task or in a forked
 *     process, and did nothing. */
TINE_API int tine_shutdown(void);

/** Stops Tine when everything pending is done: tine_drain(), then tine_shutdown(). What is not done
 * when the deadline passes is cancelled.
 * @param seconds For how long to wait at most, as for waits; INFINITY: until all is done.
 * @return As tine_shutdown(); 1 also where something was cancelled, which the log says. */
TINE_API int tine_shutdown_after(double seconds);

/** How many workers are connected now.
 * @return 0 before tine_init(), and in a worker. */
TINE_API int tine_worker_count(void);

/** The endpoint where workers can join. Where none was set, the pool is private: it takes the
 * workers that the program starts and no others, unless it starts none or awaits more.
 * @return A URL, valid until tine_shutdown(); NULL before tine_init(), and in a worker. */
TINE_API const char *tine_endpoint(void);

/** @} */
/** @defgroup calling Forking and calling
 * Starts a task on a worker, or makes the same call here. A call names its target, then its
 * arguments, positional ones before keywords.
 *
 * TARGET is the name of a registered function, or a module, whose `forward` is called. An ARG is
 * an int, a double, a bool, a string, a `tine_value *`, a `tine_future *`, or tine_kw(). A future,
 * also one inside a list or a dict, is replaced by its result before the task starts; as soon as
 * one fails, the fork fails with its error. An ARG of another type, such as a long double or
 * another pointer, does not compile. At most 15 arguments (in C++ any number); more, or as many as
 * are known at run time, and calls from bindings: @ref arrays. A function of the program wins over
 * a built-in one of the same name, which "tine.NAME" always names: `tine_fork("tine.add", x, y)`.
 * @{ */

/** Starts a task on a worker: `tine_fork(TARGET, ARG…)`. Returns at once, unless `max_pending` or
 * `max_pending_bytes` is reached: then it blocks until a task has started.
 * @param ... The target and the arguments.
 * @return A future, one reference to be released; every error comes out at tine_wait(). NULL only
 *     without memory for the future itself. */
#define tine_fork(...) tine_fork_args(NULL, TINE_ARGS_(__VA_ARGS__))

/** The same for a method other than `forward`: `tine_fork_method(MODULE, NAME, ARG…)`.
 * @param module A module.
 * @param name The method's name.
 * @param ... The arguments.
 * @return A future, as from tine_fork(). */
#define tine_fork_method(module, name, ...) tine_fork_args(name, TINE_ARGS_(module, ##__VA_ARGS__))

/** The same as tine_fork(), but never blocks.
 * @param ... The target and the arguments.
 * @return A future; NULL with EAGAIN where tine_fork() would block. */
#define tine_try_fork(...) tine_try_fork_args(NULL, TINE_ARGS_(__VA_ARGS__))

/** What a fork asks for beyond its call; zero means the default. */
typedef struct tine_fork_options {
    /** Of a module; NULL: "forward". Ignored where the target is a function. */
    const char *method;
    const char *name; /**< The task's name in errors and traces; NULL: its target's. */
    /** Seconds from the call within which it must be done, waiting for arguments and for a worker
     * included: then it fails with ETIMEDOUT and is cancelled as by tine_cancel(). 0: none. */
    double deadline;
    /** Seconds from its cancellation, or its deadline, after which a worker that still runs it, or
     * a fork of it, is ended as with #TINE_CANCEL_FORCE. 0: never. */
    double grace;
    /** Further attempts after its worker was lost, instead of tine_options::retries; -1: none.
     * For what is #TINE_REPEATABLE. */
    int retries;
    /** Further attempts after it failed itself (EFAILED). For what is #TINE_REPEATABLE. */
    int retry_on_failure;
    /** Tasks with a higher one start before others, whatever their age and depth. Its own forks
     * have it too, unless they say otherwise. From -128 to 1000; others count as the nearest. */
    int priority;
    /** Only on this worker, by its id (tine_workers(), tine_worker_id()); 0: on any. ELOST when it
     * is lost, or was; EINVAL where there never was one; EUNKNOWN where it does not serve the
     * call. */
    uint32_t worker;
    /** Only on workers with this label (tine_options::labels); NULL: on any. Where none has it the
     * task waits for one to join, and a line of the log says so. It fails with EUNKNOWN over
     * inproc:// and mpi://, where no other worker can join, and with EDEADLK where no endpoint was
     * set and all workers of this program are there (@ref waiting). */
    const char *label;
    /** What it takes of its worker's slots (tine_options::slots), "gpu=1,disk=2", from before it is
     * sent there until it has ended, its waits included; NULL or "": nothing. Only workers that
     * offer as much of each run it; it waits until one has that free, or, as with a label, joins.
     * The oldest goes first, but smaller ones may pass it 64 times. A worker computes one task at a
     * time in any case: that is its one slot for computing. A task that has been sent, and one of
     * whose arguments is lost before it begins, leaves its slots to others until that is made
     * again, and may have to share them then. */
    const char *resources;
    /** How many values tine_yield() may be ahead of tine_next(): the future is a stream
     * (@ref streams). At most 65536. 0: it is no stream. */
    int stream;
    bool no_wait; /**< True: NULL with EAGAIN where the call would block, as tine_try_fork(). */
    /** True: when the last reference of the future is released before it is done, it is cancelled
     * as by tine_cancel(), unless other forks depend on it: its result could not be taken any more.
     * Inside a task that happens at the task's end. */
    bool owned;
} tine_fork_options;

/** Options for one call, in C: `TINE_FORK_OPTIONS(.deadline = 2, .priority = 1)`. Without its
 * parentheses a macro would take the commas of `&(tine_fork_options){…}` for its own.
 * @param ... Fields of #tine_fork_options. */
#define TINE_FORK_OPTIONS(...) (&(tine_fork_options){__VA_ARGS__})

/** The same as tine_fork() with options:
 * `tine_fork_with(TINE_FORK_OPTIONS(.deadline = 2), TARGET, ARG…)`.
 * @param options The options, read during the call only; NULL: the defaults.
 * @param ... The target and the arguments.
 * @return A future, as from tine_fork(); EINVAL: an option is wrong. */
#define tine_fork_with(options, ...) tine_fork_with_args(options, TINE_ARGS_(__VA_ARGS__))

/** The same call made here, by the calling thread: `tine_call(TARGET, ARG…)`. Blocks while the
 * function runs, and for futures among the arguments.
 * @param ... The target and the arguments.
 * @return The result, one reference to be released; NULL on failure. */
#define tine_call(...) tine_call_args(NULL, TINE_ARGS_(__VA_ARGS__))

/** The same for a method other than `forward`: `tine_call_method(MODULE, NAME, ARG…)`.
 * @param module A module.
 * @param name The method's name.
 * @param ... The arguments.
 * @return The result, as from tine_call(). */
#define tine_call_method(module, name, ...) tine_call_args(name, TINE_ARGS_(module, ##__VA_ARGS__))

/** A keyword argument: `tine_fork("sum", x, tine_kw("dim", 0))`.
 * @param name The parameter's name. NULL and "" are errors of the call, EINVAL.
 * @param arg An argument that is not itself a keyword.
 * @return A #tine_argument; what it points to must live until the call. */
#define tine_kw(name, arg) tine_keyword_((name), TINE_ARG_(arg))

/** @} */
/** @defgroup waiting Waiting
 * Blocks until tasks are done, and takes their results. A future may be waited for any number of
 * times, by any thread. A wait inside a task suspends the task; its worker runs others meanwhile. A
 * wait fails with EINVAL for a future that is NULL or was forked in another process, and with
 * ESTATE in a callback where it would block.
 *
 * Where a wait takes seconds, it blocks for so long at most; 0 or less: not at all; INFINITY: no
 * deadline; NaN: EINVAL. When the deadline passes it fails with ETIMEDOUT, and the tasks go on.
 *
 * **Deadlocks.** Once nothing has run for a second, tasks are found that can never be done because
 * they wait for each other in a circle: for results, for their turns at a module with one instance,
 * for slots, for the values of a stream to be taken. One task of the circle, or several that wait
 * alike, fail with EDEADLK and a sentence that names the circle; those who wait for them go on with
 * that error. So do tasks whose label or slots no worker has. A value that waits for the future
 * which it is to complete is refused where it is given (@ref promises). It is no deadlock where
 * something else may end it:
 * - a stream whose values the program, or a later task, may take; it protects all tasks at the
 *   worker where its task waits for that;
 * - a deadline of a task of the circle; one of a task that waits for the circle does not count;
 * - a wait with a deadline, or an open promise, of a task at the same worker;
 * - other workers, with a label or slots, which may join where the endpoint was set, and come where
 *   none was set while fewer than tine_options::workers are there.
 * @{ */

/** Blocks until a future is done.
 * @param f A future.
 * @param[out] out The result, one reference to be released; NULL on failure. May be NULL.
 * @return TINE_OK, or the error of the task. */
TINE_API tine_error tine_wait(tine_future *f, tine_value **out);

/** The same with a deadline.
 * @param f A future.
 * @param seconds For how long to block at most.
 * @param[out] out As for tine_wait().
 * @return As tine_wait(); ETIMEDOUT: the deadline passed. */
TINE_API tine_error tine_wait_for(tine_future *f, double seconds, tine_value **out);

/** Blocks until one of several futures is done.
 * @param f The futures.
 * @param n How many; at least 1.
 * @param[out] index Which one is done: the first, if there are several; 0 on failure. May be NULL.
 * @return TINE_OK, also when that task failed: its error comes out at tine_wait(). */
TINE_API tine_error tine_wait_any(tine_future *const *f, size_t n, size_t *index);

/** The same with a deadline.
 * @param f The futures.
 * @param n How many; at least 1.
 * @param seconds For how long to block at most.
 * @param[out] index As for tine_wait_any().
 * @return As tine_wait_any(); ETIMEDOUT: the deadline passed. */
TINE_API tine_error tine_wait_any_for(tine_future *const *f, size_t n, double seconds,
                                      size_t *index);

/** Blocks until all of several futures are done, also when one fails.
 * @param f The futures.
 * @param n How many; may be 0.
 * @param[out] out n results in order, one reference each; all NULL on failure. May be NULL.
 * @return TINE_OK, or the first error in order. */
TINE_API tine_error tine_wait_all(tine_future *const *f, size_t n, tine_value **out);

/** The same with a deadline for all of them together.
 * @param f The futures.
 * @param n How many; may be 0.
 * @param seconds For how long to block at most.
 * @param[out] out As for tine_wait_all().
 * @return As tine_wait_all(); ETIMEDOUT: the deadline passed. */
TINE_API tine_error tine_wait_all_for(tine_future *const *f, size_t n, double seconds,
                                      tine_value **out);

/** Blocks until one of several futures has failed, or all are done.
 * @param f The futures.
 * @param n How many; may be 0.
 * @param seconds For how long to block at most.
 * @param[out] index Which one has failed: the first, if there are several; n if none has. May be
 *     NULL.
 * @return TINE_OK: all are done and none has failed; the error of the one that has; ETIMEDOUT with
 *     index n: the deadline passed. */
TINE_API tine_error tine_wait_failure(tine_future *const *f, size_t n, double seconds,
                                      size_t *index);

/** Whether a future is done. A task must not poll this in a loop without a wait in between: its
 * worker receives replies while the task waits.
 * @param f A future, or NULL.
 * @return True when tine_wait() would not block; false for NULL. */
TINE_API bool tine_done(const tine_future *f);

/** Which of several futures are done.
 * @param f The futures; NULL is not done.
 * @param n How many; may be 0.
 * @param[out] done n answers, as from tine_done(). May be NULL.
 * @return How many are done. */
TINE_API size_t tine_which_done(tine_future *const *f, size_t n, bool *done);

/** Gives futures one after the other in the order in which they are done; each costs the same,
 * however many there are: `while (tine_completer_next(c, INFINITY, &i) == TINE_OK) use(f[i]);`
 * @param f The futures; the completer takes references of its own.
 * @param n How many; may be 0.
 * @return A completer, one reference to be released; NULL on failure. Inside a task it belongs to
 *     that task. */
TINE_API tine_completer *tine_as_completed(tine_future *const *f, size_t n);

/** Adds one more future.
 * @param c A completer.
 * @param f The future; the completer takes a reference of its own.
 * @return TINE_OK; EINVAL: c or f is NULL, or f is of another process; ENOMEM. */
TINE_API tine_error tine_completer_add(tine_completer *c, tine_future *f);

/** Blocks until one more future is done. Each is given once, to one thread.
 * @param c A completer.
 * @param seconds For how long to block at most.
 * @param[out] index Which one it is, counted in the order in which they were added, from 0; 0 on
 *     failure. May be NULL.
 * @return TINE_OK, also when that task failed: its error comes out at tine_wait(); ENDED: every
 *     future has been given; ETIMEDOUT: the deadline passed. */
TINE_API tine_error tine_completer_next(tine_completer *c, double seconds, size_t *index);

/** A file descriptor for the program's own event loop (poll, epoll, libuv, …). It is readable while
 * a future is done and not given yet: then call tine_completer_next() with 0 seconds, and do not
 * read it.
 * @param c A completer.
 * @return An eventfd, owned by the completer; -1: EIO, or ESTATE inside a task. */
TINE_API int tine_completer_fd(tine_completer *c);

/** @} */
/** @defgroup promises Promises and continuations
 * Futures that the program completes, or that follow from others. Each is a future like any other:
 * it is waited for, and used as an argument of forks.
 *
 * The value of a promise, and what a callback of tine_then() returns, may hold futures: they are
 * replaced by their results, as in a call's arguments, and the future is done when they are.
 *
 * A value that waits for the future which it is to complete is refused. Where hundreds of futures
 * wait for that one, or the two are connected by a tine_when_any() of more than 64, this may not be
 * found, and both wait for ever.
 * @{ */

/** A promise: its holder completes the future, once, from any thread, also one that a task has
 * started. When the last reference is released before that, the future fails with ECANCELED.
 * Inside a task it is released when the task returns: another thread needs a reference of its own,
 * from tine_ref().
 * @param[out] future Its future, one reference to be released; NULL on failure.
 * @return The promise, one reference to be released; NULL with ESTATE (Tine is not running), EINVAL
 *     or ENOMEM. */
TINE_API tine_promise *tine_promise_new(tine_future **future);

/** Completes a promise with a value.
 * @param p A promise.
 * @param v The value. NULL: its maker failed, and the future fails with that error.
 * @return TINE_OK; ESTATE: it was completed before; ECANCELED: its future was cancelled before, by
 *     tine_cancel() or tine_shutdown(), or its worker has ended; EINVAL: p is NULL, or v holds a
 *     pending future of another process; EDEADLK: v holds its own future, or one that waits for it.
 *     After the last two it is still open. In a thread that a task has started it is TINE_OK after
 *     a tine_cancel(), too, and with a future that waits for its own, which then fails. */
TINE_API tine_error tine_promise_set(tine_promise *p, const tine_value *v);

/** Completes a promise with a failure.
 * @param p A promise.
 * @param code What kind of failure; not TINE_OK or TINE_ENDED.
 * @param format The sentence, as for printf.
 * @param ... What format needs.
 * @return As tine_promise_set(). */
TINE_API tine_error tine_promise_fail(tine_promise *p, tine_error code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/** A future of what a callback returns, which is called once when another future is done: at once
 * if it is, otherwise on the thread that runs the event loop at that moment, which holds no lock.
 * @param f A future, done or not.
 * @param fn What to call; it may fork, but not block, nor compute for long: tasks that other
 *     threads fork meanwhile may start only when it has ended. Its future is borrowed, and is done,
 *     also when it failed: `if (tine_wait(f, &v)) return NULL;` passes the failure on. It returns a
 *     reference, which it gives away, or NULL, which fails the new future with
 *     tine_error_message(). A value that holds a future which waits for the new one fails it with
 *     EDEADLK, and one that holds a pending future of another process with EINVAL. What else it
 *     makes belongs, inside a task, to that task, as if the task had made it; in the program, to
 *     the program.
 * @param ctx Given to fn.
 * @return A future, one reference to be released; NULL: EINVAL (f or fn is NULL, or f is of another
 *     process) or ENOMEM. */
TINE_API tine_future *tine_then(tine_future *f, tine_value *(*fn)(tine_future *f, void *ctx),
                                void *ctx);

/** Calls a function once when a future is done, as tine_then() does, for its effect alone.
 * @param f A future, done or not.
 * @param fn What to call, as for tine_then().
 * @param ctx Given to fn.
 * @return TINE_OK; EINVAL: f or fn is NULL, or f is of another process; ENOMEM. */
TINE_API tine_error tine_on_done(tine_future *f, void (*fn)(tine_future *f, void *ctx), void *ctx);

/** A future of all results.
 * @param f The futures; references are taken.
 * @param n How many; may be 0.
 * @return A future of a list of the results in order, one reference to be released. It fails with
 *     the error of the first one that fails, as soon as that does. NULL: EINVAL (one is NULL or of
 *     another process), ESTATE or ENOMEM. */
TINE_API tine_future *tine_when_all(tine_future *const *f, size_t n);

/** A future of the first result.
 * @param f The futures; references are taken.
 * @param n How many; at least 1.
 * @return A future of the result, or the failure, of the first one that is done; one reference to
 *     be released. NULL as for tine_when_all(). */
TINE_API tine_future *tine_when_any(tine_future *const *f, size_t n);

/** @} */
/** @defgroup cancelling Cancelling
 * Ends work whose result is not needed any more.
 * @{ */

/** Flags of tine_cancel(). */
enum {
    /** The workers that run the task and its forks are killed, and replaced, where these do not end
     * at once; every other task there is run again or fails as after a death. A worker of another
     * host is disconnected. Over inproc:// and mpi:// workers cannot be ended: there it has no
     * effect. */
    TINE_CANCEL_FORCE = 1
};

/** Cancels what a future stands for. The future fails with ECANCELED at once, and with it what
 * depends on it. A task that has not started never starts. One that runs is told: tine_cancelled()
 * turns true there, its waits fail with ECANCELED, its forks are cancelled likewise, and its result
 * is dropped. A future of @ref promises fails; the futures that it follows from go on. That of
 * tine_fork_everywhere() fails, and each of its tasks is cancelled so. Cancelled tasks are not run
 * again.
 * @param f A future of this process or task.
 * @param flags 0 or #TINE_CANCEL_FORCE.
 * @return TINE_OK; ESTATE: it is done; EINVAL: it is NULL or of another process, or the flags are
 *     unknown. */
TINE_API tine_error tine_cancel(tine_future *f, int flags);

/** Whether the running task was cancelled, or its deadline has passed: then nothing uses its
 * result, and it should return soon. For loops that compute; cheap enough for each turn.
 * @param task The call, or one that it makes with tine_call().
 * @return False in the program itself. */
TINE_API bool tine_cancelled(const tine_task *task);

/** @} */
/** @defgroup streams Streams
 * Values that a task gives as it goes.
 *
 * A fork with the option `stream` gives a future that is also a stream of what its task yields:
 * `while (tine_next(f, &v) == TINE_OK) use(v);`. The task stays at most `stream` values ahead; then
 * tine_yield() waits, and its worker runs other tasks. The future's result is what the task
 * returns; it does not come while values that do not fit have not been taken.
 *
 * - **Failure, cancel, deadline, death.** The stream ends once. The values that had arrived can
 *   still be taken, in order; then tine_next() returns the error, as tine_wait() does. A deadline
 *   counts from the fork to the end of the stream.
 * - **Retry.** A further attempt yields from the first value again, and those that had arrived are
 *   dropped by their number: each is given once. What is #TINE_REPEATABLE has to yield the same
 *   values each time.
 * - **Release.** When the last reference on a stream is released before its end, its task is
 *   cancelled: its values could not be taken any more. Inside a task that happens at the task's
 *   end.
 * @{ */

/** Yields a value of the stream as which the running task was forked. Blocks while `stream` values
 * have not been taken yet, and for futures inside the value. The values of a plain fork, and of
 * tine_call() in the program, are dropped.
 * @param task The call, or one that it makes with tine_call().
 * @param v The value; a reference is taken.
 * @return TINE_OK; ECANCELED: the task was cancelled, and should return; EINVAL: task or v is NULL;
 *     ESTATE in a callback; ENOMEM; the error of a future inside v. */
TINE_API tine_error tine_yield(tine_task *task, const tine_value *v);

/** Blocks until a stream has one more value, and takes it. Each is given once, to one thread.
 * @param stream A future of a fork with the option `stream`.
 * @param[out] out The value, one reference to be released; NULL on failure. May be NULL.
 * @return TINE_OK; ENDED: there are no more, and the result can be taken; the error of the task;
 *     EINVAL: it is NULL, no stream, or of another process; ESTATE in a callback. */
TINE_API tine_error tine_next(tine_future *stream, tine_value **out);

/** The same with a deadline.
 * @param stream A stream.
 * @param seconds For how long to block at most, as for waits.
 * @param[out] out As for tine_next().
 * @return As tine_next(); ETIMEDOUT: the deadline passed, and the stream goes on. */
TINE_API tine_error tine_next_for(tine_future *stream, double seconds, tine_value **out);

/** Takes the next value of a stream as a future, at once: for tine_on_done(), tine_wait_any() or a
 * completer over several streams, and as an argument of forks. tine_cancel() of it drops the value
 * when it comes; the stream goes on.
 * @param stream A stream.
 * @return A future of the value, one reference to be released; it fails with ENDED if there is
 *     none. NULL: EINVAL as for tine_next(), or ENOMEM. */
TINE_API tine_future *tine_next_future(tine_future *stream);

/** @} */
/** @defgroup pool Pool
 * The workers and tasks as a whole.
 * @{ */

/** What is known of one worker. */
typedef struct tine_worker_status {
    uint32_t id;   /**< Of no other worker of this program, also after its end. */
    int pid;       /**< Its process; over inproc:// the program's own. */
    int rank;      /**< Under mpirun or srun; else -1. */
    int running;   /**< Tasks that were sent to it, have not ended, and do not wait for forks. */
    int suspended; /**< Tasks there that wait for their forks. */
    uint64_t tasks_done; /**< That have ended there. */
    char host[64];       /**< Its host's name, cut if it is longer. */
    char kernel[16];     /**< The compute kernel that it has chosen, "avx512". */
    char labels[128];    /**< "big,left", in the order of the alphabet, cut if there are more. */
    char slots[128];     /**< "gpu=2,disk=1": what it offers (tine_options::slots), cut likewise. */
    /** "running"; "waiting": its tasks wait for their forks; "idle"; "ending": see
     * tine_worker_end() and tine_options::grace. A constant. */
    const char *state;
    char task[80]; /**< The task that it is taken to run, cut if it is longer; "": none. */
    /** Resident bytes of its process. A worker on another host is asked for them when the workers
     * are listed, and this is its last answer: it does not answer while it computes. 0: not known
     * yet. */
    uint64_t memory;
    uint64_t bytes_received; /**< Arguments, results and put values that came from it. */
    uint64_t bytes_sent;     /**< The same that were sent to it. */
    double seconds;          /**< Since it joined. */
} tine_worker_status;

/** The workers that are connected now.
 * @param[out] out What is known of each, in the order in which they joined; may be NULL.
 * @param room How many `out` has room for.
 * @return How many there are; 0 before tine_init(), in a worker, and without memory. */
TINE_API size_t tine_workers(tine_worker_status *out, size_t room);

/** What is known of one task that has not ended. */
typedef struct tine_task_status {
    uint64_t id;     /**< Of no other task now; 0: it has none yet, and waits for its arguments. */
    uint64_t parent; /**< The task that forked it; 0: the program, or a task that has ended. */
    uint32_t worker; /**< The one that it was sent to; 0: none yet. */
    int attempt;     /**< Which attempt, from 1. */
    /** "waiting": for its arguments, or its turn; "ready": for a worker; "running": sent to one;
     * "suspended": waits there for its forks; "cancelled": was told to end. A constant. */
    const char *state;
    double seconds; /**< Since its fork. */
    char name[80];  /**< As in error sentences, cut if it is longer. */
} tine_task_status;

/** The tasks that have not ended. Nested ones that stay at the worker that makes them are left
 * out.
 * @param[out] out What is known of each, in no order; may be NULL.
 * @param room How many `out` has room for.
 * @return How many there are; 0 before tine_init(), in a worker, and without memory. */
TINE_API size_t tine_tasks(tine_task_status *out, size_t room);

/** How many tasks there are and were, without those that tine_tasks() leaves out. */
typedef struct tine_counts {
    uint64_t forked;        /**< Since tine_init(). */
    uint64_t completed;     /**< Of these, that have ended without failing. */
    uint64_t failed;        /**< That have failed, were lost or cancelled. */
    uint64_t retried;       /**< Further attempts. */
    uint64_t waiting;       /**< Now: for their arguments, or their turn. */
    uint64_t ready;         /**< Now: for a worker. */
    uint64_t running;       /**< Now: at a worker. */
    uint64_t suspended;     /**< Now: wait at a worker for their forks. */
    uint64_t objects;       /**< Now: put values, modules and results that something refers to. */
    uint64_t pending_bytes; /**< Now: arguments of the program's tasks that have not started. */
} tine_counts;

/** Counts the tasks.
 * @param[out] out The counts; all 0 on failure.
 * @return TINE_OK; ESTATE: Tine is not running, or this was called in a task; EINVAL: out is
 *     NULL. */
TINE_API tine_error tine_count(tine_counts *out);

/** Runs a function on every worker that is connected now: `tine_fork_everywhere(TARGET, ARG…)`. To
 * run one on later workers too: tine_initialise().
 * @param ... The target and the arguments, as for tine_fork().
 * @return A future of the list of the results, in the order of tine_workers(), one reference to be
 *     released; it fails as soon as one of them does, also where a worker is lost; the others go
 *     on. tine_cancel() of it cancels the task on every worker. NULL without memory. In a task it
 *     fails with ESTATE. */
#define tine_fork_everywhere(...) tine_fork_everywhere_args(NULL, TINE_ARGS_(__VA_ARGS__))

/** Has every worker run a function once: those that are connected now, and those that join from now
 * on, also in the place of lost ones: `tine_initialise(FUNCTION, ARG…)`. A worker that joins runs
 * it before any other task, unless it waits: then others may run meanwhile. Workers that do not
 * serve the function do not run it. A worker that joins and fails it is ended and replaced, as one
 * that could not start, and the log says so.
 * @param ... The function's name, and the arguments as for tine_fork().
 * @return A future, one reference to be released, which is done when the workers that are connected
 *     now have run it: its value is None, its failure the first one there, or EUNKNOWN: none of
 *     them serves it. A call that fails is withdrawn: workers that join later do not run it. One
 *     that is lost meanwhile has not failed it. tine_cancel() refuses the future with EINVAL once
 *     its arguments are there. ESTATE in a task. NULL without memory. */
#define tine_initialise(...) tine_initialise_args(TINE_ARGS_(__VA_ARGS__))

/** Flags of tine_worker_end(). */
enum {
    /** At once: its tasks are run again or fail, as after its death. */
    TINE_WORKER_NOW = 1,
    /** Another one is started in its place; for workers that tine_init() has started. */
    TINE_WORKER_REPLACE = 2
};

/** Ends a worker. It gets no more tasks, and ends when those that it has have ended; what these
 * wait for runs on other workers. Results that only it has are fetched first. Calls that are bound
 * to it (tine_fork_options::worker, #TINE_MODULE_SINGLE) fail with ELOST. Returns at once.
 * @param id Its id.
 * @param flags 0, or #TINE_WORKER_NOW, #TINE_WORKER_REPLACE, joined with |.
 * @return TINE_OK; EINVAL: there is no such worker, it cannot be replaced from here, it is a thread
 *     or a rank (over inproc:// and mpi:// workers end with the program), or the flags are unknown;
 *     ESTATE: Tine is not running, or this was called in a task. */
TINE_API tine_error tine_worker_end(uint32_t id, int flags);

/** The worker that the calling task runs on: what tine_fork_options::worker takes.
 * @return Its id; 0 in the program itself. */
TINE_API uint32_t tine_worker_id(void);

/** Blocks until every fork of this program is done and every callback has run; forks of other
 * threads and of callbacks meanwhile included. Results can still be taken afterwards. Called before
 * tine_shutdown(), which cancels what is pending, it lets everything finish.
 * @param seconds For how long to block at most, as for waits.
 * @return TINE_OK, also when tasks failed; ETIMEDOUT: the deadline passed; ESTATE: Tine is not
 *     running, or this was called in a task or a callback; EINVAL: the seconds are NaN. */
TINE_API tine_error tine_drain(double seconds);

/** @} */
/** @defgroup making Making values
 * Makes arguments and results. Each function gives one reference, or NULL with EINVAL (an argument
 * is wrong) or ENOMEM.
 *
 * Tensors are row-major and contiguous. A shape is an array of `rank` sizes, each 0 or more; rank 0
 * is a scalar.
 * @{ */

/** What a value is. */
typedef enum tine_kind {
    TINE_NONE,      /**< Python's None. */
    TINE_BOOL,      /**< true or false. */
    TINE_INT,       /**< 64 bits, signed. */
    TINE_FLOAT,     /**< Double precision. */
    TINE_STRING,    /**< UTF-8. */
    TINE_BYTES,     /**< Bytes of any meaning. */
    TINE_TENSOR,    /**< An n-dimensional array. */
    TINE_LIST,      /**< Values in order; a tuple is a list. */
    TINE_DICT,      /**< Values by string keys, in order. */
    TINE_FUTURE,    /**< A future inside a list or dict. */
    TINE_MODULE_REF /**< A reference to a module. */
} tine_kind;

/** The type of a tensor's elements. */
typedef enum tine_dtype {
    TINE_F32 = 1, /**< IEEE 754 single precision. */
    TINE_F64,     /**< IEEE 754 double precision. */
    TINE_BF16,    /**< The upper half of a float32, rounded to nearest even. */
    TINE_I64,     /**< 64 bits, signed. */
    TINE_I32,     /**< 32 bits, signed. */
    TINE_U8       /**< 8 bits, unsigned. */
} tine_dtype;

/** Limits of tensors. */
enum {
    TINE_MAX_RANK = 8 /**< The most dimensions of a tensor. */
};

/** An array of sizes for one call, in C and C++: `tine_ones(TINE_F32, 2, TINE_SHAPE(2, 3))`.
 * @param ... The sizes. */
#define TINE_SHAPE(...) TINE_SHAPE_(__VA_ARGS__)

/** None.
 * @return The value; never NULL. */
TINE_API tine_value *tine_none(void);

/** A bool.
 * @param b The bool.
 * @return The value; never NULL. */
TINE_API tine_value *tine_bool(bool b);

/** An int.
 * @param i The number.
 * @return The value, or NULL. */
TINE_API tine_value *tine_int(int64_t i);

/** A float.
 * @param d The number.
 * @return The value, or NULL. */
TINE_API tine_value *tine_float(double d);

/** A string.
 * @param utf8 The text, copied. EINVAL if it is not UTF-8.
 * @return The value, or NULL. */
TINE_API tine_value *tine_string(const char *utf8);

/** Bytes.
 * @param data The bytes, copied. May be NULL if there are none.
 * @param size How many.
 * @return The value, or NULL. */
TINE_API tine_value *tine_bytes(const void *data, size_t size);

/** Bytes whose memory the caller fills before it passes the value on.
 * @param size How many.
 * @param[out] data Where they lie, not initialised; the value owns them. NULL on failure.
 * @return The value, or NULL. */
TINE_API tine_value *tine_bytes_new(size_t size, void **data);

/** A tensor with a copy of an array.
 * @param t The type of its elements.
 * @param rank How many dimensions, at most #TINE_MAX_RANK.
 * @param shape `rank` sizes.
 * @param data The elements, in row-major order.
 * @return The value, or NULL. */
TINE_API tine_value *tine_tensor(tine_dtype t, int rank, const int64_t *shape, const void *data);

/** A tensor whose memory the caller fills before it passes the value on.
 * @param t The type of its elements.
 * @param rank How many dimensions, at most #TINE_MAX_RANK.
 * @param shape `rank` sizes.
 * @param[out] data Where its elements lie, aligned to 64 bytes, not initialised; the value owns
 *     them.
 * @return The value, or NULL. */
TINE_API tine_value *tine_tensor_new(tine_dtype t, int rank, const int64_t *shape, void **data);

/** A tensor over memory of the caller, which is not copied. It must not change while the value
 * lives.
 * @param t The type of its elements.
 * @param rank How many dimensions, at most #TINE_MAX_RANK.
 * @param shape `rank` sizes.
 * @param data The elements, aligned for their type.
 * @param release Called once when nothing uses the memory any more: on any thread, perhaps inside
 *     a call of yours, under no lock of Tine's. It must not call Tine. May be NULL.
 * @param ctx Given to release.
 * @return The value, or NULL: then release is not called. */
TINE_API tine_value *tine_tensor_wrap(tine_dtype t, int rank, const int64_t *shape, void *data,
                                      void (*release)(void *ctx), void *ctx);

/** A tensor of equal elements.
 * @param t The type of its elements.
 * @param rank How many dimensions, at most #TINE_MAX_RANK.
 * @param shape `rank` sizes.
 * @param x The number; EINVAL if it does not fit the type.
 * @return The value, or NULL. */
TINE_API tine_value *tine_full(tine_dtype t, int rank, const int64_t *shape, double x);

/** A tensor of ones: `tine_ones(TINE_F32, 2, TINE_SHAPE(2, 3))`.
 * @param t The type of its elements.
 * @param rank How many dimensions.
 * @param ... The shape.
 * @return The value, or NULL. */
#define tine_ones(t, rank, ...) tine_full(t, rank, __VA_ARGS__, 1.0)

/** A tensor of zeros.
 * @param t The type of its elements.
 * @param rank How many dimensions.
 * @param ... The shape.
 * @return The value, or NULL. */
#define tine_zeros(t, rank, ...) tine_full(t, rank, __VA_ARGS__, 0.0)

/** A list of up to 16 items: `tine_list(ARG…)`, each as in tine_fork(), without keywords. More:
 * tine_list_of().
 * @param ... The items.
 * @return The value, or NULL. */
#define tine_list(...) TINE_LIST_(__VA_ARGS__)

/** What Python returns as a tuple, `return a, b`: a list.
 * @param ... The items, as for tine_list().
 * @return The value, or NULL. */
#define tine_tuple(...) tine_list(__VA_ARGS__)

/** A list from an array.
 * @param items The items; the list takes references of its own.
 * @param n How many; may be 0.
 * @return The value, or NULL. */
TINE_API tine_value *tine_list_of(tine_value *const *items, size_t n);

/** A list of futures: in a call's arguments, the list of their results.
 * @param f The futures; the list takes references of its own.
 * @param n How many; may be 0.
 * @return The value, or NULL. */
TINE_API tine_value *tine_list_of_futures(tine_future *const *f, size_t n);

/** A dict from arrays. It keeps the order given.
 * @param keys n different strings, copied. EINVAL if one is there twice, or is not UTF-8.
 * @param items n items; the dict takes references of its own.
 * @param n How many; may be 0.
 * @return The value, or NULL. */
TINE_API tine_value *tine_dict_of(const char *const *keys, tine_value *const *items, size_t n);

/** A future as an item of a list or dict, replaced by its result in a call's arguments.
 * @param f The future; the value takes a reference of its own.
 * @return The value, or NULL. */
TINE_API tine_value *tine_future_value(tine_future *f);

/** Ships a value once: the result stands for it in later calls, which carry a reference, and a
 * worker fetches the value itself at most once. Blocks for futures inside the value.
 * @param v A value.
 * @return A value equal to v. When its last reference is released the workers drop their copies. */
TINE_API tine_value *tine_put(const tine_value *v);

/** @} */
/** @defgroup files Files
 * Tensors in safetensors files (https://github.com/huggingface/safetensors), which PyTorch, JAX and
 * NumPy write with `save_file`.
 * @{ */

/** The tensors of a file by name: what `tine_module("lstm", …)` takes as `state_dict`. The file is
 * mapped, and its tensors lie in the mapping as long as they live: the file may be replaced or
 * removed meanwhile, but not changed or truncated. A tensor that is not aligned is copied; f16
 * becomes float32, bool uint8, i8, i16 and u16 int32, u32 int64.
 * @param path A safetensors file. One that is not valid in every detail is refused as a whole.
 * @param prefix "models.0.cell_f", with or without a point at its end: only the tensors whose
 *     names begin so, and without it. NULL or "": all.
 * @return A dict, or NULL. EIO: the file cannot be read; EINVAL: it is no safetensors file, has a
 *     dtype that Tine lacks, or no tensor with that prefix; ENOMEM. */
TINE_API tine_value *tine_load(const char *path, const char *prefix);

/** Writes a dict of tensors to a safetensors file. A file that is at the path is replaced once the
 * new one is complete, so that tensors loaded from it stay valid. A path that is not a regular file
 * (a device, a pipe, a symbolic link) is written in place.
 * @param path The file.
 * @param tensors A dict of tensors.
 * @return TINE_OK; EINVAL: there is another kind of value, or a key "__metadata__"; EIO: the file
 *     cannot be written; ENOMEM. */
TINE_API tine_error tine_save(const char *path, const tine_value *tensors);

/** @} */
/** @defgroup reading Reading values
 * What is in a value. What these functions return is borrowed from the value and valid as long as
 * it is. For a value of the wrong kind they return 0, false or NULL and set EINVAL; inside a task
 * that also fails the task, whatever it returns. Where several kinds are right, ask tine_kind_of()
 * first.
 * @{ */

/** What a value is.
 * @param v A value, or NULL.
 * @return Its kind; TINE_NONE for NULL. */
TINE_API tine_kind tine_kind_of(const tine_value *v);

/** The name of a kind.
 * @param k A kind.
 * @return "tensor" for TINE_TENSOR; a constant, never NULL. */
TINE_API const char *tine_kind_name(tine_kind k);

/** The bool in a value.
 * @param v A bool, or the int 0 or 1.
 * @return It. */
TINE_API bool tine_as_bool(const tine_value *v);

/** The int in a value.
 * @param v An int, or, like PyTorch's item(), a tensor with one element that is a whole number.
 * @return It. */
TINE_API int64_t tine_as_int(const tine_value *v);

/** The float in a value.
 * @param v A float, an int, or a tensor with one element. An int that a double does not hold
 *     exactly (some past 2^53 in magnitude) is refused with EINVAL.
 * @return It. */
TINE_API double tine_as_float(const tine_value *v);

/** The text of a string.
 * @param v A string.
 * @return UTF-8 with a zero byte at its end. */
TINE_API const char *tine_as_string(const tine_value *v);

/** The bytes in a value.
 * @param v Bytes.
 * @param[out] size How many; 0 on failure. May be NULL.
 * @return The first byte. */
TINE_API const void *tine_as_bytes(const tine_value *v, size_t *size);

/** An item by its index.
 * @param list A list or a dict.
 * @param i From 0.
 * @return The item; NULL with EINVAL past the end. */
TINE_API const tine_value *tine_at(const tine_value *list, size_t i);

/** An item by its key.
 * @param dict A dict.
 * @param key A string.
 * @return The item; NULL with EINVAL if there is no such key. */
TINE_API const tine_value *tine_get(const tine_value *dict, const char *key);

/** How many items, bytes or rows a value has.
 * @param v A list or dict: its items; a string or bytes: its bytes; a tensor: its first size.
 * @return The number. */
TINE_API size_t tine_length(const tine_value *v);

/** A key by its index.
 * @param dict A dict.
 * @param i From 0.
 * @return The key; NULL with EINVAL past the end. */
TINE_API const char *tine_key_at(const tine_value *dict, size_t i);

/** The type of a tensor's elements.
 * @param tensor A tensor.
 * @return The type; 0 with EINVAL if the value is no tensor. */
TINE_API tine_dtype tine_dtype_of(const tine_value *tensor);

/** How many dimensions a tensor has.
 * @param tensor A tensor.
 * @return 0 to #TINE_MAX_RANK. */
TINE_API int tine_rank(const tine_value *tensor);

/** The sizes of a tensor.
 * @param tensor A tensor.
 * @return tine_rank() numbers. */
TINE_API const int64_t *tine_shape(const tine_value *tensor);

/** The elements of a tensor.
 * @param tensor A tensor.
 * @return tine_elements() of them, in row-major order, aligned for their type. They must not be
 *     written: they may lie in memory of another process, which is mapped for reading. In a process
 *     that the program forks they are right only while this one keeps the value. */
TINE_API const void *tine_data(const tine_value *tensor);

/** How many elements a tensor has.
 * @param tensor A tensor.
 * @return The product of its sizes. */
TINE_API int64_t tine_elements(const tine_value *tensor);

/** Whether two values are the same in kind, shape and bits, with all they contain: a NaN equals
 * itself, and 0.0 differs from -0.0.
 * @param a A value, or NULL.
 * @param b A value, or NULL.
 * @return True if so. */
TINE_API bool tine_equal(const tine_value *a, const tine_value *b);

/** Writes a value to standard output in PyTorch's notation, and a newline.
 * @param v A value, or NULL. */
TINE_API void tine_print(const tine_value *v);

/** @} */
/** @defgroup references References
 * Values, futures, promises and completers are reference-counted; counting is safe from any thread.
 * @{ */

/** @cond internal */
TINE_API tine_value *tine_ref_value_(const tine_value *v);
TINE_API tine_future *tine_ref_future_(tine_future *f);
TINE_API tine_promise *tine_ref_promise_(tine_promise *p);
TINE_API tine_completer *tine_ref_completer_(tine_completer *c);
TINE_API void tine_release_value_(const tine_value *v);
TINE_API void tine_release_future_(const tine_future *f);
TINE_API void tine_release_promise_(tine_promise *p);
TINE_API void tine_release_completer_(tine_completer *c);
/** @endcond */

/** Takes one more reference.
 * @param x A `tine_value *`, `tine_future *`, `tine_promise *` or `tine_completer *`; NULL is
 *     allowed.
 * @return x. */
#define tine_ref(x) TINE_REF_(x)

/** Releases one reference. Releasing a future that is pending does not cancel its task (see
 * tine_cancel()): the task runs on, and its result is dropped.
 * @param x A `tine_value *`, `tine_future *`, `tine_promise *` or `tine_completer *`; NULL is
 *     allowed. */
#define tine_release(x) TINE_RELEASE_(x)

/** @} */
/** @defgroup functions Functions
 * A function is registered under its name when the program is loaded, in every process alike, so
 * that a task is sent as a name and its arguments.
 *
 * PARAMETERS are written as in Python: "x, dim=0", "*tensors", "x, *, keep=false". The argument of
 * "*tensors" is a list of all further positional ones, that of "**options" a dict. A default is a
 * number, true, false, none or a 'string'. A parameter can have up to three other names for its
 * keyword: "input|x, dim|axis=0". A parameter whose default is true or false takes a bool, also as
 * 0 or 1, and nothing else; one whose default is a float gets an int as a float.
 * @{ */

/** What is registered: computes the result of one call. A worker runs one task at a time, and
 * others while it waits; it is a process (with inproc://, a thread). So memory that a worker uses
 * in call after call, such as scratch space, is a `static _Thread_local` variable, whose contents
 * do not outlast a wait.
 * @param task The call, with its arguments.
 * @return The result: a reference that the function was given in this call, or borrowed from an
 *     argument. NULL fails the task with tine_error_message(). */
typedef tine_value *(*tine_function)(tine_task *task);

/** Flags of functions and methods. */
enum {
    /** Safe to run again when its worker is lost (see tine_options::retries). */
    TINE_REPEATABLE = 1,
    /** On a worker it runs on a thread of its own, with the system's default stack, instead of on
     * one of `stack_size` bytes: for code that needs a deep stack or keeps state for each thread,
     * such as another language's interpreter. The worker still runs one task at a time. A fork and
     * wait takes some 10 us longer. */
    TINE_THREAD = 2,
    /** It owns the references that it is given, as the program does, and gives its result's to the
     * caller: for a binding whose objects release what they hold, perhaps after the task. */
    TINE_OWNS = 4
};

/** Defines and registers a function: `TINE_FUNCTION(foo, "x") { … return value; }`. In the body the
 * call is `task`.
 * @param name An identifier, unique in the program.
 * @param parameters A string. */
#define TINE_FUNCTION(name, parameters) TINE_FUNCTION_FLAGS(name, parameters, 0)

/** The same for a function that is safe to run again (#TINE_REPEATABLE).
 * @param name An identifier, unique in the program.
 * @param parameters A string. */
#define TINE_REPEATABLE_FUNCTION(name, parameters)                                                 \
    TINE_FUNCTION_FLAGS(name, parameters, TINE_REPEATABLE)

/** The same with any flags.
 * @param name An identifier, unique in the program.
 * @param parameters A string.
 * @param flags 0, or #TINE_REPEATABLE, #TINE_THREAD, #TINE_OWNS, joined with |. */
#define TINE_FUNCTION_FLAGS(name, parameters, flags)                                               \
    static tine_value *tine_fn_##name(tine_task *task);                                            \
    __attribute__((constructor)) static void tine_register_fn_##name(void) {                       \
        tine_register_function(#name, parameters, TINE_CATCH(tine_fn_##name), flags);              \
    }                                                                                              \
    static tine_value *tine_fn_##name(__attribute__((unused)) tine_task *task)

/** A function whose C++ exceptions become the error of its task, EFAILED with what(). For
 * tine_register_function(), tine_method::call and tine_class::init of C++ programs; TINE_FUNCTION()
 * uses it. In C it is the function itself.
 * @param fn A function with a #tine_task as its only parameter. */
#define TINE_CATCH(fn) TINE_CATCH_(fn)

/** Registers a function. A name that is registered twice, or parameters that cannot be read, end
 * the program with a message.
 * @param name Its name, copied.
 * @param parameters Its parameters.
 * @param fn What to call.
 * @param flags 0, or #TINE_REPEATABLE, #TINE_THREAD, #TINE_OWNS, joined with |. */
TINE_API void tine_register_function(const char *name, const char *parameters, tine_function fn,
                                     int flags);

/** An argument of a call, bound to its parameter.
 * @param task The call.
 * @param i The parameter's index, from 0.
 * @return Borrowed until the function returns; NULL, and the task fails, if there is no such
 *     parameter. */
TINE_API const tine_value *tine_arg(tine_task *task, size_t i);

/** An argument that must be an int, or an int tensor with one element.
 * @param task The call.
 * @param i The parameter's index, from 0.
 * @return The number; 0, and the task fails, if it is something else. */
TINE_API int64_t tine_arg_int(tine_task *task, size_t i);

/** An argument that must be a bool, or the int 0 or 1, which C11's false and true are.
 * @param task The call.
 * @param i The parameter's index, from 0.
 * @return The bool; false, and the task fails, if it is something else. */
TINE_API bool tine_arg_bool(tine_task *task, size_t i);

/** An argument that must be a float, an int that a double holds exactly, or a tensor with one
 * element of these.
 * @param task The call.
 * @param i The parameter's index, from 0.
 * @return The number; 0, and the task fails, if it is something else. */
TINE_API double tine_arg_float(tine_task *task, size_t i);

/** An argument that must be a string.
 * @param task The call.
 * @param i The parameter's index, from 0.
 * @return Borrowed until the function returns; NULL, and the task fails, if it is something
 *     else. */
TINE_API const char *tine_arg_string(tine_task *task, size_t i);

/** An argument that must be a tensor.
 * @param task The call.
 * @param i The parameter's index, from 0.
 * @param t The type that its elements must have; 0: any.
 * @param rank The dimensions that it must have; -1: any.
 * @return Borrowed until the function returns; NULL, and the task fails, if it is something
 *     else. */
TINE_API const tine_value *tine_arg_tensor(tine_task *task, size_t i, tine_dtype t, int rank);

/** Fails a task: `return tine_fail(task, "there is no row %d", i);`
 * @param task The call.
 * @param format The sentence, as for printf.
 * @param ... What format needs.
 * @return NULL. */
TINE_API tine_value *tine_fail(tine_task *task, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/** @} */
/** @defgroup modules Modules
 * A module is an instance of a class: state that lives on workers, with methods that are called on
 * it. Built in are "lstm", "gru", "linear", "embedding", "layer_norm", "dropout" and "sequential",
 * with the parameters and results of torch.nn's classes, and "bilstm" and "ensemble", the
 * tutorial's. Their last parameters are `state_dict` (a dict of tensors, from tine_load() say),
 * `prefix` (which of its items are this module's; by itself where there is one place for them) and
 * `seed` (of initial weights, where there is no state_dict); launch/MODELS.md has the details.
 * @{ */

/** A method of a class. */
typedef struct tine_method {
    const char *name;       /**< "forward" is what `tine_fork(module, …)` calls. */
    const char *parameters; /**< As for TINE_FUNCTION(). */
    tine_function call;     /**< Finds the state with tine_self(). */
    int flags;              /**< 0, or #TINE_REPEATABLE, #TINE_THREAD, #TINE_OWNS, joined with |. */
} tine_method;

/** A class of modules. */
typedef struct tine_class {
    const char *name;       /**< Unique in the program. */
    const char *parameters; /**< Of the constructor, as for TINE_FUNCTION(). */
    /** Makes the state of one instance from the constructor's arguments: in each process that calls
     * a method, once. NULL fails the call that needed it. The state may hold values, put values
     * and modules (tine_ref() them, and tine_release() them in `fini`): they live as long. */
    void *(*init)(tine_task *task);
    void (*fini)(void *self);   /**< Frees the state. May be NULL. */
    const tine_method *methods; /**< Ends with a zeroed one. */
} tine_class;

/** Flags of classes. */
enum {
    /** A module has one instance, on one worker: `init` and all calls run there, one after another
     * in the order of their forks. The state is what the last call has left, also where that failed
     * or was cancelled. The first call chooses the worker, by its fork options too. A call
     * that waits keeps its turn: it must not wait for a later call of its own module. tine_call()
     * is for methods of the same module. When the worker is lost, so is the state: the call that
     * ran, and all others from then on, fail with ELOST. */
    TINE_MODULE_SINGLE = 8,
    /** With #TINE_MODULE_SINGLE: then the call that ran fails with ELOST, or runs again where it is
     * #TINE_REPEATABLE, and the later ones run on an instance that `init` makes anew. */
    TINE_MODULE_RENEW = 16
};

/** Registers a class when the program is loaded, in every process alike.
 * @param c A static #tine_class. */
#define TINE_CLASS(c) TINE_CLASS_FLAGS(c, 0)

/** The same with flags: `TINE_CLASS_FLAGS(counter, TINE_MODULE_SINGLE)`.
 * @param c A static #tine_class.
 * @param flags 0, or #TINE_MODULE_SINGLE, #TINE_MODULE_RENEW, joined with |. */
#define TINE_CLASS_FLAGS(c, flags)                                                                 \
    __attribute__((constructor)) static void tine_register_class_##c(void) {                       \
        tine_register_class_flags(&c, flags);                                                      \
    }

/** Registers a class. A name that is registered twice, or parameters that cannot be read, end the
 * program with a message.
 * @param c The class; it must live as long as the program. */
TINE_API void tine_register_class(const tine_class *c);

/** The same with flags.
 * @param c The class; it must live as long as the program.
 * @param flags 0, or #TINE_MODULE_SINGLE, #TINE_MODULE_RENEW, joined with |. */
TINE_API void tine_register_class_flags(const tine_class *c, int flags);

/** A module: `tine_module(CLASS, ARG…)`. Its arguments travel to a worker once, with the first call
 * there. Blocks for futures among the arguments.
 * @param ... The name of the class, and the constructor's arguments as in tine_fork().
 * @return The module, one reference to be released; NULL on failure. What `init` does wrong comes
 *     out at the calls. */
#define tine_module(...) tine_module_args(TINE_ARGS_(__VA_ARGS__))

/** The state that `init` made of the module whose method runs.
 * @param task The call of a method.
 * @return Its state; NULL in a call of a function. */
TINE_API void *tine_self(tine_task *task);

/** The module whose method runs, so that a method can fork another one:
 * `tine_fork_method(tine_self_module(task), "other", x)`.
 * @param task The call of a method.
 * @return The module, one reference; NULL with ESTATE in a function and in `init`. */
TINE_API tine_value *tine_self_module(tine_task *task);

/** @} */
/** @defgroup trace Trace
 * What every process did and when, on one clock, for `tine trace`, ui.perfetto.dev and
 * chrome://tracing.
 * @{ */

/** Starts recording, in every process; what was recorded before is forgotten.
 * @return TINE_OK; ESTATE: Tine is not running; ENOMEM. */
TINE_API tine_error tine_trace_start(void);

/** Stops recording, in every process. What is recorded stays until it is written or recording is
 * started again.
 * @return TINE_OK; ESTATE: Tine is not running. */
TINE_API tine_error tine_trace_stop(void);

/** Gathers what all processes have recorded and writes it to a file. Blocks until the workers have
 * answered, or a few seconds have passed.
 * @param path The file: in Perfetto's binary format (its perfetto_trace.proto) if its name ends in
 *     `.pftrace`, else in the Trace Event Format. A regular file is replaced once the trace is
 *     complete; another one (a device, a pipe, a symbolic link) is written in place.
 * @return TINE_OK; ESTATE: Tine is not running; EIO: the file cannot be written; ENOMEM. */
TINE_API tine_error tine_trace_write(const char *path);

/** @} */
/** @defgroup arrays Calls from arrays
 * What the macros of @ref calling call, for bindings, and for calls whose arguments are counted at
 * run time.
 * @{ */

/** One argument of a call. */
typedef struct tine_argument {
    const char *key; /**< The parameter's name; NULL: positional. */
    /** Which member of the union holds the argument. */
    enum {
        TINE_ARG_VALUE,  /**< value */
        TINE_ARG_FUTURE, /**< future */
        TINE_ARG_INT,    /**< i */
        TINE_ARG_FLOAT,  /**< d */
        TINE_ARG_BOOL,   /**< b */
        TINE_ARG_STRING, /**< s */
        TINE_ARG_UINT    /**< u */
    } type;
    union {
        const tine_value *value; /**< Borrowed. */
        tine_future *future;     /**< Borrowed. */
        int64_t i;               /**< An int. */
        double d;                /**< A float. */
        bool b;                  /**< A bool. */
        const char *s;           /**< A string, borrowed. */
        uint64_t u;              /**< An int; EINVAL if it is past INT64_MAX. */
    };
} tine_argument;

/** An argument for an array, `tine_argument args[] = {TINE_ARGUMENT("sum"), TINE_ARGUMENT(x),
 * tine_kw("dim", 0)};`, with any number of them.
 * @param x As in tine_fork(). */
#define TINE_ARGUMENT(x) TINE_ARG_(x)

/** tine_fork() and tine_fork_method().
 * @param method The method's name; NULL: "forward". Ignored where the target is a function.
 * @param args The target and the arguments, borrowed until the call returns.
 * @param n How many, with the target.
 * @return A future, as from tine_fork(). */
TINE_API tine_future *tine_fork_args(const char *method, const tine_argument *args, size_t n);

/** tine_try_fork().
 * @param method The method's name; NULL: "forward". Ignored where the target is a function.
 * @param args The target and the arguments, borrowed until the call returns.
 * @param n How many, with the target.
 * @return A future, as from tine_try_fork(). */
TINE_API tine_future *tine_try_fork_args(const char *method, const tine_argument *args, size_t n);

/** tine_fork_with().
 * @param options The options, borrowed until the call returns; NULL: the defaults.
 * @param args The target and the arguments, likewise.
 * @param n How many, with the target.
 * @return A future, as from tine_fork_with(). */
TINE_API tine_future *tine_fork_with_args(const tine_fork_options *options,
                                          const tine_argument *args, size_t n);

/** tine_fork_everywhere().
 * @param method The method's name; NULL: "forward". Ignored where the target is a function.
 * @param args The target and the arguments, borrowed until the call returns.
 * @param n How many, with the target.
 * @return A future, as from tine_fork_everywhere(). */
TINE_API tine_future *tine_fork_everywhere_args(const char *method, const tine_argument *args,
                                                size_t n);

/** tine_initialise().
 * @param args The function's name and the arguments, borrowed until the call returns.
 * @param n How many, with the name.
 * @return A future, as from tine_initialise(). */
TINE_API tine_future *tine_initialise_args(const tine_argument *args, size_t n);

/** tine_call() and tine_call_method().
 * @param method The method's name; NULL: "forward". Ignored where the target is a function.
 * @param args The target and the arguments, borrowed until the call returns.
 * @param n How many, with the target.
 * @return The result, as from tine_call(). */
TINE_API tine_value *tine_call_args(const char *method, const tine_argument *args, size_t n);

/** tine_module().
 * @param args The name of the class and the arguments, borrowed until the call returns.
 * @param n How many, with the name.
 * @return The module, as from tine_module(). */
TINE_API tine_value *tine_module_args(const tine_argument *args, size_t n);

/** @} */
/** @cond internal */

TINE_API tine_value *tine_list_args_(const tine_argument *args, size_t n);

#ifndef __cplusplus
static inline tine_argument tine_arg_value_(const tine_value *v) {
    return (tine_argument){NULL, TINE_ARG_VALUE, {.value = v}};
}
static inline tine_argument tine_arg_future_(tine_future *f) {
    return (tine_argument){NULL, TINE_ARG_FUTURE, {.future = f}};
}
static inline tine_argument tine_arg_int_(int64_t i) {
    return (tine_argument){NULL, TINE_ARG_INT, {.i = i}};
}
static inline tine_argument tine_arg_uint_(uint64_t u) {
    return (tine_argument){NULL, TINE_ARG_UINT, {.u = u}};
}
static inline tine_argument tine_arg_float_(double d) {
    return (tine_argument){NULL, TINE_ARG_FLOAT, {.d = d}};
}
static inline tine_argument tine_arg_bool_(bool b) {
    return (tine_argument){NULL, TINE_ARG_BOOL, {.b = b}};
}
static inline tine_argument tine_arg_string_(const char *s) {
    return (tine_argument){NULL, TINE_ARG_STRING, {.s = s}};
}
static inline tine_argument tine_arg_self_(tine_argument a) { return a; }
static inline tine_argument tine_keyword_(const char *key, tine_argument a) {
    a.key = key ? key : "";
    return a;
}

/* clang-format off: it does not know _Generic */
#define TINE_ARG_(x)                                                                               \
    _Generic((x),                                                                                  \
        tine_value *: tine_arg_value_,                                                             \
        const tine_value *: tine_arg_value_,                                                       \
        tine_future *: tine_arg_future_,                                                           \
        bool: tine_arg_bool_,                                                                      \
        char *: tine_arg_string_,                                                                  \
        const char *: tine_arg_string_,                                                            \
        float: tine_arg_float_,                                                                    \
        double: tine_arg_float_,                                                                   \
        tine_argument: tine_arg_self_,                                                             \
        char: tine_arg_int_,                                                                       \
        signed char: tine_arg_int_,                                                                \
        unsigned char: tine_arg_int_,                                                              \
        short: tine_arg_int_,                                                                      \
        unsigned short: tine_arg_int_,                                                             \
        int: tine_arg_int_,                                                                        \
        unsigned: tine_arg_int_,                                                                   \
        long: tine_arg_int_,                                                                       \
        long long: tine_arg_int_,                                                                  \
        unsigned long: tine_arg_uint_,                                                             \
        unsigned long long: tine_arg_uint_)(x)
#define TINE_REF_(x)                                                                               \
    _Generic((x),                                                                                  \
        tine_future *: tine_ref_future_,                                                           \
        tine_promise *: tine_ref_promise_,                                                         \
        tine_completer *: tine_ref_completer_,                                                     \
        tine_value *: tine_ref_value_,                                                             \
        const tine_value *: tine_ref_value_)(x)
#define TINE_RELEASE_(x)                                                                           \
    _Generic((x),                                                                                  \
        tine_future *: tine_release_future_,                                                       \
        const tine_future *: tine_release_future_,                                                 \
        tine_promise *: tine_release_promise_,                                                     \
        tine_completer *: tine_release_completer_,                                                 \
        tine_value *: tine_release_value_,                                                         \
        const tine_value *: tine_release_value_)(x)
/* clang-format on */
#define TINE_CATCH_(fn) fn
#define TINE_SHAPE_(...) ((const int64_t[]){__VA_ARGS__})
#define TINE_ARGS_(...) ((const tine_argument[]){TINE_MAP_(__VA_ARGS__)}), TINE_COUNT_(__VA_ARGS__)
#define TINE_COUNT_(...)                                                                           \
    TINE_17TH_(__VA_ARGS__, 17, 16, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0)
#define TINE_17TH_(a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, N, ...) N
#define TINE_MAP_(...) TINE_JOIN_(TINE_MAP, TINE_COUNT_(__VA_ARGS__))(__VA_ARGS__)
#define TINE_JOIN_(a, b) TINE_JOIN2_(a, b)
#define TINE_JOIN2_(a, b) a##b
#define TINE_MAP1(x) TINE_ARG_(x)
#define TINE_MAP2(x, ...) TINE_ARG_(x), TINE_MAP1(__VA_ARGS__)
#define TINE_MAP3(x, ...) TINE_ARG_(x), TINE_MAP2(__VA_ARGS__)
#define TINE_MAP4(x, ...) TINE_ARG_(x), TINE_MAP3(__VA_ARGS__)
#define TINE_MAP5(x, ...) TINE_ARG_(x), TINE_MAP4(__VA_ARGS__)
#define TINE_MAP6(x, ...) TINE_ARG_(x), TINE_MAP5(__VA_ARGS__)
#define TINE_MAP7(x, ...) TINE_ARG_(x), TINE_MAP6(__VA_ARGS__)
#define TINE_MAP8(x, ...) TINE_ARG_(x), TINE_MAP7(__VA_ARGS__)
#define TINE_MAP9(x, ...) TINE_ARG_(x), TINE_MAP8(__VA_ARGS__)
#define TINE_MAP10(x, ...) TINE_ARG_(x), TINE_MAP9(__VA_ARGS__)
#define TINE_MAP11(x, ...) TINE_ARG_(x), TINE_MAP10(__VA_ARGS__)
#define TINE_MAP12(x, ...) TINE_ARG_(x), TINE_MAP11(__VA_ARGS__)
#define TINE_MAP13(x, ...) TINE_ARG_(x), TINE_MAP12(__VA_ARGS__)
#define TINE_MAP14(x, ...) TINE_ARG_(x), TINE_MAP13(__VA_ARGS__)
#define TINE_MAP15(x, ...) TINE_ARG_(x), TINE_MAP14(__VA_ARGS__)
#define TINE_MAP16(x, ...) TINE_ARG_(x), TINE_MAP15(__VA_ARGS__)
#define TINE_LIST_(...) TINE_JOIN_(TINE_LIST, TINE_EMPTY_(__VA_ARGS__))(__VA_ARGS__)
#define TINE_LIST0(...) tine_list_args_(TINE_ARGS_(__VA_ARGS__))
#define TINE_LIST1(...) tine_list_args_(NULL, 0)
/* 1 for no arguments, in C11: an empty list makes no comma alone, before (), or behind a macro's
 * name; between that name and () it does. */
#define TINE_EMPTY_(...)                                                                           \
    TINE_HAS_COMMA_(TINE_JOIN5_(                                                                   \
        TINE_EMPTY, TINE_HAS_COMMA_(__VA_ARGS__), TINE_HAS_COMMA_(TINE_COMMA_ __VA_ARGS__),        \
        TINE_HAS_COMMA_(__VA_ARGS__()), TINE_HAS_COMMA_(TINE_COMMA_ __VA_ARGS__())))
#define TINE_EMPTY0001 ,
#define TINE_COMMA_(...) ,
#define TINE_HAS_COMMA_(...)                                                                       \
    TINE_17TH_(__VA_ARGS__, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0)
#define TINE_JOIN5_(a, b, c, d, e) TINE_JOIN6_(a, b, c, d, e)
#define TINE_JOIN6_(a, b, c, d, e) a##b##c##d##e
#endif
/** @endcond */

#ifdef __cplusplus
}
#include <exception>
#include <string>
#include <type_traits>
#include <utility>

/** @cond internal */
static inline tine_value *tine_ref_any_(const tine_value *v) { return tine_ref_value_(v); }
static inline tine_future *tine_ref_any_(tine_future *f) { return tine_ref_future_(f); }
static inline tine_promise *tine_ref_any_(tine_promise *p) { return tine_ref_promise_(p); }
static inline tine_completer *tine_ref_any_(tine_completer *c) { return tine_ref_completer_(c); }
static inline void tine_release_any_(const tine_value *v) { tine_release_value_(v); }
static inline void tine_release_any_(const tine_future *f) { tine_release_future_(f); }
static inline void tine_release_any_(tine_promise *p) { tine_release_promise_(p); }
static inline void tine_release_any_(tine_completer *c) { tine_release_completer_(c); }
#define TINE_REF_(x) tine_ref_any_(x)
#define TINE_RELEASE_(x) tine_release_any_(x)
/** @endcond */

/** @defgroup cpp C++
 * In C++17 the macros and functions are the same. Arguments may be `std::string`s and handles too,
 * and an exception that leaves a function of TINE_FUNCTION() or TINE_CATCH() becomes the error of
 * its task, EFAILED with what().
 * @{ */

namespace tine {

/** Owns one reference on a value, a future, a promise or a completer, or none. It is optional:
 * functions and macros take and give pointers as in C. */
template <class T> class handle {
    T *p_ = nullptr;

  public:
    handle() = default;
    /** Takes over the caller's reference: `tine::value y(tine_call("neg", x));`. */
    explicit handle(T *p) : p_(p) {}
    handle(const handle &other) : p_(TINE_REF_(other.p_)) {}
    handle(handle &&other) noexcept : p_(std::exchange(other.p_, nullptr)) {}
    handle &operator=(handle other) noexcept {
        std::swap(p_, other.p_);
        return *this;
    }
    ~handle() { TINE_RELEASE_(p_); }

    /** The pointer, borrowed; NULL: none. */
    T *get() const { return p_; }
    /** Gives the reference to the caller, for the result of a task: `return y.detach();`. */
    T *detach() { return std::exchange(p_, nullptr); }
    /** Releases the reference; where a function writes another: `tine_wait(f.get(), y.out())`. */
    T **out() {
        *this = handle();
        return &p_;
    }
    /** Whether it holds one: NULL is the result of a call that failed. */
    explicit operator bool() const { return p_ != nullptr; }
};

using value = handle<tine_value>;         /**< A `tine_value *` that is released. */
using future = handle<tine_future>;       /**< A `tine_future *` that is released. */
using promise = handle<tine_promise>;     /**< A `tine_promise *` that is released. */
using completer = handle<tine_completer>; /**< A `tine_completer *` that is released. */

} // namespace tine

/** @} */
/** @cond internal */

struct tine_shape_ {
    int64_t sizes[TINE_MAX_RANK];
    const int64_t *data() const { return sizes; }
};
#define TINE_SHAPE_(...) (tine_shape_{{__VA_ARGS__}}.data())

template <class T> tine_argument tine_argument_of_(const T &x) {
    tine_argument a = {};
    if constexpr (std::is_same_v<T, tine_argument>) {
        a = x;
    } else if constexpr (std::is_same_v<T, bool>) {
        a.type = tine_argument::TINE_ARG_BOOL;
        a.b = x;
    } else if constexpr (std::is_same_v<T, float> || std::is_same_v<T, double>) {
        a.type = tine_argument::TINE_ARG_FLOAT;
        a.d = x;
    } else if constexpr (std::is_integral_v<T> && std::is_unsigned_v<T> && sizeof(T) == 8) {
        a.type = tine_argument::TINE_ARG_UINT;
        a.u = x;
    } else if constexpr (std::is_integral_v<T> || std::is_enum_v<T>) {
        a.type = tine_argument::TINE_ARG_INT;
        a.i = static_cast<int64_t>(x);
    } else if constexpr (std::is_convertible_v<T, const char *>) {
        a.type = tine_argument::TINE_ARG_STRING;
        a.s = x;
    } else if constexpr (std::is_same_v<T, std::string>) {
        a.type = tine_argument::TINE_ARG_STRING;
        a.s = x.c_str();
    } else if constexpr (std::is_convertible_v<T, const tine_value *>) {
        a.type = tine_argument::TINE_ARG_VALUE;
        a.value = x;
    } else if constexpr (std::is_convertible_v<T, tine_future *>) {
        a.type = tine_argument::TINE_ARG_FUTURE;
        a.future = x;
    } else if constexpr (std::is_same_v<T, tine::value> || std::is_same_v<T, tine::future>) {
        a = tine_argument_of_(x.get());
    } else {
        static_assert(std::is_same_v<T, bool>, "not an argument of a call: see tine_fork()");
    }
    return a;
}
template <class T> tine_argument tine_keyword_(const char *key, const T &x) {
    tine_argument a = tine_argument_of_(x);
    a.key = key ? key : "";
    return a;
}
#define TINE_ARG_(x) tine_argument_of_(x)

/* The arguments of one call. */
template <size_t N> struct tine_pack_ {
    static constexpr size_t count = N;
    tine_argument at[N > 0 ? N : 1];
    const tine_argument *data() const { return at; }
};
template <class... A> tine_pack_<sizeof...(A)> tine_pack_of_(const A &...a) {
    return {{tine_argument_of_(a)...}};
}
#define TINE_ARGS_(...)                                                                            \
    tine_pack_of_(__VA_ARGS__).data(), decltype(tine_pack_of_(__VA_ARGS__))::count
#define TINE_LIST_(...) tine_list_args_(TINE_ARGS_(__VA_ARGS__))

#ifdef __cpp_exceptions
template <auto F> auto tine_catch_(tine_task *task) -> decltype(F(task)) {
    try {
        return F(task);
    } catch (const std::exception &e) {
        tine_fail(task, "%s", e.what());
    } catch (...) {
        tine_fail(task, "an exception that is no std::exception");
    }
    return nullptr;
}
#define TINE_CATCH_(fn) tine_catch_<fn>
#else
#define TINE_CATCH_(fn) fn
#endif
/** @endcond */
#endif
#endif
