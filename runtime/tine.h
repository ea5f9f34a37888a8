/* Tine: fork and wait across processes. The one public header.
 *
 *     TINE_FUNCTION(foo, "x") { return tine_call("neg", tine_arg(task, 0)); }
 *
 *     int main(int argc, char **argv) {
 *         tine_init(&argc, argv, NULL);                  // starts the workers, or becomes one
 *         tine_value *x = tine_ones(TINE_F32, 1, (int64_t[]){1}), *y;
 *         tine_future *future = tine_fork("foo", x);      // returns at once
 *         if (tine_wait(future, &y) == TINE_OK) tine_print(y);
 *         return tine_shutdown();
 *     }
 *
 * Ownership. Values are immutable and reference-counted; a call borrows its arguments and takes
 * references of its own. A function that makes a value or a future gives the caller one reference,
 * to be given back with tine_release. Inside a task that is optional: what a task made is released
 * when it returns; what it took with tine_ref is not (a module may keep it), unless it returns just
 * that. NULL is accepted wherever a value is, and means that its maker failed: the error is passed
 * on.
 *
 * Errors. Functions that return a value return NULL on failure, the others a tine_error;
 * tine_error_message() then holds a sentence, per thread and per task. tine_fork never fails: what
 * is wrong comes out at tine_wait.
 *
 * Threads. Any thread of the coordinator may call anything here, except that tine_init and
 * tine_shutdown are for one. */
#ifndef TINE_H
#define TINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define TINE_API __attribute__((visibility("default")))

typedef struct tine_value tine_value;
typedef struct tine_future tine_future;
typedef struct tine_task tine_task; /* one running call; what a function is given */

typedef enum tine_error {
    TINE_OK = 0,
    TINE_EINVAL,    /* a wrong argument, option or file */
    TINE_ENOMEM,    /* no memory */
    TINE_EUNKNOWN,  /* no worker serves this function, class or method */
    TINE_EFAILED,   /* the task itself failed */
    TINE_ELOST,     /* the worker (or the coordinator) went away */
    TINE_ETIMEDOUT, /* a deadline passed */
    TINE_ECANCELED, /* Tine was shut down first */
    TINE_EAGAIN,    /* a limit is reached: try later */
    TINE_EPROTO,    /* a peer broke the wire format */
    TINE_EIO,       /* the transport or the operating system refused */
    TINE_ESTATE,    /* called at the wrong time: before tine_init, after tine_shutdown */
} tine_error;

/* The sentence behind the last error of this thread (inside a task: of this task): what happened,
 * to what, and what to do; for a remote error with function, worker (pid, host, rank), attempt and
 * cause. Never NULL; valid until the next call that fails. */
TINE_API const char *tine_error_message(void);
TINE_API tine_error tine_last_error(void);
TINE_API const char *tine_error_name(tine_error e); /* "EFAILED" */

/* ---- starting and stopping ---- */

/* Zero or NULL means the default. Each is overridden by the variable TINE_NAME (TINE_WORKERS=…),
 * that by --tine-name=… on the command line given to tine_init (removed from argv). `tine info`
 * prints what is in force. */
typedef struct tine_options {
    /* ipc://PATH, tcp://HOST:PORT, inproc://NAME or mpi://; default: a private ipc path, or mpi://
     * when started by mpirun or srun */
    const char *endpoint;
    /* how many to start here; default: one a core. -1: none, they join with `tine worker` */
    int workers;
    /* wait at start until so many have joined; default: those started here */
    int await_workers;
    int threads;        /* BLAS threads of one worker; default 1 */
    size_t stack_size;  /* bytes of a task's stack; default 256 KiB, a guard page below */
    size_t max_pending; /* tasks not yet started past which tine_fork waits; default 65536 */
    /* bytes of their arguments, likewise; default 1 GiB (one task always passes) */
    size_t max_pending_bytes;
    /* bytes of one message past which a peer is dropped; default 64 GiB */
    size_t max_frame;
    int retries;            /* further attempts of a task declared safe to repeat; default 3 */
    double connect_timeout; /* seconds to wait for workers at start; default 30 */
    double heartbeat;       /* seconds between signs of life of remote workers; default 1 */
    const char *log_level;  /* error, warn (default), info, debug */
    const char *trace;      /* write a Chrome trace here at shutdown */
} tine_options;

/* Reads the settings, then either starts the workers and returns, as coordinator, or, in a process
 * that was started as a worker, serves until it is told to stop and exits: it does not return
 * there. argc and argv may be NULL. Errors: EINVAL (a wrong setting, named), EIO, ETIMEDOUT (no
 * worker came), ESTATE (already started). */
