/* The time loop of a recurrent layer, forward.
 *
 * N rows (sequences), T steps, F inputs, H units, S = sum of the lengths; cells.h says what a block of units is.
 * A thread calls this for its own rows, over all T, without meeting the others. At each step a block of units is the
 * outer loop and row tiles the inner one, so that the block's weights stay in L1 while every row uses them; the tile's
 * sums go straight to the cells, and no gate is written unless somebody will read it.
 */
#ifndef LSTMFAST_RECURRENT_FORWARD_H
#define LSTMFAST_RECURRENT_FORWARD_H

#include "cells.h"
#include "meeting.h"
#include "other_cells.h"

INLINE const cell_spec *cell_of(const recurrent_call *call) { return &CELLS[call->cell]; }
INLINE ptrdiff_t position(const recurrent_call *call, const int64_t *first, ptrdiff_t t, ptrdiff_t r) {
    return (ptrdiff_t)first[r] + (call->reverse ? (ptrdiff_t)call->lengths[r] - 1 - t : t);
}
/* Rows of [begin, end) still alive at time t, as a count; never grows with t. */
INLINE ptrdiff_t alive(const recurrent_call *call, ptrdiff_t begin, ptrdiff_t end, ptrdiff_t t) {
    while (end > begin && call->lengths[end - 1] <= t) end--;
    return end - begin;
}
INLINE real *row_at(const void *array, ptrdiff_t row, ptrdiff_t stride) { return (real *)array + row * stride; }

/* Multiply-adds of one step of n rows, about. */
INLINE double step_work(const recurrent_call *call, ptrdiff_t n) {
    return (double)n * (double)(call->n_inputs + call->n_units) * 4 * (double)call->n_units;
}

/* Where row r's state before and after step t stands: rows of h_steps and c_steps, and a slot of gates and gated_steps. */
INLINE ptrdiff_t slot_of(const recurrent_call *call, ptrdiff_t t, ptrdiff_t r) {
    return call->keep ? (ptrdiff_t)call->step_base[t] + r : r;
}
INLINE real *h_before(const recurrent_call *call, ptrdiff_t t, ptrdiff_t r) {
    return row_at(call->h_steps, call->keep ? slot_of(call, t, r) : (t & 1) * call->n_rows + r, call->h_stride);
}
INLINE real *c_before(const recurrent_call *call, ptrdiff_t t, ptrdiff_t r) {
    ptrdiff_t row = r;
    if (call->keep) row += t ? (ptrdiff_t)call->step_base[t - 1] + call->n_rows : 0;
    else if (cell_of(call)->extra_is == EXTRA_C) row += (t & 1) * call->n_rows; /* products still read it */
    return row_at(call->c_steps, row, padded(call->n_units));
}
INLINE real *gates_of(const recurrent_call *call, ptrdiff_t slot, ptrdiff_t unit) {
    return (real *)call->gates + gates_at(cell_of(call), call->keep ? call->n_steps : call->n_rows, slot, unit);
}

/* One row's places at one time step; arrays of units start at unit 0. */
typedef struct {
    const real *x, *h_prev, *c_prev, *h_mask;
    real *c, *gated, *h, *y;
    ptrdiff_t slot, x_row;
} forward_row;

static void forward_places(const recurrent_call *call, ptrdiff_t t, ptrdiff_t r, forward_row *row) {
    const ptrdiff_t units = call->n_units;
    const int last = t + 1 == call->lengths[r];
    row->slot = slot_of(call, t, r);
    row->x_row = position(call, call->x_first, t, r);
    if (call->x_rows) row->x_row = (ptrdiff_t)call->x_rows[row->x_row];
    row->x = row_at(call->x, row->x_row, call->x_stride);
    row->y = call->y ? row_at(call->y, position(call, call->y_first, t, r), call->y_stride) : NULL;
    row->h_prev = h_before(call, t, r);
    row->h = last ? row_at(call->h, r, units) : h_before(call, t + 1, r);
    /* The last h is the caller's; those before it are what the next step's product reads, hence masked. */
    row->h_mask = call->h_mask && !last ? row_at(call->h_mask, r, units) : NULL;
    row->c_prev = c_before(call, t, r);
    row->c = call->keep || cell_of(call)->extra_is == EXTRA_C ? c_before(call, t + 1, r) : (real *)row->c_prev;
    row->gated = call->gated_steps ? row_at(call->gated_steps, row->slot, call->h_stride) : NULL;
}

