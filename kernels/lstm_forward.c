/* The forward pass of an LSTM; see lstm.h for the method and lstm_internal.h for the packed form.
 *
 * Time is cut into chunks of as many steps as make mc rows for the kernel. The input product of a
 * chunk goes to `pre`, which stays in the outer caches until the steps of the chunk add the
 * recurrent product to it. So the workspace does not grow with the number of steps, and a chunk
 * reads the input weights once. */
#include "kernels/lstm_internal.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

struct tine_lstm_workspace {
    struct tine_mem mem;
    double *phases; /* NULL: not measured */
};

/* A sequence of rows (step, row of the batch) in memory. */
struct sequence {
    float *data;
    size_t step, row; /* strides in floats */
};

struct run {
    const struct tine_lstm *lstm;
    const struct tine_lstm_plan *plan;
    size_t steps, batch;
    const size_t *lengths;   /* in descending order; NULL: all rows have all steps */
    bool reversed;           /* each cell runs the other way */
    bool down;               /* the next step reads the last panel first, see gemm.h */
    size_t stride;           /* of the rows of the output */
    struct tine_packed w_hh; /* of the cell that runs, or what it is widened to */
    char *base;
    /* the h that a step computes, and the h of the step before as the operand of the product; in
     * float32 without a projection the two swap roles */
    char *h_new, *h_a;
    double *phases; /* NULL: not measured */
    double since;   /* when the phase began that is under way */
};

