/* The program's futures as the simulator knows them, and what must hold of each. */
#ifndef TINE_TESTS_SIM_NODES_H
#define TINE_TESTS_SIM_NODES_H

#include "context.h"

enum {
    MAX_NODES = 32,
    MAX_DEPS = 6,
    OTHER_LEAVES = 2 /* what the value of a promise or a callback holds beside its own number */
};

typedef enum node_kind { NODE_PROMISE, NODE_FORK, NODE_THEN, NODE_ALL, NODE_ANY } node_kind;

typedef struct node {
    node_kind kind;
    sim_world *world;
    tine_future *future;           /* its reference is released at the end, or when it is dropped */
    tine_promise *promise;         /* NULL: released */
    bool taken;                    /* the promise was completed, perhaps too late */
    tine_error given;              /* with this, or the callback returned it */
    sim_call call;                 /* FORK */
    size_t deps[MAX_DEPS], n_deps; /* the nodes that it follows from */
    size_t from;                   /* those that its value holds: from this one on */
    size_t leaves;                 /* the numbers in its value, at most */
    uint64_t own;                  /* the number in its value that is its own */
    bool cancelled, expired, dropped;
    bool counts; /* tine_on_done was called */
    unsigned called;
    bool seen; /* and then: */
    tine_error status;
    uint64_t value;
} node;

typedef struct sim_promises {
    sim_rng random;
    bool of_worker, ended;
    enum { RUNS, BREAKS, OVER } phase;
    node nodes[MAX_NODES];
    size_t n;
} sim_promises;

static inline size_t sim_node_index(const node *n) {
    return (size_t)(n - n->world->promises->nodes);
}
/* Takes in what it is once it is done, and checks that. */
void sim_node_see(sim_world *w, node *n);
bool sim_node_is_pending(const node *n);
/* The callback of a node, its argument. */
void sim_node_on_done(tine_future *f, void *arg);
/* Nothing happens any more: each that is not done waits for an open promise. */
void sim_nodes_check_pending(const sim_promises *p);

#endif
