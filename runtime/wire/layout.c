/* See layout.h. */
#include "runtime/wire/layout.h"

const char tine_wire_magic[4] = {'t', 'i', 'n', 'e'};

/* The literal's terminating NUL stands for the type, which comes before the fields. */
#define FIELDS(letters)                                                                            \
    { letters, sizeof(letters), false }
#define FIELDS_AND_BODY(letters)                                                                   \
    { letters "B", sizeof(letters "B"), true }

const tine_layout tine_layouts[TINE_MSG_LAST_] = {
    [TINE_MSG_HELLO] = FIELDS("MvpRhkKNCLU"),
    [TINE_MSG_DONE] = FIELDS_AND_BODY("taesrqxo"),
    [TINE_MSG_SUSPEND] = FIELDS("i"),
    [TINE_MSG_SUBMIT] = FIELDS_AND_BODY("qtnmOf"),
    [TINE_MSG_FETCH] = FIELDS("o"),
    [TINE_MSG_PONG] = FIELDS("qcyzZi"),
    [TINE_MSG_EVENTS] = FIELDS_AND_BODY(""),
    [TINE_MSG_WELCOME] = FIELDS("ewf"),
    [TINE_MSG_REJECT] = FIELDS("x"),
    [TINE_MSG_TASK] = FIELDS_AND_BODY("taedFnmOo"),
    [TINE_MSG_RESULT] = FIELDS_AND_BODY("qsx"),
    [TINE_MSG_CREDIT] = FIELDS("w"),
    [TINE_MSG_DROP] = FIELDS("i"),
    [TINE_MSG_PING] = FIELDS("q"),
    [TINE_MSG_TRACE] = FIELDS("f"),
    [TINE_MSG_STOP] = FIELDS(""),
    [TINE_MSG_OBJECT] = FIELDS_AND_BODY("otsx"),
    [TINE_MSG_HOLD] = FIELDS("i"),
    [TINE_MSG_RELEASE] = FIELDS("i"),
    [TINE_MSG_CANCEL] = FIELDS("tqg"),
    [TINE_MSG_SUBMIT_WITH] = FIELDS_AND_BODY("qtnmOflPAGbuWS"),
    [TINE_MSG_YIELD] = FIELDS_AND_BODY("taeqI"),
    [TINE_MSG_PULL] = FIELDS("tqI"),
    [TINE_MSG_OBSERVE] = FIELDS("Vqfte"),
    [TINE_MSG_SNAPSHOT] = FIELDS_AND_BODY("qx"),
    [TINE_MSG_DEMAND] = FIELDS("qa"),
    [TINE_MSG_REACH] = FIELDS("oqx"),
    [TINE_MSG_LEAVE] = FIELDS("i"),
    [TINE_MSG_PASS] = FIELDS("i"),
    [TINE_MSG_DONE_PASSED] = FIELDS_AND_BODY("taesrqxoi"),
};