static double forward_clock(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* The phase has ended; another begins. */
static void phase_end(struct run *run, enum tine_lstm_phase phase) {
    if (!run->phases) return;
    double now = forward_clock();
    run->phases[phase] += now - run->since;
    run->since = now;
}

/* ---- one direction of one layer ---- */

/* pre = x W_ih' + b for `count` steps from `first`. `pre` is stored block by block of columns, in
 * each block row after row: what a step reads is contiguous, while rows of full length would map to
 * the same cache sets. */
static void input_product(struct run *run, const struct tine_lstm_cell *cell, struct sequence in,
                          size_t first, size_t count) {
    const struct tine_lstm *lstm = run->lstm;
    const size_t elem = lstm->operand.size, rows = count * run->batch;
    const size_t columns = run->plan->block * TINE_GROUP_COLUMNS,
                 panels = columns / lstm->operand.kernel->nr;
    const size_t all = cell->w_ih.panels;
    const void *a = in.data + first * in.step;
    size_t lda = in.row;
    if (!lstm->operand.plain || in.step != run->batch * in.row) {
        char *copy = run->base + run->plan->x;
        a = copy, lda = tine_operand_width(&lstm->operand, cell->input);
        for (size_t t = 0; t < count; t++)
            for (size_t b = 0; b < run->batch; b++, copy += lda * elem)
                tine_operand_row(&lstm->operand, cell->input,
                                 in.data + (first + t) * in.step + b * in.row, copy);
    }
    phase_end(run, TINE_LSTM_OPERANDS);
    float *pre = (float *)(run->base + run->plan->pre);
    const float *bias = cell->bias.data;
    for (size_t p = 0; p < all; p += panels, bias += columns) {
        float *next = pre + rows * columns;
        struct tine_gemm_ahead ahead = {next, all - p > panels ? (char *)next - (char *)pre : 0};
        tine_gemm_panels(&cell->w_ih, p, all - p < panels ? all - p : panels, false, rows, a, lda,
                         bias, 0, pre, columns, ahead, (float *)(run->base + run->plan->widened));
        pre = next;
    }
    phase_end(run, TINE_LSTM_INPUT);
}

/* How many rows have step t: the first ones. */
static size_t rows_at(const struct run *run, size_t t) {
    size_t low = 0, high = run->batch;
    if (!run->lengths) return high;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (run->lengths[middle] > t)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* Computes h_new and c of the first `active` rows from step t of the chunk and the h before: for
 * each block of units the product, then the gates. */
static void recurrent_step(struct run *run, size_t count, size_t t, size_t active) {
    const struct tine_lstm_plan *plan = run->plan;
    const size_t columns = plan->block * TINE_GROUP_COLUMNS,
                 per_group = TINE_GROUP_COLUMNS / run->w_hh.kernel->nr;
    const size_t elem = run->lstm->operand.size, batch = run->batch;
    const size_t stride = count * batch * columns; /* of the blocks of pre */
    const size_t blocks = (run->lstm->groups + plan->block - 1) / plan->block;
    const float *pres = (const float *)(run->base + plan->pre) + t * batch * columns;
    float *z = (float *)(run->base + plan->z), *c = (float *)(run->base + plan->c),
          *h = (float *)run->h_new;
    for (size_t i = 0; i < blocks; i++) {
        const size_t at = run->down ? blocks - 1 - i : i, g = at * plan->block;
        const size_t block =
            run->lstm->groups - g < plan->block ? run->lstm->groups - g : plan->block;
        const float *pre = pres + at * stride;
        const float *next = i + 1 == blocks ? NULL : run->down ? pre - stride : pre + stride;
        for (size_t b = 0; b < active; b += plan->rows) {
            const size_t rows = active - b < plan->rows ? active - b : plan->rows;
            const struct tine_gemm_ahead ahead = {next, next ? rows * columns * sizeof *next : 0};
            tine_gemm_panels(&run->w_hh, g * per_group, block * per_group, run->down, rows,
                             run->h_a + b * plan->ldh * elem, plan->ldh, pre + b * columns, columns,
                             z, columns, ahead, (float *)(run->base + plan->widened));
            phase_end(run, TINE_LSTM_RECURRENT);
            for (size_t j = 0; j < block; j++)
                run->lstm->gates(rows, z + j * TINE_GROUP_COLUMNS, columns,
                                 c + ((g + j) * batch + b) * TINE_GATE_UNITS, TINE_GATE_UNITS,
                                 h + b * plan->ldh + (g + j) * TINE_GATE_UNITS, plan->ldh);
            phase_end(run, TINE_LSTM_GATES);
        }
    }
    run->down = !run->down;
}

/* Projects h if there is a projection, writes it to the output, and makes it the operand of the
 * next step. Rows past `active` have zeros in the output and keep their operand. */
static void finish_step(struct run *run, const struct tine_lstm_cell *cell, size_t active,
                        float *out, size_t row) {
    const struct tine_lstm *lstm = run->lstm;
    const size_t elem = lstm->operand.size, ld = run->plan->ldh;
    float *h = (float *)run->h_new;
    if (cell->w_hr.kernel) {
        for (size_t b = 0; b < active; b++)
            tine_operand_row(&lstm->operand, lstm->config.hidden_size, h + b * ld,
                             run->h_a + b * ld * elem);
        h = (float *)(run->base + run->plan->h_out);
        tine_gemm_panels(&cell->w_hr, 0, cell->w_hr.panels, false, active, run->h_a, ld, NULL, 0, h,
                         ld, (struct tine_gemm_ahead){0},
                         (float *)(run->base + run->plan->widened));
    }
    const bool swap = !cell->w_hr.kernel && lstm->operand.plain && !run->lengths;
    for (size_t b = active; b < run->batch; b++) memset(out + b * row, 0, lstm->out * sizeof *out);
    for (size_t b = 0; b < active; b++) {
        memcpy(out + b * row, h + b * ld, lstm->out * sizeof *out);
        if (!swap)
            tine_operand_row(&lstm->operand, lstm->out, h + b * ld, run->h_a + b * ld * elem);
    }
    if (!swap) return;
    char *old = run->h_a;
    run->h_a = run->h_new, run->h_new = old;
}

/* Row b of a state (batch, hidden) to and from the order of `c`: groups of 16 units, in each group
 * row after row. */
static void scatter_c(const struct run *run, size_t b, const float *row) {
    const size_t hidden = run->lstm->config.hidden_size;
    float *c = (float *)(run->base + run->plan->c) + b * TINE_GATE_UNITS;
    for (size_t u = 0; u < hidden; u++)
        c[u / TINE_GATE_UNITS * run->batch * TINE_GATE_UNITS + u % TINE_GATE_UNITS] = row[u];
}

static void gather_c(const struct run *run, size_t b, float *row) {
    const size_t hidden = run->lstm->config.hidden_size;
    const float *c = (const float *)(run->base + run->plan->c) + b * TINE_GATE_UNITS;
    for (size_t u = 0; u < hidden; u++)
        row[u] = c[u / TINE_GATE_UNITS * run->batch * TINE_GATE_UNITS + u % TINE_GATE_UNITS];
}

static void begin_state(struct run *run, const float *h0, const float *c0) {
    const struct tine_lstm *lstm = run->lstm;
    const struct tine_lstm_plan *plan = run->plan;
    const size_t elem = lstm->operand.size;
    run->h_a = run->base + plan->h_a;
    run->h_new = run->base + plan->h_new;
    memset(run->base + plan->c, 0, run->batch * plan->units * sizeof(float));
    memset(run->h_a, 0, run->batch * plan->ldh * elem);
    for (size_t b = 0; b < run->batch; b++) {
        if (c0) scatter_c(run, b, c0 + b * lstm->config.hidden_size);
        if (h0)
            tine_operand_row(&lstm->operand, lstm->out, h0 + b * lstm->out,
                             run->h_a + b * plan->ldh * elem);
    }
}

static bool runs_back(const struct run *run, const struct tine_lstm_cell *cell) {
    return cell->reverse != run->reversed;
}

/* The last state: c from the workspace, h from the row's last output (or h0 if there was no
 * step). */
static void end_state(const struct run *run, const struct tine_lstm_cell *cell, struct sequence out,
                      const float *h0, float *h_n, float *c_n) {
    const size_t width = run->lstm->out;
    for (size_t b = 0; b < run->batch; b++) {
        if (c_n) gather_c(run, b, c_n + b * run->lstm->config.hidden_size);
        if (!h_n) continue;
        size_t steps = run->lengths ? run->lengths[b] : run->steps;
        const float *last = out.data + (runs_back(run, cell) || !steps ? 0 : steps - 1) * out.step;
        if (steps)
            memcpy(h_n + b * width, last + b * out.row, width * sizeof *h_n);
        else if (h0)
            memcpy(h_n + b * width, h0 + b * width, width * sizeof *h_n);
        else
            memset(h_n + b * width, 0, width * sizeof *h_n);
    }
}

static void run_cell(struct run *run, const struct tine_lstm_cell *cell, struct sequence in,
                     struct sequence out) {
    const size_t chunk = run->plan->chunk;
    const bool back = runs_back(run, cell);
    run->w_hh = cell->w_hh;
    if (run->plan->wide)
        tine_gemm_widen(&cell->w_hh, (float *)(run->base + run->plan->w_hh), &run->w_hh);
    phase_end(run, TINE_LSTM_OPERANDS);
    for (size_t done = 0; done < run->steps; done += chunk) {
        size_t count = run->steps - done < chunk ? run->steps - done : chunk;
        size_t first = back ? run->steps - done - count : done;
        input_product(run, cell, in, first, count);
        for (size_t i = 0; i < count; i++) {
            size_t t = back ? count - 1 - i : i;
            size_t active = rows_at(run, first + t);
            recurrent_step(run, count, t, active);
            finish_step(run, cell, active, out.data + (first + t) * out.step, out.row);
            phase_end(run, TINE_LSTM_OUTPUT);
        }
    }
}

/* ---- all layers ---- */

struct states {
    const float *h0, *c0;
    float *h_n, *c_n;
};

static void run_layer(struct run *run, size_t layer, struct sequence in, struct sequence out,
                      const struct states *all) {
    const struct tine_lstm *lstm = run->lstm;
    for (size_t d = 0; d < lstm->directions; d++) {
        const size_t i = layer * lstm->directions + d;
        const size_t h_at = i * run->batch * lstm->out,
                     c_at = i * run->batch * lstm->config.hidden_size;
        const struct tine_lstm_cell *cell = &lstm->cells[i];
        const float *h0 = all->h0 ? all->h0 + h_at : NULL;
        struct sequence own = {out.data + d * lstm->out, out.step, out.row};
        begin_state(run, h0, all->c0 ? all->c0 + c_at : NULL);
        run_cell(run, cell, in, own);
        end_state(run, cell, own, h0, all->h_n ? all->h_n + h_at : NULL,
                  all->c_n ? all->c_n + c_at : NULL);
    }
}

static void run_layers(struct run *run, const float *x, float *output, const struct states *all) {
    const struct tine_lstm *lstm = run->lstm;
    const size_t input = lstm->config.input_size, width = lstm->directions * lstm->out;
    const bool first = lstm->config.batch_first;
    const size_t stride = run->stride;
    struct sequence in = {(float *)x, first ? input : run->batch * input,
                          first ? run->steps * input : input};
    for (size_t layer = 0; layer < lstm->config.num_layers; layer++) {
        struct sequence out = {(float *)(run->base + run->plan->layer[layer % 2]),
                               run->batch * width, width};
        if (layer + 1 == lstm->config.num_layers)
            out = (struct sequence){output, first ? stride : run->batch * stride,
                                    first ? run->steps * stride : stride};
        run_layer(run, layer, in, out, all);
        in = out;
    }
}

enum tine_kernel_error tine_lstm_workspace_create(struct tine_lstm_workspace **out) {
    struct tine_lstm_workspace *workspace = calloc(1, sizeof *workspace);
    if (!workspace) return TINE_KERNEL_MEMORY;
    *out = workspace;
    return TINE_KERNEL_OK;
}

void tine_lstm_workspace_profile(struct tine_lstm_workspace *workspace,
                                 double seconds[TINE_LSTM_PHASES]) {
    workspace->phases = seconds;
}

void tine_lstm_workspace_free(struct tine_lstm_workspace *workspace) {
    if (!workspace) return;
    tine_mem_free(&workspace->mem);
    free(workspace);
}

static enum tine_kernel_error lstm_run(const struct tine_lstm *lstm,
                                       struct tine_lstm_workspace *workspace, size_t steps,
                                       size_t batch, const size_t *lengths, bool reversed,
                                       const float *x, float *output, size_t stride,
                                       struct states states) {
    struct tine_lstm_plan plan;
    struct tine_lstm_workspace own = {{0}, NULL}, *space = workspace ? workspace : &own;
    if (!tine_lstm_plan_make(lstm, steps, batch, &plan)) return TINE_KERNEL_OVERFLOW;
    if (space->mem.bytes < plan.bytes) {
        tine_mem_free(&space->mem);
        if (!tine_mem_alloc(&space->mem, plan.bytes)) return TINE_KERNEL_MEMORY;
    }
    struct run run = {.lstm = lstm,
                      .plan = &plan,
                      .steps = steps,
                      .batch = batch,
                      .lengths = lengths,
                      .reversed = reversed,
                      .stride = stride,
                      .base = space->mem.data,
                      .phases = space->phases};
    if (run.phases) run.since = forward_clock();
    if (lstm->config.gru)
        states.c0 = states.h0, states.c_n = NULL; /* the state in float32 is its h */
    if (batch) run_layers(&run, x, output, &states);
    tine_mem_free(&own.mem);
    return TINE_KERNEL_OK;
}

enum tine_kernel_error tine_lstm_forward_lengths(const struct tine_lstm *lstm,
                                                 struct tine_lstm_workspace *workspace,
                                                 size_t steps, size_t batch, const size_t *lengths,
                                                 const float *x, const float *h0, const float *c0,
                                                 float *output, float *h_n, float *c_n) {
    return lstm_run(lstm, workspace, steps, batch, lengths, false, x, output,
                    lstm->directions * lstm->out, (struct states){h0, c0, h_n, c_n});
}

enum tine_kernel_error tine_lstm_forward_columns(const struct tine_lstm *lstm,
                                                 struct tine_lstm_workspace *workspace,
                                                 size_t steps, size_t batch, bool reversed,
                                                 const float *x, float *output, size_t stride) {
    return lstm_run(lstm, workspace, steps, batch, NULL, reversed, x, output, stride,
                    (struct states){0});
}

enum tine_kernel_error tine_lstm_forward(const struct tine_lstm *lstm,
                                         struct tine_lstm_workspace *workspace, size_t steps,
                                         size_t batch, const float *x, const float *h0,
                                         const float *c0, float *output, float *h_n, float *c_n) {
    return tine_lstm_forward_lengths(lstm, workspace, steps, batch, NULL, x, h0, c0, output, h_n,
                                     c_n);
}