static void forward_begin(const recurrent_call *call, ptrdiff_t r) {
    ptrdiff_t units = call->n_units;
    real *h = h_before(call, 0, r);
    memset(h, 0, (size_t)units * sizeof(real));
    if (call->h0) memcpy(h, row_at(call->h0, r, units), (size_t)units * sizeof(real));
    for (ptrdiff_t u = 0; call->h_mask && u < units; u++) h[u] *= row_at(call->h_mask, r, units)[u];
    if (!cell_of(call)->has_c) return;
    real *c = c_before(call, 0, r);
    memset(c, 0, (size_t)padded(units) * sizeof(real));
    if (call->c0) memcpy(c, row_at(call->c0, r, units), (size_t)units * sizeof(real));
}

/* ---- steps that share their x, as equal tokens do: what x adds to the products is computed once for each of its rows.
 * Each sum goes on where this one ended, so a step's bits are those it would have alone. ---- */

INLINE real *input_sums_of(const recurrent_call *call, ptrdiff_t block, ptrdiff_t row, ptrdiff_t width) {
    return (real *)call->x_sums + block * call->n_x * cell_of(call)->vectors * VL + row * width;
}

/* Part `part` of `parts` of the blocks of units. */
static void input_sums(const recurrent_call *call, ptrdiff_t part, ptrdiff_t parts) {
    const cell_spec *cell = cell_of(call);
    const ptrdiff_t blocks = n_blocks(cell, call->n_units), n = call->n_x;
    const ptrdiff_t panel = panel_size(cell, 0, call->n_inputs, call->n_units);
    for (ptrdiff_t block = part * blocks / parts; block < (part + 1) * blocks / parts; block++) {
        const int nv = panel_width(cell, 0, call->n_units, block);
        for (ptrdiff_t tile = 0; tile < n_tiles(n); tile++) {
            const ptrdiff_t row = tile_begin(n, tile), m = tile_begin(n, tile + 1) - row;
            operand a = {.n = call->n_inputs, .repeats = 1};
            for (ptrdiff_t r = 0; r < m; r++) a.row[r] = row_at(call->x, row + r, call->x_stride);
            PRODUCT[m - 1][nv - 1](&a, 1, (const real *)call->weights + block * panel,
                                   input_sums_of(call, block, row, nv * VL));
        }
    }
}

/* From the narrow gates of the last block of units (cells.h) to whole vectors. */
static void spread_gates(const real *narrow, int nv, int m, int vectors, ptrdiff_t width, real *z) {
    for (int r = 0; r < m; r++)
        for (int k = 0; k < vectors; k++)
            v_store(z + (r * vectors + k) * VL, v_load_lanes(narrow + r * nv * VL + k * width, width));
}

/* The cell of one vector of units of a row, whose products are z. Inlined, so that none of it goes through memory: as
 * structs in an array it cost 30 cycles a cell. */
INLINE void place_cell(cell_place *cell, const recurrent_call *call, const forward_row *row, ptrdiff_t unit,
                       const real *z) {
    cell->z = z;
    cell->gates = call->gates ? gates_of(call, row->slot, unit) : NULL;
    cell->c_prev = row->c_prev + unit;
    cell->c = row->c + unit;
    cell->h_prev = row->h_prev + unit;
    cell->gated = row->gated + unit;
    cell->unit = unit;
    cell->lanes = call->n_units - unit;
}
INLINE void store_output(const forward_row *row, const cell_place *cell, vec h) {
    if (row->y) v_store_lanes(row->y + cell->unit, h, cell->lanes);
    if (row->h_mask) h = v_mul(h, v_load_lanes(row->h_mask + cell->unit, cell->lanes));
    v_store_lanes(row->h + cell->unit, h, cell->lanes);
}

/* ---- the cells of a phase, compiled for 1 to CELL_CHAINS side by side: BY_ROW of rows that follow each other, BY_UNIT
 * of one row's vectors of units, unit_step apart; their products are z_step apart ---- */

typedef void (*forward_function)(const recurrent_call *, const forward_row *, ptrdiff_t unit, ptrdiff_t unit_step,
                                 const real *z, ptrdiff_t z_step);

enum { BY_UNIT, BY_ROW };
enum { NO_OUTPUT, OUTPUT };
#define FORWARD_BODY(name, count, by_row, output, ...)                                                          \
    static void name##_##count(const recurrent_call *call, const forward_row *row, ptrdiff_t unit,              \
                               ptrdiff_t unit_step, const real *z, ptrdiff_t z_step) {                          \
        enum { n = count };                                                                                     \
        cell_place p[n];                                                                                        \
        vec h[n];                                                                                               \
        if (by_row) unit_step = 0;                                                                              \
        EACH_CHAIN place_cell(p + j, call, row + j * by_row, unit + j * unit_step, z + j * z_step);             \
        __VA_ARGS__;                                                                                            \
        if (output) EACH_CHAIN store_output(row + j * by_row, p + j, h[j]);                                     \
        else (void)h;                                                                                           \
    }
