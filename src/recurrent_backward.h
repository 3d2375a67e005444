/* Backpropagation through time: gradients of the gates, of the input, of the weights. Legend: recurrent_forward.h. */
#ifndef LSTMFAST_RECURRENT_BACKWARD_H
#define LSTMFAST_RECURRENT_BACKWARD_H

#include "recurrent_forward.h"

#define TILE_CELLS (TILE_ROWS * 4)
#define STEP_BLOCK 128 /* steps of one outer product: 4 vectors of gradients a step, 32 kB, stay in L1 */

/* ---- gradients of the gates ---- */

/* What reaches an operand at time t through the gates it feeds: for rows [row, row + m) and one panel of its columns,
 * (gradients of those gates) times the transpose of its weights. */
static void through_gates(const recurrent_call *call, int operand_index, const void *transposed, ptrdiff_t t,
                          ptrdiff_t row, int m, ptrdiff_t n_columns, ptrdiff_t panel, real *out) {
    const cell_spec *cell = cell_of(call);
    const vector_range range = operand_weights(cell, operand_index)->range;
    operand a = {.n = range.count * VL,
                 .repeats = n_blocks(cell, call->n_units),
                 .stride = call->n_steps * cell->vectors * VL};
    for (int r = 0; r < m; r++) a.row[r] = gates_of(call, slot_of(call, t, row + r), 0) + range.first * VL;
    PRODUCT[m - 1][panel_vectors(n_columns, panel) - 1](
        &a, 1, (const real *)transposed + panel_offset(transposed_rows(cell, operand_index, call->n_units), panel), out);
}
static void through_h_gates(const recurrent_call *call, ptrdiff_t t, ptrdiff_t row, int m, ptrdiff_t panel, real *out) {
    through_gates(call, 1, call->weights_h_t, t, row, m, call->n_units, panel, out);
}
static void through_extra_gates(const recurrent_call *call, ptrdiff_t t, ptrdiff_t row, int m, ptrdiff_t panel,
                                real *out) {
    through_gates(call, 2, call->weights_extra_t, t, row, m, call->n_units, panel, out);
}

INLINE void backward_place(cell_place *cell, const recurrent_call *call, ptrdiff_t t, ptrdiff_t r, ptrdiff_t unit) {
    const ptrdiff_t stride = padded(call->n_units);
    cell->gates = gates_of(call, slot_of(call, t, r), unit);
    cell->c_prev = c_before(call, t, r) + unit;
    cell->c = c_before(call, t + 1, r) + unit;
    cell->h_prev = h_before(call, t, r) + unit;
    cell->dc_carry = row_at(call->dc_carry, r, stride) + unit;
    cell->dh_carry = row_at(call->dh_carry, r, stride) + unit;
    cell->unit = unit;
    cell->lanes = call->n_units - unit;
}

/* ---- the cells, compiled for 1 to CELL_CHAINS side by side: from the gradients of their outputs ---- */

typedef void (*backward_function)(const recurrent_call *, const cell_place *, const real *dh);

#define BACKWARD_BODY(name, count, ...)                                                                         \
    static void name##_##count(const recurrent_call *call, const cell_place *p, const real *gradients) {        \
        enum { n = count };                                                                                     \
        vec dh[n];                                                                                              \
        (void)call;                                                                                             \
        EACH_CHAIN dh[j] = v_load(gradients + j * VL);                                                          \
        __VA_ARGS__;                                                                                            \
    }
