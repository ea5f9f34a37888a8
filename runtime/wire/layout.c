/* See layout.h. The fields have the names that WIRE.md gives them. */
#include "runtime/wire/layout.h"

#include <assert.h>

const char tine_wire_magic[4] = {'t', 'i', 'n', 'e'};

static_assert(sizeof(tine_error) == sizeof(uint32_t), "a status is written as one");

#define NUMBER(kind, type, field, most, what)                                                      \
    { kind, offsetof(type, field), 0, most, what }
#define U64(field, what) NUMBER(TINE_FIELD_U64, tine_message, field, UINT64_MAX, what)
#define U32(type, field, what) NUMBER(TINE_FIELD_U32, type, field, UINT32_MAX, what)
#define OTHER(kind, type, field, what) NUMBER(kind, type, field, 0, what)
#define NAMES(field, what)                                                                         \
    { TINE_FIELD_NAMES, offsetof(tine_hello, field), offsetof(tine_hello, n_##field), 0, what }

#define TASK U64(task, "a task")
#define ATTEMPT U32(tine_message, attempt, "an attempt")
#define EPOCH U32(tine_message, epoch, "an epoch")
#define DEPTH U32(tine_message, depth, "a depth")
#define FLAGS U32(tine_message, flags, "flags")
#define WINDOW U32(tine_message, window, "a window")
#define STATUS NUMBER(TINE_FIELD_U32, tine_message, status, TINE_ENDED - 1, "a status")
#define SEQ U64(seq, "a seq")
#define RUN_NS U64(run_ns, "a run time")
#define CLOCK U64(clock, "a clock")
#define OBJECT U64(object, "an object")
#define RESULT OBJECT
#define FLOW U64(flow, "a flow")
#define GRACE U64(grace_ns, "a grace")
#define ITEM U64(item, "an item")
#define MEMORY U64(memory, "a memory size")
#define RECEIVED U64(received, "a number of messages")
#define SENT U64(sent, "a number of messages")
#define TEXT OTHER(TINE_FIELD_TEXT, tine_message, text, "a text")
#define IDS OTHER(TINE_FIELD_IDS, tine_message, ids, "the ids")
#define TARGET                                                                                     \
    OTHER(TINE_FIELD_NAME, tine_message, target.name, "a name"),                                   \
        OTHER(TINE_FIELD_TEXT, tine_message, target.method, "a method"),                           \
        U64(target.object, "an object")
#define OBSERVER_VERSION                                                                           \
    { TINE_FIELD_VERSION, 0, 0, UINT32_MAX, "the protocol version" }

#define MAGIC                                                                                      \
    { TINE_FIELD_MAGIC, 0, 0, 0, "the magic" }
#define VERSION U32(tine_hello, version, "the protocol version")
#define PID U32(tine_hello, pid, "a pid")
#define RANK OTHER(TINE_FIELD_I32, tine_hello, rank, "a rank")
#define HOST OTHER(TINE_FIELD_NAME, tine_hello, host, "a host")
#define TOKEN OTHER(TINE_FIELD_NAME, tine_hello, token, "a token")
#define KERNEL OTHER(TINE_FIELD_NAME, tine_hello, kernel, "a kernel")
#define SLOTS OTHER(TINE_FIELD_NAME, tine_hello, slots, "the slots")

#define TITLE OTHER(TINE_FIELD_TEXT, tine_terms, name, "a task's name")
#define PRIORITY OTHER(TINE_FIELD_I32, tine_terms, priority, "a priority")
#define RETRIES U32(tine_terms, retries, "a number of retries")
#define FAILURES U32(tine_terms, failure_retries, "a number of retries")
#define LABEL OTHER(TINE_FIELD_TEXT, tine_terms, label, "a label")
#define RESOURCES OTHER(TINE_FIELD_TEXT, tine_terms, resources, "what a task takes")
#define WORKER U32(tine_terms, worker, "a worker")
#define STREAM U32(tine_terms, stream, "a stream's window")

#define TERMS TITLE, PRIORITY, RETRIES, FAILURES, LABEL, RESOURCES, WORKER, STREAM

#define COUNT(...) (sizeof((tine_field[]){__VA_ARGS__}) / sizeof(tine_field))
#define LIST(...)                                                                                  \
    { (const tine_field[]){__VA_ARGS__}, COUNT(__VA_ARGS__) }
#define FIELDS(...)                                                                                \
    { LIST(__VA_ARGS__), false, 1 + COUNT(__VA_ARGS__) }
#define FIELDS_AND_BODY(...)                                                                       \
    { LIST(__VA_ARGS__), true, 2 + COUNT(__VA_ARGS__) }

const tine_fields tine_terms_fields = LIST(TERMS);

const tine_layout tine_layouts[TINE_MSG_LAST_] = {
    [TINE_MSG_HELLO] =
        FIELDS(MAGIC, VERSION, PID, RANK, HOST, TOKEN, KERNEL, NAMES(functions, "the functions"),
               NAMES(classes, "the classes"), NAMES(labels, "the labels"), SLOTS),
    [TINE_MSG_DONE] = FIELDS_AND_BODY(TASK, ATTEMPT, EPOCH, STATUS, RUN_NS, SEQ, TEXT, OBJECT),
    [TINE_MSG_SUSPEND] = FIELDS(IDS),
    [TINE_MSG_SUBMIT] = FIELDS_AND_BODY(SEQ, TASK, TARGET, FLAGS),
    [TINE_MSG_FETCH] = FIELDS(OBJECT),
    [TINE_MSG_PONG] = FIELDS(SEQ, CLOCK, MEMORY, RECEIVED, SENT, IDS),
    [TINE_MSG_EVENTS] = {.body = true, .entries = 2},
    [TINE_MSG_WELCOME] = FIELDS(EPOCH, WINDOW, FLAGS),
    [TINE_MSG_REJECT] = FIELDS(TEXT),
    [TINE_MSG_TASK] = FIELDS_AND_BODY(TASK, ATTEMPT, EPOCH, DEPTH, FLOW, TARGET, RESULT),
    [TINE_MSG_RESULT] = FIELDS_AND_BODY(SEQ, STATUS, TEXT),
    [TINE_MSG_CREDIT] = FIELDS(WINDOW),
    [TINE_MSG_DROP] = FIELDS(IDS),
    [TINE_MSG_PING] = FIELDS(SEQ),
    [TINE_MSG_TRACE] = FIELDS(FLAGS),
    [TINE_MSG_STOP] = {.entries = 1},
    [TINE_MSG_OBJECT] = FIELDS_AND_BODY(OBJECT, TASK, STATUS, TEXT),
    [TINE_MSG_HOLD] = FIELDS(IDS),
    [TINE_MSG_RELEASE] = FIELDS(IDS),
    [TINE_MSG_CANCEL] = FIELDS(TASK, SEQ, GRACE),
    [TINE_MSG_SUBMIT_WITH] = {LIST(SEQ, TASK, TARGET, FLAGS), true,
                              2 + COUNT(SEQ, TASK, TARGET, FLAGS, TERMS)},
    [TINE_MSG_YIELD] = FIELDS_AND_BODY(TASK, ATTEMPT, EPOCH, SEQ, ITEM),
    [TINE_MSG_PULL] = FIELDS(TASK, SEQ, ITEM),
    [TINE_MSG_OBSERVE] = FIELDS(OBSERVER_VERSION, SEQ, FLAGS, TASK, EPOCH),
    [TINE_MSG_SNAPSHOT] = FIELDS_AND_BODY(SEQ, TEXT),
    [TINE_MSG_DEMAND] = FIELDS(SEQ, ATTEMPT),
    [TINE_MSG_REACH] = FIELDS(OBJECT, SEQ, TEXT),
    [TINE_MSG_LEAVE] = FIELDS(IDS),
    [TINE_MSG_PASS] = FIELDS(IDS),
    [TINE_MSG_DONE_PASSED] =
        FIELDS_AND_BODY(TASK, ATTEMPT, EPOCH, STATUS, RUN_NS, SEQ, TEXT, OBJECT, IDS),
};