#if CELL_CHAINS == 3
#define FORWARD_BODIES(name, by_row, output, ...)                                                               \
    FORWARD_BODY(name, 1, by_row, output, __VA_ARGS__) FORWARD_BODY(name, 2, by_row, output, __VA_ARGS__)       \
    FORWARD_BODY(name, 3, by_row, output, __VA_ARGS__)                                                          \
    static const forward_function name[] = {name##_1, name##_2, name##_3};
#else
#define FORWARD_BODIES(name, by_row, output, ...)                                                               \
    FORWARD_BODY(name, 1, by_row, output, __VA_ARGS__) FORWARD_BODY(name, 2, by_row, output, __VA_ARGS__)       \
    static const forward_function name[] = {name##_1, name##_2};
#endif

FORWARD_BODIES(forward_standard, BY_ROW, OUTPUT, lstm_forward(n, p, h))
FORWARD_BODIES(forward_ifgo, BY_ROW, OUTPUT, lstm_variant_forward(n, IFGO, call, p, h))
FORWARD_BODIES(forward_ifog, BY_ROW, OUTPUT, lstm_variant_forward(n, IFOG, call, p, h))
FORWARD_BODIES(forward_fgo, BY_ROW, OUTPUT, lstm_variant_forward(n, FGO, call, p, h))
FORWARD_BODIES(forward_gru, BY_ROW, OUTPUT, gru_forward(n, call, p, h))
FORWARD_BODIES(forward_rnn, BY_UNIT, OUTPUT, rnn_forward(n, call, p, h))
FORWARD_BODIES(forward_3_gates, BY_ROW, NO_OUTPUT, gates_forward(n, 3, call, p))
FORWARD_BODIES(forward_2_gates, BY_ROW, NO_OUTPUT, gates_forward(n, 2, call, p))
FORWARD_BODIES(forward_gated, BY_ROW, OUTPUT, gated_recurrence_forward(n, call, p, h))
FORWARD_BODIES(forward_reset_before, BY_ROW, OUTPUT, reset_before_forward(n, call, p, h))
/* For product_pair. */
FORWARD_BODY(forward_standard_pair, 2, BY_UNIT, OUTPUT, lstm_forward(n, p, h))
FORWARD_BODY(forward_ifgo_pair, 2, BY_UNIT, OUTPUT, lstm_variant_forward(n, IFGO, call, p, h))

static const forward_function *const FORWARD[N_CELLS][2] = {
    [CELL_LSTM] = {forward_ifgo},
    [CELL_LSTM_COUPLED] = {forward_fgo},
    [CELL_LSTM_FULL_PEEPHOLE] = {forward_ifgo},
    [CELL_LSTM_GATED_RECURRENCE] = {forward_3_gates, forward_gated},
    [CELL_LSTM_CELL_RECURRENT] = {forward_ifog},
    [CELL_GRU] = {forward_gru},
    [CELL_GRU_RESET_BEFORE] = {forward_2_gates, forward_reset_before},
    [CELL_RNN] = {forward_rnn},
};
INLINE int is_standard_lstm(const recurrent_call *call) {
    return call->cell == CELL_LSTM && !call->peephole && !(call->clip > 0) && call->activation == ACTIVATION_TANH &&
           call->recurrent_activation == ACTIVATION_SIGMOID;
}

/* n cells one after the other, in groups as even as possible: 4 are 2 + 2, not 3 + 1. */
INLINE int group_size(int n) {
    return n == CELL_CHAINS + 1 ? (CELL_CHAINS + 1) / 2 : n < CELL_CHAINS ? n : CELL_CHAINS;
}

/* What is the same for all steps of a phase. `operands` feed it, in the order of the packed weights; offset: where a
 * forward_row has each. */
typedef struct {
    const cell_spec *cell;
    const forward_function *function;
    const real *packed;
    ptrdiff_t panel;          /* values of a block's weights */
    forward_function pair;    /* where product_pair serves, else NULL */
    int vectors;
    const product_tile *tiles; /* [m - 1], of whole vectors */
    int n_operands;
    size_t offset[3];
    operand operands[3];
} phase_plan;

static void plan_phase(const recurrent_call *call, int phase, phase_plan *plan) {
    const cell_spec *cell = cell_of(call);
    const vector_range range = phase_range(cell, phase);
    const size_t extra = cell->extra_is == EXTRA_C ? offsetof(forward_row, c_prev) : offsetof(forward_row, gated);
    const weight_spec *weights[3] = {&cell->x, &cell->h, &cell->extra};
    const size_t offset[3] = {offsetof(forward_row, x), offsetof(forward_row, h_prev), extra};
    plan->cell = cell;
    plan->function = is_standard_lstm(call) ? forward_standard : FORWARD[call->cell][phase];
    plan->packed = (const real *)call->weights + phase_offset(cell, phase, call->n_inputs, call->n_units);
    plan->panel = panel_size(cell, phase, call->n_inputs, call->n_units);
    plan->vectors = range.count;
    plan->pair = is_standard_lstm(call) ? forward_standard_pair_2 : plan->function == forward_ifgo ? forward_ifgo_pair_2 : NULL;
    plan->tiles = is_plain(cell) || n_phases(cell) == 2 ? NULL : SPLIT_PRODUCT[cell->h.range.first];
    plan->n_operands = 0;
    if (call->x_rows) plan->pair = NULL;
    for (int i = call->x_rows ? 1 : 0; i < 3; i++) {
        if (!overlap(range, weights[i]->range).count) continue;
        plan->offset[plan->n_operands] = offset[i];
        plan->operands[plan->n_operands].n = i == 0 ? call->n_inputs : call->n_units;
        plan->operands[plan->n_operands++].repeats = 1;
    }
}

/* n rows, one phase, blocks [begin, end) of units: products, then the cells. Weights that just miss fitting a cache are
 * best read forth and back by turns: what was read last is still there. */
static void forward_blocks(const recurrent_call *call, phase_plan *plan, const forward_row *rows, ptrdiff_t n,
                           ptrdiff_t begin, ptrdiff_t end, int backwards) {
    const cell_spec *cell = plan->cell;
    const ptrdiff_t n_whole = call->n_units / VL;
    ALIGNED real z[TILE_ROWS * 4 * VL], narrow[TILE_ROWS * 4 * VL];
    for (ptrdiff_t done = 0, taken; done < end - begin; done += taken) {
        const ptrdiff_t block = backwards ? end - 1 - done : begin + done, other = backwards ? block - 1 : block + 1;
        const ptrdiff_t unit = block * block_units(cell), width = gate_width(cell, call->n_units, block);
        const real *weights = plan->packed + block * plan->panel;
        const int units = unit_vectors(cell, call->n_units, block);
        const int stride = cell->unit_vectors > 1 ? 1 : plan->vectors; /* of z, from cell to cell, in vectors */
        const int pair = n == 1 && plan->pair && done + 1 < end - begin && block < n_whole && other < n_whole;
        taken = 1 + pair;
        for (ptrdiff_t tile = 0; tile < n_tiles(n); tile++) {
            const forward_row *row = rows + tile_begin(n, tile);
            const int m = (int)(tile_begin(n, tile + 1) - tile_begin(n, tile));
            for (int i = 0; i < plan->n_operands; i++)
                for (int r = 0; r < m; r++)
                    plan->operands[i].row[r] = *(const real *const *)((const char *)(row + r) + plan->offset[i]);
            if (pair) {
                product_pair(plan->operands, plan->n_operands, weights, plan->packed + other * plan->panel, z);
                plan->pair(call, row, unit, (other - block) * VL, z, 4 * VL);
                continue;
            }
            const int nv = width < VL ? (int)ceil_div(plan->vectors * width, VL) : stride * units;
            real *sums = width < VL ? narrow : z;
            if (call->x_rows) {
                const real *start[TILE_ROWS];
                for (int r = 0; r < m; r++) start[r] = input_sums_of(call, block, row[r].x_row, nv * VL);
                PRODUCT_FROM[m - 1][nv - 1](start, plan->operands, plan->n_operands,
                                            weights + (1 + call->n_inputs) * nv * VL, sums);
            } else {
                product_tile product = plan->tiles && width == VL ? plan->tiles[m - 1] : PRODUCT[m - 1][nv - 1];
                product(plan->operands, plan->n_operands, weights, sums);
            }
            if (width < VL) spread_gates(narrow, nv, m, plan->vectors, width, z);
            for (int r = 0, taken_rows; cell->unit_vectors == 1 && r < m; r += taken_rows) {
                taken_rows = group_size(m - r);
                plan->function[taken_rows - 1](call, row + r, unit, 0, z + r * stride * VL, stride * VL);
            }
            for (int r = 0; cell->unit_vectors > 1 && r < m; r++)
                for (int v = 0, taken_units; v < units; v += taken_units) {
                    taken_units = group_size(units - v);
                    plan->function[taken_units - 1](call, row + r, unit + v * VL, VL, z + (r * units + v) * VL, VL);
                }
        }
    }
}

/* One step of rows that carry their state from call to call: h_steps (2, N, H) holds h_prev in half `now` and gets h in
 * the other; so does c_steps where products read c, elsewhere it is (N, Hp). Only the first fields of the call, x,
 * h_steps, c_steps and scratch are used. Threads own rows, or part `part` of `parts` of the units: then each core keeps
 * its own part of the weights in its cache; not for cells with two phases. */
static void recurrent_step(const recurrent_call *call, int now, ptrdiff_t row_begin, ptrdiff_t row_end, ptrdiff_t part,
                           ptrdiff_t parts) {
    const cell_spec *cell = cell_of(call);
    ptrdiff_t blocks = n_blocks(cell, call->n_units);
    for (ptrdiff_t begin = row_begin; begin < row_end; begin += BLOCK_ROWS) {
        ptrdiff_t n = min_size(BLOCK_ROWS, row_end - begin);
        forward_row rows[BLOCK_ROWS];
        for (ptrdiff_t i = 0; i < n; i++) {
            ptrdiff_t r = begin + i;
            rows[i] = (forward_row){.x = row_at(call->x, r, call->x_stride),
                                    .h_prev = h_before(call, now, r),
                                    .h = h_before(call, !now, r),
                                    .c_prev = c_before(call, now, r),
                                    .c = c_before(call, !now, r),
                                    .gated = row_at(call->gated_steps, r, call->h_stride),
                                    .slot = r};
        }
        for (int phase = 0; phase < n_phases(cell); phase++) {
            phase_plan plan;
            plan_phase(call, phase, &plan);
            forward_blocks(call, &plan, rows, n, part * blocks / parts, (part + 1) * blocks / parts, now);
        }
    }
}

/* Rows [begin, end), at most BLOCK_ROWS, over all their steps. `parties` threads share them: each owns a part of the
 * units, and they meet after each phase of a step. */
static void forward_rows(const recurrent_call *call, ptrdiff_t begin, ptrdiff_t end, meeting *place, int thread,
                         int parties) {
    const cell_spec *cell = cell_of(call);
    const ptrdiff_t blocks = n_blocks(cell, call->n_units), units = call->n_units;
    const ptrdiff_t block_begin = thread * blocks / parties, block_end = (thread + 1) * blocks / parties;
    const ptrdiff_t first = block_begin * block_units(cell), own = min_size(block_end * block_units(cell), units) - first;
    forward_row rows[BLOCK_ROWS];
    phase_plan plans[2];
    for (int phase = 0; phase < n_phases(cell); phase++) plan_phase(call, phase, plans + phase);
    for (ptrdiff_t r = begin; thread == 0 && r < end; r++) forward_begin(call, r);
    if (parties > 1) meet(place, parties);
    for (ptrdiff_t t = 0, n; (n = alive(call, begin, end, t)) > 0; t++) {
        if (thread == 0 && stopped(call->stop, step_work(call, n) / parties)) {
            if (parties == 1) return;
            place->asked = 1;
        }
        for (ptrdiff_t r = 0; r < n; r++) forward_places(call, t, begin + r, rows + r);
        for (int phase = 0; phase < n_phases(cell); phase++) {
            forward_blocks(call, plans + phase, rows, n, block_begin, block_end, t & 1);
            if (parties > 1 && meet(place, parties)) return;
        }
        for (ptrdiff_t r = 0; call->c && r < n; r++)
            if (t + 1 == call->lengths[begin + r] && own > 0)
                memcpy(row_at(call->c, begin + r, units) + first, rows[r].c + first, (size_t)own * sizeof(real));
    }
}

static void recurrent_forward(const recurrent_call *call, ptrdiff_t row_begin, ptrdiff_t row_end) {
    for (ptrdiff_t begin = row_begin; begin < row_end; begin += BLOCK_ROWS)
        forward_rows(call, begin, min_size(begin + BLOCK_ROWS, row_end), NULL, 0, 1);
}

/* For few rows and many units: each of the threads in a team calls this with its number. */
static void recurrent_forward_shared(const recurrent_call *call, meeting *place, int thread, int parties) {
    forward_rows(call, 0, call->n_rows, place, thread, parties);
}
#endif