TINE_API tine_error tine_init(int *argc, char **argv, const tine_options *options);
/* Ends the workers, waits for them, frees everything; futures not yet done complete with ECANCELED.
 * The exit code for main: 0, or 1 when the trace could not be written. May be called twice; not in
 * a callback, nor while another thread is about to fork. */
TINE_API int tine_shutdown(void);
TINE_API int tine_worker_count(void);     /* workers joined now */
TINE_API const char *tine_endpoint(void); /* where workers can join; NULL before tine_init */

/* ---- fork and wait ---- */

/* tine_fork(TARGET, ARG…): TARGET is a registered function's name, or a module (its `forward` is
 * called). ARG: an int, a double, a bool, a string, a tine_value*, a tine_future* (resolved before
 * the task starts), or tine_kw("name", ARG). At most 15. Returns at once, unless max_pending is
 * reached: then it waits for a task to start. */
#define tine_fork(...) tine_fork_args(NULL, TINE_ARGS_(__VA_ARGS__))
#define tine_fork_method(module, name, ...) tine_fork_args(name, TINE_ARGS_(module, ##__VA_ARGS__))
/* The same call, made here and now by the caller. NULL on failure. */
#define tine_call(...) tine_call_args(NULL, TINE_ARGS_(__VA_ARGS__))
#define tine_call_method(module, name, ...) tine_call_args(name, TINE_ARGS_(module, ##__VA_ARGS__))
/* Like tine_fork, but at max_pending it gives NULL and EAGAIN instead of waiting. */
#define tine_try_fork(...) tine_try_fork_args(NULL, TINE_ARGS_(__VA_ARGS__))
#define tine_kw(name, arg) tine_keyword_((name), TINE_ARG_(arg))

/* Blocks until the future is done (inside a task: the worker runs other tasks meanwhile). `out` may
 * be NULL. On failure: the task's error. A future may be waited for any number of times, by any
 * thread. */
TINE_API tine_error tine_wait(tine_future *f, tine_value **out);
/* The same for at most `seconds`: ETIMEDOUT then, and the future goes on. */
TINE_API tine_error tine_wait_for(tine_future *f, double seconds, tine_value **out);
/* Blocks until one of n is done; its index goes to `index`. Its own error, if any, comes out at
 * tine_wait. */
TINE_API tine_error tine_wait_any(tine_future *const *f, size_t n, size_t *index);
/* Blocks until all are done; the first error in order, or OK with n values in out (may be NULL). */
TINE_API tine_error tine_wait_all(tine_future *const *f, size_t n, tine_value **out);
TINE_API bool tine_done(
    const tine_future *
        f); /* a task that asks again and again must wait in between: replies come to those who wait */
/* Calls fn once when f is done, at once if it is: on the thread that drives Tine at that moment,
 * holding no lock. It may fork, not wait. */
TINE_API tine_error tine_then(tine_future *f, void (*fn)(tine_future *f, void *ctx), void *ctx);

/* ---- values ---- */

typedef enum tine_kind {
    TINE_NONE,
    TINE_BOOL,
    TINE_INT,
    TINE_FLOAT,
    TINE_STRING,
    TINE_BYTES,
    TINE_TENSOR,
    TINE_LIST,
    TINE_DICT,
    TINE_FUTURE,
    TINE_MODULE_REF
} tine_kind;
typedef enum tine_dtype {
    TINE_F32 = 1,
    TINE_F64,
    TINE_BF16,
    TINE_I64,
    TINE_I32,
    TINE_U8
} tine_dtype;
enum { TINE_MAX_RANK = 8 };

TINE_API tine_value *tine_none(void);
TINE_API tine_value *tine_bool(bool b);
TINE_API tine_value *tine_int(int64_t i);
TINE_API tine_value *tine_float(double d);
TINE_API tine_value *tine_string(const char *utf8);
TINE_API tine_value *tine_bytes(const void *data, size_t size);
/* Row-major, contiguous. rank 0 is a scalar. tine_tensor copies `data`; tine_tensor_new gives the
 * memory to be filled before the value is passed on (*data, 64-byte aligned); tine_tensor_wrap
 * takes the memory over and calls release(ctx) at the end, on any thread, perhaps inside a call of
 * yours, under no lock of Tine's; release must not call Tine. */
TINE_API tine_value *tine_tensor(tine_dtype t, int rank, const int64_t *shape, const void *data);
TINE_API tine_value *tine_tensor_new(tine_dtype t, int rank, const int64_t *shape, void **data);
TINE_API tine_value *tine_tensor_wrap(tine_dtype t, int rank, const int64_t *shape, void *data,
                                      void (*release)(void *ctx), void *ctx);
