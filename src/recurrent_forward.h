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
    ptrdiff_t slot;
} forward_row;

static void forward_places(const recurrent_call *call, ptrdiff_t t, ptrdiff_t r, forward_row *row) {
    int last = t + 1 == call->lengths[r];
    row->slot = slot_of(call, t, r);
    row->x = row_at(call->x, position(call, call->x_first, t, r), call->x_stride);
    row->y = call->y ? row_at(call->y, position(call, call->y_first, t, r), call->y_stride) : NULL;
    row->h_prev = h_before(call, t, r);
    row->h = last ? row_at(call->h, r, call->n_units) : h_before(call, t + 1, r);
    /* The last h is the caller's; those before it are what the next step's product reads, hence masked. */
    row->h_mask = call->h_mask && !last ? row_at(call->h_mask, r, call->n_units) : NULL;
    row->c_prev = c_before(call, t, r), row->c = c_before(call, t + 1, r);
    row->gated = row_at(call->gated_steps, row->slot, call->h_stride);
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

/* From the narrow gates of the last block of units (cells.h) to whole vectors. */
static void spread_gates(const real *narrow, int nv, int m, int vectors, ptrdiff_t width, real *z) {
    for (int r = 0; r < m; r++)
        for (int k = 0; k < vectors; k++)
            v_store(z + (r * vectors + k) * VL, v_load_lanes(narrow + r * nv * VL + k * width, width));
}

#define TILE_CELLS (TILE_ROWS * 4)

/* The cell of one vector of units of a row, whose products are z. */
INLINE cell_place place_cell(const recurrent_call *call, const forward_row *row, ptrdiff_t unit, const real *z) {
    return (cell_place){.z = z,
                        .gates = call->gates ? gates_of(call, row->slot, unit) : NULL,
                        .c_prev = row->c_prev + unit,
                        .c = row->c + unit,
                        .h_prev = row->h_prev + unit,
                        .gated = row->gated + unit,
                        .unit = unit,
                        .lanes = call->n_units - unit};
}
INLINE void store_output(const forward_row *row, const cell_place *cell, vec h) {
    if (row->y) v_store_lanes(row->y + cell->unit, h, cell->lanes);
    if (row->h_mask) h = v_mul(h, v_load_lanes(row->h_mask + cell->unit, cell->lanes));
    v_store_lanes(row->h + cell->unit, h, cell->lanes);
}

/* The operands that feed a phase, in the order of the packed weights. */
INLINE int phase_operands(const recurrent_call *call, int phase, const forward_row *rows, int m, operand *a) {
    const cell_spec *cell = cell_of(call);
    vector_range range = phase_range(cell, phase);
    int n = 0;
    if (overlap(range, cell->x.range).count) {
        for (int r = 0; r < m; r++) a[n].row[r] = rows[r].x;
        a[n].n = call->n_inputs, a[n++].repeats = 1;
    }
    if (overlap(range, cell->h.range).count) {
        for (int r = 0; r < m; r++) a[n].row[r] = rows[r].h_prev;
        a[n].n = call->n_units, a[n++].repeats = 1;
    }
    if (overlap(range, cell->extra.range).count) {
        for (int r = 0; r < m; r++) a[n].row[r] = cell->extra_is == EXTRA_C ? rows[r].c_prev : rows[r].gated;
        a[n].n = call->n_units, a[n++].repeats = 1;
    }
    return n;
}

/* n rows, one phase, blocks [begin, end) of units: products, then the cells. Weights that just miss fitting a cache are
 * best read forth and back by turns: what was read last is still there. */
static void forward_blocks(const recurrent_call *call, int phase, const forward_row *rows, ptrdiff_t n, ptrdiff_t begin,
                           ptrdiff_t end, int backwards) {
    const cell_spec *cell = cell_of(call);
    const cell_function *function = functions_of(call)->forward[phase];
    const int vectors = phase_range(cell, phase).count, last_phase = phase + 1 == n_phases(cell);
    const int whole = is_plain(cell) || n_phases(cell) == 2, pairs = n == 1 && is_plain(cell) && vectors == 4;
    const ptrdiff_t panel = panel_size(cell, phase, call->n_inputs, call->n_units), n_whole = call->n_units / VL;
    const real *packed = (const real *)call->weights + phase_offset(cell, phase, call->n_inputs, call->n_units);
    ALIGNED real z[TILE_CELLS * VL], narrow[TILE_CELLS * VL], h[TILE_CELLS * VL];
    cell_place places[TILE_CELLS];
    for (ptrdiff_t done = 0, taken; done < end - begin; done += taken) {
        ptrdiff_t block = backwards ? end - 1 - done : begin + done, other = backwards ? block - 1 : block + 1;
        ptrdiff_t unit = block * block_units(cell), width = gate_width(cell, call->n_units, block);
        const real *weights = packed + block * panel;
        const int nv = panel_width(cell, phase, call->n_units, block), units = unit_vectors(cell, call->n_units, block);
        const int stride = cell->unit_vectors > 1 ? 1 : vectors; /* of z, from cell to cell, in vectors */
        taken = 1;
        for (ptrdiff_t tile = 0; tile < n_tiles(n); tile++) {
            const forward_row *row = rows + tile_begin(n, tile);
            int m = (int)(tile_begin(n, tile + 1) - tile_begin(n, tile)), n_cells = 0;
            operand a[3];
            int n_operands = phase_operands(call, phase, row, m, a);
            if (pairs && cell->unit_vectors == 1 && done + 1 < end - begin && block < n_whole && other < n_whole) {
                product_pair(a, n_operands, weights, packed + other * panel, z);
                places[0] = place_cell(call, row, unit, z);
                places[1] = place_cell(call, row, other * VL, z + 4 * VL);
                function[1](call, places, h);
                store_output(row, places, v_load(h));
                store_output(row, places + 1, v_load(h + VL));
                taken = 2;
                continue;
            }
            if (width < VL) {
                PRODUCT[m - 1][nv - 1](a, n_operands, weights, narrow);
                spread_gates(narrow, nv, m, vectors, width, z);
            } else if (whole) {
                PRODUCT[m - 1][nv - 1](a, n_operands, weights, z);
            } else {
                SPLIT_PRODUCT[cell->h.range.first][m - 1](a, n_operands, weights, z);
            }
            for (int r = 0; r < m; r++)
                for (int v = 0; v < units; v++, n_cells++)
                    places[n_cells] = place_cell(call, row + r, unit + v * VL, z + n_cells * stride * VL);
            run_cells(function, call, places, n_cells, h);
            for (int i = 0; last_phase && i < n_cells; i++) store_output(row + i / units, places + i, v_load(h + i * VL));
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
        for (int phase = 0; phase < n_phases(cell); phase++)
            forward_blocks(call, phase, rows, n, part * blocks / parts, (part + 1) * blocks / parts, now);
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
    for (ptrdiff_t r = begin; thread == 0 && r < end; r++) forward_begin(call, r);
    if (parties > 1) meet(place, parties);
    for (ptrdiff_t t = 0, n; (n = alive(call, begin, end, t)) > 0; t++) {
        for (ptrdiff_t r = 0; r < n; r++) forward_places(call, t, begin + r, rows + r);
        for (int phase = 0; phase < n_phases(cell); phase++) {
            forward_blocks(call, phase, rows, n, block_begin, block_end, t & 1);
            if (parties > 1) meet(place, parties);
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
