/* The ensemble's result against double precision: some columns of the batch, each cell computed by
 * launch/command/reference.c, the cells spread over plain threads. It uses nothing of the runtime
 * or the kernels, whose results it checks. */
#include "launch/command/ensemble_error.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "launch/command/reference.h"
#include "runtime/settings/cores.h"

enum { COLUMNS = TINE_REFERENCE_COLUMNS, THREADS_MAX = 64 };

typedef struct check {
    const tine_ensemble *ensemble;
    double *x;      /* [time][channels][COLUMNS] */
    double **cells; /* their results, in the ensemble's order */
    atomic_long next;
    atomic_bool failed;
} check;

static tine_reference_lstm reference_of(const tine_ensemble *e, long number) {
    const tine_ensemble_cell *cell = &e->cells[number];
    size_t channels = (size_t)e->config.channels;
    return (tine_reference_lstm){(size_t)e->config.time,
                                 channels,
                                 channels,
                                 tine_data(cell->weights[TINE_CELL_W_IH]),
                                 tine_data(cell->weights[TINE_CELL_W_HH]),
                                 tine_data(cell->weights[TINE_CELL_B_IH]),
                                 tine_data(cell->weights[TINE_CELL_B_HH]),
                                 number % 2 == 1};
}

static void *compute_cells(void *arg) {
    check *c = arg;
    for (;;) {
        long number = atomic_fetch_add(&c->next, 1);
        if (number >= 2 * c->ensemble->config.models) return NULL;
        tine_reference_lstm l = reference_of(c->ensemble, number);
        c->cells[number] = malloc(l.steps * l.hidden * COLUMNS * sizeof(double));
        if (!c->cells[number] || !tine_reference_run(&l, c->x, c->cells[number]))
            atomic_store(&c->failed, true);
    }
}

static void compute_all(check *c) {
    pthread_t threads[THREADS_MAX];
    int started = 0, wanted = tine_cores_available() - 1;
    while (started < wanted && started < THREADS_MAX &&
           pthread_create(&threads[started], NULL, compute_cells, c) == 0)
        started++;
    compute_cells(c);
    for (int i = 0; i < started; i++) pthread_join(threads[i], NULL);
}

/* Where the i-th of `columns` compared columns lies in the batch: they are evenly spaced, the first
 * and the last among them. */
static size_t column_place(size_t i, size_t columns, size_t batch) {
    return columns > 1 ? i * (batch - 1) / (columns - 1) : 0;
}

static double largest_error(const check *c, const float *output, size_t columns) {
    const tine_ensemble_config *k = &c->ensemble->config;
    size_t steps = (size_t)k->time, channels = (size_t)k->channels, batch = (size_t)k->batch;
    double worst = 0;
    for (size_t t = 0; t < steps; t++)
        for (size_t j = 0; j < 2 * channels; j++)
            for (size_t i = 0; i < columns; i++) {
                double sum = 0;
                for (long m = 0; m < k->models; m++)
                    sum += c->cells[2 * m + (j >= channels)]
                                   [(t * channels + j % channels) * COLUMNS + i];
                size_t row = t * batch + column_place(i, columns, batch);
                double error = fabs(sum - (double)output[row * 2 * channels + j]);
                if (isnan(error)) return error;
                if (error > worst) worst = error;
            }
    return worst;
}

tine_error tine_ensemble_error(const tine_ensemble *e, const tine_value *output, double *error,
                               long *columns_out) {
    size_t steps = (size_t)e->config.time, channels = (size_t)e->config.channels,
           batch = (size_t)e->config.batch;
    size_t columns = batch < COLUMNS ? batch : COLUMNS, cells = 2 * (size_t)e->config.models;
    const float *x = tine_data(e->x);
    check c = {.ensemble = e};
    c.x = calloc(steps * channels * COLUMNS, sizeof(double));
    c.cells = calloc(cells, sizeof *c.cells);
    bool done = c.x && c.cells;
    if (done) {
        for (size_t t = 0; t < steps; t++)
            for (size_t j = 0; j < channels; j++)
                for (size_t i = 0; i < columns; i++)
                    c.x[(t * channels + j) * COLUMNS + i] =
                        (double)x[(t * batch + column_place(i, columns, batch)) * channels + j];
        compute_all(&c);
        done = !atomic_load(&c.failed);
    }
    if (done) {
        *error = largest_error(&c, tine_data(output), columns);
        *columns_out = (long)columns;
    }
    for (size_t i = 0; c.cells && i < cells; i++) free(c.cells[i]);
    free(c.cells);
    free(c.x);
    return done ? TINE_OK : TINE_ENOMEM;
}