TINE_API tine_value *tine_full(tine_dtype t, int rank, const int64_t *shape, double x);
#define tine_ones(t, rank, ...)                                                                    \
    tine_full(t, rank, __VA_ARGS__, 1.0) /* the shape may be (int64_t[]){2, 3} */
#define tine_zeros(t, rank, ...) tine_full(t, rank, __VA_ARGS__, 0.0)
/* tine_list(ARG…) and tine_tuple of any ARG as in tine_fork; tine_list_of from an array. */
#define tine_list(...) tine_list_args_(TINE_ARGS_(__VA_ARGS__))
TINE_API tine_value *tine_list_of(tine_value *const *items, size_t n);
/* Keys are strings, kept in the order given; a key twice is EINVAL. */
TINE_API tine_value *tine_dict_of(const char *const *keys, tine_value *const *items, size_t n);
TINE_API tine_value *tine_future_value(tine_future *f); /* a future inside a list or dict */

TINE_API tine_kind tine_kind_of(const tine_value *v);
TINE_API const char *tine_kind_name(tine_kind k);
/* These give 0 (0.0, NULL) and set EINVAL when v is of another kind. tine_as_float takes an int as
 * well; tine_as_int and tine_as_float take a one-element tensor, like PyTorch's item(). */
TINE_API bool tine_as_bool(const tine_value *v);
TINE_API int64_t tine_as_int(const tine_value *v);
TINE_API double tine_as_float(const tine_value *v);
TINE_API const char *tine_as_string(const tine_value *v);
TINE_API const void *tine_as_bytes(const tine_value *v, size_t *size);
/* What these two give is borrowed from v. */
TINE_API const tine_value *tine_at(const tine_value *list, size_t i);
TINE_API const tine_value *tine_get(const tine_value *dict, const char *key);
TINE_API size_t
tine_length(const tine_value *v); /* of a list, dict, string, bytes; a tensor's first dimension */
TINE_API const char *tine_key_at(const tine_value *dict, size_t i);
TINE_API tine_dtype tine_dtype_of(const tine_value *tensor);
TINE_API int tine_rank(const tine_value *tensor);
TINE_API const int64_t *tine_shape(const tine_value *tensor);
TINE_API const void *tine_data(const tine_value *tensor);
TINE_API int64_t tine_elements(const tine_value *tensor);
TINE_API bool tine_equal(const tine_value *a,
                         const tine_value *b); /* the same kind, shape and bits, all through */
TINE_API void tine_print(const tine_value *v); /* one line to standard output, as PyTorch prints */

TINE_API tine_value *tine_ref_value_(const tine_value *v);
TINE_API tine_future *tine_ref_future_(tine_future *f);
TINE_API void tine_release_value_(const tine_value *v);
TINE_API void tine_release_future_(const tine_future *f);
#define tine_ref(x)                                                                                \
    _Generic((x), tine_future *: tine_ref_future_, tine_value *: tine_ref_value_, const tine_value *: tine_ref_value_)(x)
#define tine_release(x)                                                                            \
    _Generic((x), tine_future *: tine_release_future_, const tine_future *: tine_release_future_,             \
             tine_value *: tine_release_value_, const tine_value *: tine_release_value_)(x)

/* Ships v once: what comes back stands for it in later calls, and a worker fetches it at most
 * once. */
TINE_API tine_value *tine_put(const tine_value *v);

/* ---- functions and modules ---- */

/* TINE_FUNCTION(name, "PARAMETERS") { … return value; } registers `name` when the program is
 * loaded, on coordinator and workers alike. PARAMETERS as in Python: "x, dim=0", "*tensors", "x, *,
 * keep=false"; a default is a number, true, false, none or a 'string'. Returning NULL fails the
 * task with tine_error_message(). */
typedef tine_value *(*tine_function)(tine_task *task);
enum { TINE_REPEATABLE = 1 }; /* safe to run again when its worker dies */
#define TINE_FUNCTION(name, parameters) TINE_FUNCTION_FLAGS(name, parameters, 0)
#define TINE_REPEATABLE_FUNCTION(name, parameters)                                                 \
    TINE_FUNCTION_FLAGS(name, parameters, TINE_REPEATABLE)
#define TINE_FUNCTION_FLAGS(name, parameters, flags)                                               \
    static tine_value *tine_fn_##name(tine_task *task);                                            \
    __attribute__((constructor)) static void tine_register_fn_##name(void) {                       \
        tine_register_function(#name, parameters, tine_fn_##name, flags);                          \
    }                                                                                              \
    static tine_value *tine_fn_##name(__attribute__((unused)) tine_task *task)

/* Bound arguments, in the order of PARAMETERS; borrowed. The typed forms fail the task when the
 * kind is wrong. */