#if CELL_CHAINS == 3
#define BACKWARD_BODIES(name, ...)                                                                              \
    BACKWARD_BODY(name, 1, __VA_ARGS__) BACKWARD_BODY(name, 2, __VA_ARGS__) BACKWARD_BODY(name, 3, __VA_ARGS__) \
    static const backward_function name[] = {name##_1, name##_2, name##_3};
#else
#define BACKWARD_BODIES(name, ...)                                                                              \
    BACKWARD_BODY(name, 1, __VA_ARGS__) BACKWARD_BODY(name, 2, __VA_ARGS__)                                     \
    static const backward_function name[] = {name##_1, name##_2};
#endif

BACKWARD_BODIES(backward_standard, lstm_backward(n, p, dh))
BACKWARD_BODIES(backward_ifgo, lstm_variant_backward(n, IFGO, call, p, dh))
BACKWARD_BODIES(backward_ifog, lstm_variant_backward(n, IFOG, call, p, dh))
BACKWARD_BODIES(backward_fgo, lstm_variant_backward(n, FGO, call, p, dh))
BACKWARD_BODIES(backward_gru, gru_backward(n, call, p, dh))
BACKWARD_BODIES(backward_rnn, rnn_backward(n, call, p, dh))
BACKWARD_BODIES(backward_gated, gated_recurrence_backward(n, call, p, dh))
BACKWARD_BODIES(backward_reset_before, reset_before_backward(n, call, p, dh))
BACKWARD_BODIES(backward_gates, gates_backward(n, call, p, dh)) /* first phase; dh: gradients of the gated h */

static const backward_function *const BACKWARD[N_CELLS] = {
    [CELL_LSTM] = backward_ifgo,
    [CELL_LSTM_COUPLED] = backward_fgo,
    [CELL_LSTM_FULL_PEEPHOLE] = backward_ifgo,
    [CELL_LSTM_GATED_RECURRENCE] = backward_gated,
    [CELL_LSTM_CELL_RECURRENT] = backward_ifog,
    [CELL_GRU] = backward_gru,
    [CELL_GRU_RESET_BEFORE] = backward_reset_before,
    [CELL_RNN] = backward_rnn,
};

INLINE void backward_cells(const backward_function *function, const recurrent_call *call, const cell_place *p, int n,
                           const real *gradients) {
    for (int taken; n > 0; n -= taken, p += taken, gradients += taken * VL) {
        taken = group_size(n);
        function[taken - 1](call, p, gradients);
    }
}

/* The gradient of h at time t for one vector of units: what the next step's products and gates carry back, masked as h
 * was for them; what the caller has for y, and after the last step for h. */
INLINE vec output_gradient(const recurrent_call *call, ptrdiff_t t, ptrdiff_t r, const cell_place *cell, vec dh,
                           int has_next) {
    if (has_next && n_phases(cell_of(call)) > 1) dh = v_add(dh, v_load(cell->dh_carry));
    if (has_next && call->h_mask)
        dh = v_mul(dh, v_load_lanes(row_at(call->h_mask, r, call->n_units) + cell->unit, cell->lanes));
    if (call->dy) {
        const real *dy = row_at(call->dy, position(call, call->y_first, t, r), call->dy_stride);
        dh = v_add(dh, v_load_lanes(dy + cell->unit, cell->lanes));
    }
    if (call->dh && t + 1 == call->lengths[r])
        dh = v_add(dh, v_load_lanes(row_at(call->dh, r, call->n_units) + cell->unit, cell->lanes));
    return dh;
}

/* Time t, rows [row, row + m), which are all alive at t + 1, or none of them; one panel of units. */
static void backward_tile(const recurrent_call *call, ptrdiff_t t, ptrdiff_t row, int m, int has_next, ptrdiff_t panel) {
    const int nv = panel_vectors(call->n_units, panel), reads_c = cell_of(call)->extra_is == EXTRA_C;
    ALIGNED real dh[TILE_CELLS * VL] = {0}, dc[TILE_CELLS * VL];
    cell_place places[TILE_CELLS];
    if (has_next) through_h_gates(call, t + 1, row, m, panel, dh);
    if (has_next && reads_c) through_extra_gates(call, t + 1, row, m, panel, dc);
    for (ptrdiff_t r = row, i = 0; r < row + m; r++)
        for (int v = 0; v < nv; v++, i++) {
            backward_place(places + i, call, t, r, (panel * 4 + v) * VL);
            v_store(dh + i * VL, output_gradient(call, t, r, places + i, v_load(dh + i * VL), has_next));
            if (has_next && reads_c)
                v_store(places[i].dc_carry, v_add(v_load(places[i].dc_carry), v_load(dc + i * VL)));
        }
    backward_cells(is_standard_lstm(call) ? backward_standard : BACKWARD[call->cell], call, places, m * nv, dh);
}

/* A cell with two phases: back through the gated h to the gate. */
static void backward_first_phase(const recurrent_call *call, ptrdiff_t t, ptrdiff_t row, int m, ptrdiff_t panel) {
    const int nv = panel_vectors(call->n_units, panel);
    ALIGNED real dgated[TILE_CELLS * VL];
    cell_place places[TILE_CELLS];
    through_extra_gates(call, t, row, m, panel, dgated);
    for (ptrdiff_t r = row, i = 0; r < row + m; r++)
        for (int v = 0; v < nv; v++, i++) backward_place(places + i, call, t, r, (panel * 4 + v) * VL);
    backward_cells(backward_gates, call, places, m * nv, dgated);
}

/* Rows [begin, end) at time t, by tiles. */
enum { STEP_LAST, STEP_INNER, STEP_FIRST_PHASE };
static void backward_rows(const recurrent_call *call, ptrdiff_t t, ptrdiff_t begin, ptrdiff_t end, int what) {
    for (ptrdiff_t panel = 0; panel < n_panels(call->n_units); panel++)
        for (ptrdiff_t tile = 0, n = end - begin; tile < n_tiles(n); tile++) {
            ptrdiff_t first = begin + tile_begin(n, tile);
            int m = (int)(begin + tile_begin(n, tile + 1) - first);
            if (what == STEP_FIRST_PHASE) backward_first_phase(call, t, first, m, panel);
            else backward_tile(call, t, first, m, what == STEP_INNER, panel);
        }
}

/* The gradients of the initial state: h as at any step; c is in dc_carry, and may be read by the first products. */
static void initial_state_gradient(const recurrent_call *call, ptrdiff_t r) {
    const cell_spec *cell = cell_of(call);
    const ptrdiff_t units = call->n_units, stride = padded(units);
    for (ptrdiff_t panel = 0; panel < n_panels(units); panel++) {
        ALIGNED real out[4 * VL];
        for (int v = 0; v < panel_vectors(units, panel); v++) {
            ptrdiff_t unit = (panel * 4 + v) * VL, lanes = units - unit;
            if (call->dh0) {
                if (v == 0) through_h_gates(call, 0, r, 1, panel, out);
                vec dh = v_load(out + v * VL);
                if (n_phases(cell) > 1) dh = v_add(dh, v_load(row_at(call->dh_carry, r, stride) + unit));
                if (call->h_mask) dh = v_mul(dh, v_load_lanes(row_at(call->h_mask, r, units) + unit, lanes));
                v_store_lanes(row_at(call->dh0, r, units) + unit, dh, lanes);
            }
        }
        for (int v = 0; call->dc0 && cell->has_c && v < panel_vectors(units, panel); v++) {
            ptrdiff_t unit = (panel * 4 + v) * VL;
            vec dc = v_load(row_at(call->dc_carry, r, stride) + unit);
            if (cell->extra_is == EXTRA_C) {
                if (v == 0) through_extra_gates(call, 0, r, 1, panel, out);
                dc = v_add(dc, v_load(out + v * VL));
            }
            v_store_lanes(row_at(call->dc0, r, units) + unit, dc, units - unit);
        }
    }
}

/* The plain RNN's last block may have fewer vectors of units than the products read. */
static void clear_spare_gates(const recurrent_call *call, ptrdiff_t r) {
    const cell_spec *cell = cell_of(call);
    const ptrdiff_t last = n_blocks(cell, call->n_units) - 1;
    const int used = unit_vectors(cell, call->n_units, last), spare = cell->unit_vectors - used;
    for (ptrdiff_t t = 0; spare > 0 && t < call->lengths[r]; t++)
        memset(gates_of(call, slot_of(call, t, r), last * block_units(cell)) + used * VL, 0,
               (size_t)(spare * VL) * sizeof(real));
}

static void recurrent_backward(const recurrent_call *call, ptrdiff_t row_begin, ptrdiff_t row_end) {
    const cell_spec *cell = cell_of(call);
    const ptrdiff_t units = call->n_units, stride = padded(units);
    for (ptrdiff_t begin = row_begin; begin < row_end; begin += BLOCK_ROWS) {
        ptrdiff_t end = min_size(begin + BLOCK_ROWS, row_end);
        for (ptrdiff_t r = begin; r < end; r++) {
            clear_spare_gates(call, r);
            if (!cell->has_c) continue;
            real *carry = row_at(call->dc_carry, r, stride);
            memset(carry, 0, (size_t)stride * sizeof(real));
            if (call->dc) memcpy(carry, row_at(call->dc, r, units), (size_t)units * sizeof(real));
        }
        for (ptrdiff_t t = (ptrdiff_t)call->lengths[begin] - 1; t >= 0; t--) {
            ptrdiff_t n_next = alive(call, begin, end, t + 1), n = alive(call, begin, end, t);
            if (stopped(call->stop, step_work(call, n))) return;
            backward_rows(call, t, begin, begin + n_next, STEP_INNER);
            backward_rows(call, t, begin + n_next, begin + n, STEP_LAST);
            if (n_phases(cell) > 1) backward_rows(call, t, begin, begin + n, STEP_FIRST_PHASE);
        }
        for (ptrdiff_t r = begin; r < end; r++) initial_state_gradient(call, r);
    }
}

/* ---- dx, in its own pass: the two directions of a layer add to the same dx, one after the other ---- */

static void input_gradient(const recurrent_call *call, ptrdiff_t row_begin, ptrdiff_t row_end) {
    for (ptrdiff_t t = 0, n; (n = alive(call, row_begin, row_end, t)) > 0; t++) {
        if (stopped(call->stop, step_work(call, n))) return;
        for (ptrdiff_t panel = 0; panel < n_panels(call->n_inputs); panel++) {
            int nv = panel_vectors(call->n_inputs, panel);
            for (ptrdiff_t tile = 0; tile < n_tiles(n); tile++) {
                ptrdiff_t row = row_begin + tile_begin(n, tile);
                int m = (int)(row_begin + tile_begin(n, tile + 1) - row);
                ALIGNED real out[TILE_CELLS * VL];
                through_gates(call, 0, call->weights_x_t, t, row, m, call->n_inputs, panel, out);
                for (int i = 0; i < m; i++)
                    for (int v = 0; v < nv; v++) {
                        ptrdiff_t column = (panel * 4 + v) * VL, lanes = call->n_inputs - column;
                        real *dx = row_at(call->dx, position(call, call->y_first, t, row + i), call->dx_stride) + column;
                        vec value = v_load(out + (i * nv + v) * VL);
                        if (call->dx_accumulate) value = v_add(value, v_load_lanes(dx, lanes));
                        v_store_lanes(dx, value, lanes);
                    }
            }
        }
    }
}

/* ---- weight gradients: [x, h_prev, extra, 1]^T dz. A task is one tile of rows of them for one block of units; it sums
 * over all S steps in slot order, so the result does not depend on who does which task. ---- */

/* The left operand of an outer product: values of STEP_BLOCK steps. */
typedef struct {
    const real *row[STEP_BLOCK];
    ptrdiff_t x_row[STEP_BLOCK];
    const weight_spec *weights;
    ptrdiff_t size;
    void *gradient;
} gradient_operand;

enum { BY_X, BY_H, BY_EXTRA, BY_BIAS, BY_RECURRENT_BIAS, N_GRADIENTS };

static ptrdiff_t operand_tiles(const recurrent_call *call, int which) {
    const cell_spec *cell = cell_of(call);
    switch (which) {
    case BY_X: return call->x_rows ? 1 : n_tiles(call->n_inputs);
    case BY_H: return n_tiles(call->n_units);
    case BY_EXTRA: return cell->extra_is != EXTRA_NONE ? n_tiles(call->n_units) : 0;
    case BY_BIAS: return 1;
    default: return cell->recurrent_bias.range.count > 0;
    }
}
static ptrdiff_t tasks_of_block(const recurrent_call *call) {
    ptrdiff_t tasks = 0;
    for (int which = 0; which < N_GRADIENTS; which++) tasks += operand_tiles(call, which);
    return tasks;
}
static ptrdiff_t weight_gradient_tasks(const recurrent_call *call) {
    return n_blocks(cell_of(call), call->n_units) * tasks_of_block(call);
}

/* d peephole = sum of dz_i c_prev, dz_f c_prev, dz_o c (Gers & Schmidhuber 2000). */
static void peephole_gradient(const recurrent_call *call, ptrdiff_t block, ptrdiff_t slot, ptrdiff_t n,
                              const real *const *c_prev) {
    static const int at[3] = {0, 1, 3};
    const ptrdiff_t unit = block * VL, lanes = call->n_units - unit;
    for (int k = 0; k < 3; k++) {
        real *out = row_at(call->dpeephole, k, call->n_units) + unit;
        vec sum = v_set(0);
        for (ptrdiff_t s = 0; s < n; s++) {
            const real *c = k < 2 ? c_prev[s] : row_at(call->c_steps, call->n_rows + slot + s, padded(call->n_units));
            sum = v_fma(v_load(gates_of(call, slot + s, unit) + at[k] * VL), v_load(c + unit), sum);
        }
        v_store_lanes(out, v_add(v_load_lanes(out, lanes), sum), lanes);
    }
}

/* Steps that share their x: nv vectors of each step's gradients go to the sums of its row of x. */
static void add_to_rows(void *sums, ptrdiff_t stride, const ptrdiff_t *x_row, ptrdiff_t n, const real *d,
                        ptrdiff_t d_stride, int nv, const ptrdiff_t *place, const ptrdiff_t *lanes) {
    for (ptrdiff_t s = 0; s < n; s++, d += d_stride)
        for (int v = 0; v < nv; v++) {
            real *to = row_at(sums, x_row[s], stride) + place[v];
            v_store_lanes(to, v_add(v_load_lanes(to, lanes[v]), v_load(d + v * VL)), lanes[v]);
        }
}

INLINE void weight_gradient_task(const recurrent_call *call, ptrdiff_t task, ptrdiff_t slot, ptrdiff_t n,
                                 const gradient_operand *operands) {
    const cell_spec *cell = cell_of(call);
    ptrdiff_t block = task / tasks_of_block(call), tile = task % tasks_of_block(call), place[4], lanes[4];
    int which = 0;
    while (tile >= operand_tiles(call, which)) tile -= operand_tiles(call, which++);
    const gradient_operand *a = operands + which;
    const weight_spec *weights = a->weights;
    const ptrdiff_t first = tile_begin(a->size, tile), m = tile_begin(a->size, tile + 1) - first;
    const ptrdiff_t stride = weights->n_groups * call->n_units;
    int nv = weights->range.count;
    if (cell->unit_vectors > 1) nv = unit_vectors(cell, call->n_units, block);
    for (int v = 0; v < nv; v++) {
        ptrdiff_t unit = block * block_units(cell) + (cell->unit_vectors > 1 ? v * VL : 0);
        place[v] = weights->group[v] * call->n_units + unit, lanes[v] = call->n_units - unit;
    }
    const real *gates = gates_of(call, slot, block * block_units(cell)) + weights->range.first * VL;
    if (which == BY_X && call->x_rows)
        add_to_rows(call->dx_sums, stride, a->x_row, n, gates, cell->vectors * VL, nv, place, lanes);
    else
        OUTER[m - 1][nv - 1](a->row, first, n, gates, cell->vectors * VL, row_at(a->gradient, first, stride), stride,
                             place, lanes);
    if (which == BY_BIAS && call->dpeephole) peephole_gradient(call, block, slot, n, operands[BY_EXTRA].row);
}

static void weight_gradient(const recurrent_call *call, ptrdiff_t task_begin, ptrdiff_t task_end) {
    static const real one = 1;
    const cell_spec *cell = cell_of(call);
    void *dextra = call->dpeephole_kernel ? call->dpeephole_kernel : call->drecurrent_kernel;
    gradient_operand operands[N_GRADIENTS] = {
        [BY_X] = {.weights = &cell->x, .size = call->n_inputs, .gradient = call->dkernel},
        [BY_H] = {.weights = &cell->h, .size = call->n_units, .gradient = call->drecurrent_kernel},
        [BY_EXTRA] = {.weights = &cell->extra, .size = call->n_units, .gradient = dextra},
        [BY_BIAS] = {.weights = &cell->bias, .size = 1, .gradient = call->dbias},
        [BY_RECURRENT_BIAS] = {.weights = &cell->recurrent_bias, .size = 1, .gradient = call->drecurrent_bias},
    };
    ptrdiff_t t = 0, r = 0;
    for (ptrdiff_t slot = 0; slot < call->n_steps; slot += STEP_BLOCK) {
        ptrdiff_t n = min_size(STEP_BLOCK, call->n_steps - slot);
        if (stopped(call->stop, step_work(call, n))) return;
        for (ptrdiff_t s = 0; s < n; s++, r++) {
            if (slot + s == call->step_base[t + 1]) t++, r = 0;
            ptrdiff_t x_row = position(call, call->x_first, t, r);
            if (call->x_rows) operands[BY_X].x_row[s] = (ptrdiff_t)call->x_rows[x_row];
            else operands[BY_X].row[s] = row_at(call->x, x_row, call->x_stride);
            operands[BY_H].row[s] = h_before(call, t, r);
            operands[BY_EXTRA].row[s] = cell->extra_is == EXTRA_GATED_H ? row_at(call->gated_steps, slot + s, call->h_stride)
                                        : cell->has_c                   ? c_before(call, t, r)
                                                                        : NULL;
            operands[BY_BIAS].row[s] = operands[BY_RECURRENT_BIAS].row[s] = &one;
        }
        for (ptrdiff_t task = task_begin; task < task_end; task++) weight_gradient_task(call, task, slot, n, operands);
    }
}
#endif
