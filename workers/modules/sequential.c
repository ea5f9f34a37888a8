/* The classes "sequential", torch.nn.Sequential, and "dropout", torch.nn.Dropout as it is after
 * eval(). An item of a sequential is a module, or the name of a function of one argument, such as
 * "relu", in place of torch.nn.ReLU(). */
#include "workers/builtin/builtin.h"

static void *sequential_init(tine_task *task) {
    const tine_value *modules = tine_arg(task, 0);
    if (modules->list.n == 1 && modules->list.items[0]->kind == TINE_LIST)
        modules = modules->list.items[0];
    for (size_t i = 0; i < modules->list.n; i++) {
        tine_kind kind = modules->list.items[i]->kind;
        if (kind != TINE_MODULE_REF && kind != TINE_STRING)
            return tine_arg_fail(task, 0, "hold modules and names of functions, but item %zu is %s",
                                 i, tine_kind_name(kind));
    }
    return tine_ref((tine_value *)modules);
}

static void sequential_fini(void *self) { tine_value_unref(self); }

static tine_value *sequential_forward(tine_task *task) {
    const tine_value *modules = tine_self(task);
    tine_value *x = (tine_value *)tine_arg(task, 0);
    for (size_t i = 0; x && i < modules->list.n; i++) {
        const tine_value *item = modules->list.items[i];
        x = item->kind == TINE_STRING ? tine_call(tine_as_string(item), x) : tine_call(item, x);
    }
    return x;
}

static const tine_class sequential_class = {
    .name = "sequential",
    .parameters = "*modules",
    .init = sequential_init,
    .fini = sequential_fini,
    .methods =
        (const tine_method[]){{"forward", "input", sequential_forward, TINE_REPEATABLE}, {0}},
};
TINE_BUILTIN_CLASS(sequential_class, NULL)

static void *dropout_init(tine_task *task) {
    double p = tine_arg_float(task, 0);
    if (task->failed) return NULL;
    if (!(p >= 0 && p <= 1))
        return tine_fail(task, "dropout probability has to be between 0 and 1, but got %g", p);
    return tine_none();
}

static tine_value *dropout_forward(tine_task *task) {
    return (tine_value *)tine_arg_tensor(task, 0, 0, -1);
}

static const tine_class dropout_class = {
    .name = "dropout",
    .parameters = "p=0.5, inplace=false",
    .init = dropout_init,
    .methods = (const tine_method[]){{"forward", "input", dropout_forward, TINE_REPEATABLE}, {0}},
};
TINE_BUILTIN_CLASS(dropout_class, NULL)