TINE_API const tine_value *tine_arg(tine_task *task, size_t i);
TINE_API int64_t tine_arg_int(tine_task *task, size_t i);
TINE_API double tine_arg_float(tine_task *task, size_t i);
TINE_API const char *tine_arg_string(tine_task *task, size_t i);
TINE_API const tine_value *tine_arg_tensor(tine_task *task, size_t i, tine_dtype t,
                                           int rank); /* rank -1: any */
/* Sets the error of this task, printf-like, and returns NULL: `return tine_fail(task, "no such row
 * %d", i);` */
TINE_API tine_value *tine_fail(tine_task *task, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* A class of modules: `init` makes the state of one instance from the constructor's arguments, on
 * each process that needs it, at most once there; methods find it with tine_self. NULL from init
 * fails the call that needed it. */
typedef struct tine_method {
    const char *name, *parameters;
    tine_function call;
    int flags;
} tine_method;
typedef struct tine_class {
    const char *name, *parameters; /* of the constructor */
    void *(*init)(tine_task *task);
    void (*fini)(void *self);
    /* ends with a zeroed one; "forward" is what tine_fork(module, …) calls */
    const tine_method *methods;
} tine_class;
#define TINE_CLASS(c)                                                                              \
    __attribute__((constructor)) static void tine_register_class_##c(void) {                       \
        tine_register_class(&c);                                                                   \
    }
TINE_API void *tine_self(tine_task *task);
/* tine_module(CLASS, ARG…): an instance. Returns at once; its arguments travel to a worker with the
 * first call there, once. */
#define tine_module(...) tine_module_args(TINE_ARGS_(__VA_ARGS__))

/* A name that is registered twice ends the program with a message: two parts of it would answer to
 * one name. */
TINE_API void tine_register_function(const char *name, const char *parameters, tine_function fn,
                                     int flags);
TINE_API void tine_register_class(const tine_class *c);

/* ---- trace ---- */

/* From start on every process records; tine_trace_write gathers all and writes Chrome trace JSON
 * (chrome://tracing, Perfetto). */
TINE_API tine_error tine_trace_start(void);
TINE_API tine_error tine_trace_write(const char *path);

/* ---- behind the macros ---- */

typedef struct tine_argument {
    const char *key; /* NULL: positional */
    enum {
        TINE_ARG_VALUE,
        TINE_ARG_FUTURE,
        TINE_ARG_INT,
        TINE_ARG_FLOAT,
        TINE_ARG_BOOL,
        TINE_ARG_STRING
    } type;
    union {
        const tine_value *value;
        tine_future *future;
        int64_t i;
        double d;
        bool b;
        const char *s;
    };
} tine_argument;

/* args[0] is the target. method NULL: "forward". */
TINE_API tine_future *tine_fork_args(const char *method, const tine_argument *args, size_t n);
TINE_API tine_future *tine_try_fork_args(const char *method, const tine_argument *args, size_t n);
TINE_API tine_value *tine_call_args(const char *method, const tine_argument *args, size_t n);
TINE_API tine_value *tine_module_args(const tine_argument *args, size_t n);
TINE_API tine_value *tine_list_args_(const tine_argument *args, size_t n);

#ifndef __cplusplus /* C++ has no _Generic: there the calls are made with the _args forms */
static inline tine_argument tine_arg_value_(const tine_value *v) {
    return (tine_argument){NULL, TINE_ARG_VALUE, {.value = v}};
}
static inline tine_argument tine_arg_future_(tine_future *f) {
    return (tine_argument){NULL, TINE_ARG_FUTURE, {.future = f}};
}
static inline tine_argument tine_arg_int_(int64_t i) {
    return (tine_argument){NULL, TINE_ARG_INT, {.i = i}};
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
    a.key = key;
    return a;
}

#define TINE_ARG_(x)                                                                               \
    _Generic((x), tine_value *: tine_arg_value_, const tine_value *: tine_arg_value_,                         \
             tine_future *: tine_arg_future_, bool: tine_arg_bool_, char *: tine_arg_string_,                 \
             const char *: tine_arg_string_, float: tine_arg_float_, double: tine_arg_float_,                 \
             tine_argument: tine_arg_self_, default: tine_arg_int_)(x)
#define TINE_ARGS_(...) ((const tine_argument[]){TINE_MAP_(__VA_ARGS__)}), TINE_COUNT_(__VA_ARGS__)
#define TINE_COUNT_(...)                                                                           \
    TINE_16TH_(__VA_ARGS__, 16, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0)
#define TINE_16TH_(a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, N, ...) N
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
#endif

#ifdef __cplusplus
}
#endif
#endif
