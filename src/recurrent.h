/* The time loops of a recurrent layer: forward, backward, and the gradients of its input and weights.
 *
 * N rows (sequences), T steps, F inputs, H units, S = sum of the lengths; gates i f g o (lstm_cell.h).
 * A thread calls these for its own rows, over all T, without meeting the others. At each step a block of units is the
 * outer loop and row tiles the inner one, so that the block's weights stay in L1 while every row uses them; the tile's
 * sums go straight to the pointwise step, and no gate is written unless the backward pass will read it.
 */
#ifndef LSTMFAST_RECURRENT_H
#define LSTMFAST_RECURRENT_H

#include "kernels.h"
#include "lstm_cell.h"
#include "meeting.h"
#include "tile.h"

#define STEP_BLOCK 128 /* steps of one outer product: 4 vectors of gradients a step, 32 kB, stay in L1 */

INLINE ptrdiff_t position(const recurrent_call *call, const int64_t *first, ptrdiff_t t, ptrdiff_t r) {
    return (ptrdiff_t)first[r] + (call->reverse ? (ptrdiff_t)call->lengths[r] - 1 - t : t);
}
/* Rows of [begin, end) still alive at time t, as a count; never grows with t. */
INLINE ptrdiff_t alive(const recurrent_call *call, ptrdiff_t begin, ptrdiff_t end, ptrdiff_t t) {
    while (end > begin && call->lengths[end - 1] <= t) end--;
    return end - begin;
}
INLINE real *row_at(const void *array, ptrdiff_t row, ptrdiff_t stride) { return (real *)array + row * stride; }

/* One row's places at one time step. c and c_prev start at unit 0, gates at the first block of units. */
typedef struct {
    const real *h_prev, *x, *h_mask, *c_prev;
    real *c, *gates, *h, *y;
} forward_row;

static void forward_places(const recurrent_call *call, ptrdiff_t t, ptrdiff_t r, forward_row *place) {
    ptrdiff_t units = call->n_units, padded_units = padded(units);
    int last = t + 1 == call->lengths[r];
    place->x = row_at(call->x, position(call, call->x_first, t, r), call->x_stride);
    place->y = call->y ? row_at(call->y, position(call, call->y_first, t, r), call->y_stride) : NULL;
    /* The last h is the caller's; those before it are what the next step's product reads, hence masked. */
    place->h_mask = call->h_mask && !last ? row_at(call->h_mask, r, units) : NULL;
    if (call->gates) {
        ptrdiff_t slot = (ptrdiff_t)call->step_base[t] + r, before = t ? (ptrdiff_t)call->step_base[t - 1] + call->n_rows : 0;
        place->gates = row_at(call->gates, slot, 4 * VL);
        place->c_prev = row_at(call->c_steps, before + r, padded_units);
        place->c = row_at(call->c_steps, call->n_rows + slot, padded_units);
        place->h_prev = row_at(call->h_steps, slot, call->h_stride);
        place->h = last ? row_at(call->h, r, units) : row_at(call->h_steps, (ptrdiff_t)call->step_base[t + 1] + r, call->h_stride);
    } else {
        place->gates = NULL;
        place->c = row_at(call->c_steps, r, padded_units);
        place->c_prev = place->c;
        place->h_prev = row_at(call->h_steps, (t & 1) * call->n_rows + r, call->h_stride);
        place->h = last ? row_at(call->h, r, units) : row_at(call->h_steps, (~t & 1) * call->n_rows + r, call->h_stride);
    }
}

static void forward_begin(const recurrent_call *call, ptrdiff_t r) {
    ptrdiff_t units = call->n_units;
    real *h = row_at(call->h_steps, r, call->h_stride), *c = row_at(call->c_steps, r, padded(units));
    memset(h, 0, (size_t)units * sizeof(real));
    memset(c, 0, (size_t)padded(units) * sizeof(real));
    if (call->h0) memcpy(h, row_at(call->h0, r, units), (size_t)units * sizeof(real));
    if (call->c0) memcpy(c, row_at(call->c0, r, units), (size_t)units * sizeof(real));
    for (ptrdiff_t u = 0; call->h_mask && u < units; u++) h[u] *= row_at(call->h_mask, r, units)[u];
}

/* The cells of n rows and one block of units, z their products; or with row_step 0, of n blocks of one row. */
INLINE void forward_cells(const int n, const recurrent_call *call, const forward_row *row, ptrdiff_t row_step,
                          ptrdiff_t block, ptrdiff_t block_step, const real *z) {
    const real *zs[CELL_CHAINS], *c_prev[CELL_CHAINS];
    real *c[CELL_CHAINS], *gates[CELL_CHAINS];
    vec h[CELL_CHAINS];
    UNROLL for (int j = 0; j < n; j++) {
        const forward_row *place = row + j * row_step;
        ptrdiff_t at = block + j * block_step;
        zs[j] = z + j * 4 * VL, c_prev[j] = place->c_prev + at * VL, c[j] = place->c + at * VL;
        gates[j] = call->gates ? row_at(place->gates, at * call->n_steps, 4 * VL) : NULL;
    }
    lstm_cell_forward(n, zs, c_prev, c, gates, h);
    UNROLL for (int j = 0; j < n; j++) {
        const forward_row *place = row + j * row_step;
        ptrdiff_t unit = (block + j * block_step) * VL, lanes = call->n_units - unit;
        if (place->y) v_store_lanes(place->y + unit, h[j], lanes);
        if (place->h_mask) h[j] = v_mul(h[j], v_load_lanes(place->h_mask + unit, lanes));
        v_store_lanes(place->h + unit, h[j], lanes);
    }
}
static void forward_cells_1(const recurrent_call *call, const forward_row *row, ptrdiff_t row_step, ptrdiff_t block,
                            ptrdiff_t block_step, const real *z) {
    forward_cells(1, call, row, row_step, block, block_step, z);
}
static void forward_cells_2(const recurrent_call *call, const forward_row *row, ptrdiff_t row_step, ptrdiff_t block,
                            ptrdiff_t block_step, const real *z) {
    forward_cells(2, call, row, row_step, block, block_step, z);
}
#if CELL_CHAINS == 3
static void forward_cells_3(const recurrent_call *call, const forward_row *row, ptrdiff_t row_step, ptrdiff_t block,
                            ptrdiff_t block_step, const real *z) {
    forward_cells(3, call, row, row_step, block, block_step, z);
}
#endif

/* A tile of m rows, as evenly as possible: 4 rows are 2 + 2, not 3 + 1. */
INLINE void forward_tile_cells(const recurrent_call *call, const forward_row *row, int m, ptrdiff_t block,
                               const real *z) {
    while (m > 0) {
        int parts = (m + CELL_CHAINS - 1) / CELL_CHAINS, n = (m + parts - 1) / parts;
        if (n == 1) forward_cells_1(call, row, 1, block, 0, z);
        if (n == 2) forward_cells_2(call, row, 1, block, 0, z);
#if CELL_CHAINS == 3
        if (n == 3) forward_cells_3(call, row, 1, block, 0, z);
#endif
        row += n, z += n * 4 * VL, m -= n;
    }
}

/* From the narrow gates of the last block of units (tile.h) to whole vectors. */
static void spread_gates(const real *narrow, int nv, int m, ptrdiff_t n_units, real *z) {
    for (ptrdiff_t i = 0; i < 4 * m; i++) v_store(z + i * VL, v_load_lanes(narrow + i * (nv * VL / 4), n_units));
}

/* n rows, blocks [begin, end) of units: products, then the cells. Weights that just miss fitting a cache are best read
 * forth and back by turns: what was read last is still there. */
static void forward_blocks(const recurrent_call *call, const forward_row *rows, ptrdiff_t n, ptrdiff_t begin,
                           ptrdiff_t end, int backwards) {
    const ptrdiff_t panel = 4 * VL * (1 + call->n_inputs + call->n_units), n_whole = call->n_units / VL;
    ALIGNED real z[TILE_ROWS * 4 * VL], narrow[TILE_ROWS * 4 * VL];
    for (ptrdiff_t done = 0, taken; done < end - begin; done += taken) {
        ptrdiff_t block = backwards ? end - 1 - done : begin + done;
        const real *weights = row_at(call->weights, block, panel);
        int nv = gate_vectors(call->n_units, block);
        taken = 1;
        for (ptrdiff_t tile = 0; tile < n_tiles(n); tile++) {
            const forward_row *row = rows + tile_begin(n, tile);
            int m = (int)(tile_begin(n, tile + 1) - tile_begin(n, tile));
            operand a[2] = {{.n = call->n_inputs, .repeats = 1}, {.n = call->n_units, .repeats = 1}};
            for (int r = 0; r < m; r++) a[0].row[r] = row[r].x, a[1].row[r] = row[r].h_prev;
            if (n == 1 && done + 1 < end - begin && block < n_whole) {
                ptrdiff_t other = backwards ? -1 : 1;
                if (block + other < n_whole) {
                    product_pair(a, 2, weights, weights + other * panel, z);
                    forward_cells_2(call, row, 0, block, other, z);
                    taken = 2;
                    continue;
                }
            }
            PRODUCT[m - 1][nv - 1](a, 2, weights, nv == 4 ? z : narrow);
            if (nv < 4) spread_gates(narrow, nv, m, call->n_units - block * VL, z);
            forward_tile_cells(call, row, m, block, z);
        }
    }
}

/* One step of rows that carry their state from call to call: h_steps (2, N, H) holds h_prev in half `now` and gets h in
 * the other, c_steps (N, Hp) holds c. Only x, its stride, h_steps and c_steps of the call are used. Threads own rows, or
 * units (ranges that begin at a whole vector): then each core keeps its own part of the weights in its cache. */
static void lstm_step(const recurrent_call *call, int now, ptrdiff_t row_begin, ptrdiff_t row_end,
                      ptrdiff_t unit_begin, ptrdiff_t unit_end) {
    for (ptrdiff_t begin = row_begin; begin < row_end; begin += BLOCK_ROWS) {
        ptrdiff_t n = min_size(BLOCK_ROWS, row_end - begin);
        forward_row rows[BLOCK_ROWS];
        for (ptrdiff_t i = 0; i < n; i++) {
            ptrdiff_t r = begin + i;
            real *c = row_at(call->c_steps, r, padded(call->n_units));
            rows[i] = (forward_row){.x = row_at(call->x, r, call->x_stride),
                                    .h_prev = row_at(call->h_steps, now * call->n_rows + r, call->h_stride),
                                    .h = row_at(call->h_steps, !now * call->n_rows + r, call->h_stride),
                                    .c_prev = c,
                                    .c = c};
        }
        forward_blocks(call, rows, n, unit_begin / VL, ceil_div(unit_end, VL), now);
    }
}

/* Rows [begin, end), at most BLOCK_ROWS, over all their steps. A thread that shares them with `parties` - 1 others owns
 * the units [unit_begin, unit_end), a range that begins at a whole vector, and meets the others after each step. */
static void forward_rows(const recurrent_call *call, ptrdiff_t begin, ptrdiff_t end, ptrdiff_t unit_begin,
                         ptrdiff_t unit_end, meeting *place, int parties) {
    ptrdiff_t n, units = call->n_units, own_units = unit_end - unit_begin;
    forward_row rows[BLOCK_ROWS];
    for (ptrdiff_t r = begin; unit_begin == 0 && r < end; r++) forward_begin(call, r);
    if (parties > 1) meet(place, parties);
    for (ptrdiff_t t = 0; (n = alive(call, begin, end, t)) > 0; t++) {
        for (ptrdiff_t r = 0; r < n; r++) forward_places(call, t, begin + r, rows + r);
        forward_blocks(call, rows, n, unit_begin / VL, ceil_div(unit_end, VL), t & 1);
        for (ptrdiff_t r = 0; r < n; r++)
            if (t + 1 == call->lengths[begin + r])
                memcpy(row_at(call->c, begin + r, units) + unit_begin, rows[r].c + unit_begin,
                       (size_t)own_units * sizeof(real));
        if (parties > 1) meet(place, parties);
    }
}

static void lstm_forward(const recurrent_call *call, ptrdiff_t row_begin, ptrdiff_t row_end) {
    for (ptrdiff_t begin = row_begin; begin < row_end; begin += BLOCK_ROWS)
        forward_rows(call, begin, min_size(begin + BLOCK_ROWS, row_end), 0, call->n_units, NULL, 1);
}

/* For few rows and many units: each of the threads in a team calls this with its number. */
static void lstm_forward_shared(const recurrent_call *call, meeting *place, int thread, int parties) {
    ptrdiff_t blocks = ceil_div(call->n_units, VL);
    forward_rows(call, 0, call->n_rows, thread * blocks / parties * VL,
                 min_size((thread + 1) * blocks / parties * VL, call->n_units), place, parties);
}

/* The gradients of z at time t for rows [row, row + m), as the left operand of a product with transposed weights. */
INLINE operand gate_gradients(const recurrent_call *call, ptrdiff_t t, ptrdiff_t row, int m) {
    operand a = {.n = 4 * VL, .repeats = ceil_div(call->n_units, VL), .stride = call->n_steps * 4 * VL};
    for (int r = 0; r < m; r++) a.row[r] = row_at(call->gates, (ptrdiff_t)call->step_base[t] + row + r, 4 * VL);
    return a;
}

/* dh of time t from the step after it (all rows of the tile are alive there, or none), then through the cell. */
static void backward_tile(const recurrent_call *call, ptrdiff_t t, ptrdiff_t row, int m, int has_next, ptrdiff_t panel) {
    ptrdiff_t units = call->n_units, padded_units = padded(units);
    int nv = panel_vectors(units, panel);
    ALIGNED real dh_next[TILE_ROWS * 4 * VL] = {0};
    if (has_next) {
        operand a = gate_gradients(call, t + 1, row, m);
        PRODUCT[m - 1][nv - 1](&a, 1, (const real *)call->weights_h_t + panel_offset(4 * padded_units, panel), dh_next);
    }
    for (int i = 0; i < m; i++) {
        ptrdiff_t r = row + i, slot = (ptrdiff_t)call->step_base[t] + r;
        ptrdiff_t before = t ? (ptrdiff_t)call->step_base[t - 1] + call->n_rows : 0;
        int last = t + 1 == call->lengths[r];
        for (int v = 0; v < nv; v++) {
            ptrdiff_t block = panel * 4 + v, unit = block * VL, lanes = units - unit;
            vec dh = v_load(dh_next + (i * nv + v) * VL);
            if (call->h_mask && has_next) dh = v_mul(dh, v_load_lanes(row_at(call->h_mask, r, units) + unit, lanes));
            if (call->dy) {
                const real *dy = row_at(call->dy, position(call, call->y_first, t, r), call->dy_stride);
                dh = v_add(dh, v_load_lanes(dy + unit, lanes));
            }
            if (call->dh && last) dh = v_add(dh, v_load_lanes(row_at(call->dh, r, units) + unit, lanes));
            lstm_cell_backward(row_at(call->gates, block * call->n_steps + slot, 4 * VL),
                               row_at(call->c_steps, before + r, padded_units) + unit,
                               row_at(call->c_steps, call->n_rows + slot, padded_units) + unit, dh,
                               row_at(call->dc_carry, r, padded_units) + unit);
        }
    }
}

static void backward_rows(const recurrent_call *call, ptrdiff_t t, ptrdiff_t begin, ptrdiff_t end, int has_next) {
    for (ptrdiff_t panel = 0; panel < n_panels(call->n_units); panel++)
        for (ptrdiff_t tile = 0, n = end - begin; tile < n_tiles(n); tile++) {
            ptrdiff_t first = tile_begin(n, tile);
            backward_tile(call, t, begin + first, (int)(tile_begin(n, tile + 1) - first), has_next, panel);
        }
}

/* dh0 = dz(0) U^T, masked as h0 was. */
static void initial_h_gradient(const recurrent_call *call, ptrdiff_t begin, ptrdiff_t end) {
    ptrdiff_t units = call->n_units;
    for (ptrdiff_t r = begin; r < end; r++) {
        operand a = gate_gradients(call, 0, r, 1);
        for (ptrdiff_t panel = 0; panel < n_panels(units); panel++) {
            int nv = panel_vectors(units, panel);
            ALIGNED real dh[4 * VL];
            PRODUCT[0][nv - 1](&a, 1, (const real *)call->weights_h_t + panel_offset(4 * padded(units), panel), dh);
            for (ptrdiff_t j = 0, unit = panel * 4 * VL; j < nv * VL && unit + j < units; j++)
                row_at(call->dh0, r, units)[unit + j] =
                    call->h_mask ? dh[j] * row_at(call->h_mask, r, units)[unit + j] : dh[j];
        }
    }
}

static void lstm_backward(const recurrent_call *call, ptrdiff_t row_begin, ptrdiff_t row_end) {
    ptrdiff_t units = call->n_units, padded_units = padded(units);
    for (ptrdiff_t begin = row_begin; begin < row_end; begin += BLOCK_ROWS) {
        ptrdiff_t end = min_size(begin + BLOCK_ROWS, row_end);
        for (ptrdiff_t r = begin; r < end; r++) {
            real *carry = row_at(call->dc_carry, r, padded_units);
            memset(carry, 0, (size_t)padded_units * sizeof(real));
            if (call->dc) memcpy(carry, row_at(call->dc, r, units), (size_t)units * sizeof(real));
        }
        for (ptrdiff_t t = (ptrdiff_t)call->lengths[begin] - 1; t >= 0; t--) {
            ptrdiff_t n_next = alive(call, begin, end, t + 1), n = alive(call, begin, end, t);
            backward_rows(call, t, begin, begin + n_next, 1);
            backward_rows(call, t, begin + n_next, begin + n, 0);
        }
        if (call->dh0) initial_h_gradient(call, begin, end);
        for (ptrdiff_t r = begin; call->dc0 && r < end; r++)
            memcpy(row_at(call->dc0, r, units), row_at(call->dc_carry, r, padded_units), (size_t)units * sizeof(real));
    }
}

/* dx = dz W^T, in its own pass: the two directions of a layer add to the same dx, one after the other. */
static void input_gradient(const recurrent_call *call, ptrdiff_t row_begin, ptrdiff_t row_end) {
    ptrdiff_t n_rows_k = 4 * padded(call->n_units), n;
    for (ptrdiff_t t = 0; (n = alive(call, row_begin, row_end, t)) > 0; t++)
        for (ptrdiff_t panel = 0; panel < n_panels(call->n_inputs); panel++) {
            int nv = panel_vectors(call->n_inputs, panel);
            const real *weights = (const real *)call->weights_x_t + panel_offset(n_rows_k, panel);
            for (ptrdiff_t tile = 0; tile < n_tiles(n); tile++) {
                ptrdiff_t row = row_begin + tile_begin(n, tile);
                int m = (int)(row_begin + tile_begin(n, tile + 1) - row);
                ALIGNED real out[TILE_ROWS * 4 * VL];
                operand a = gate_gradients(call, t, row, m);
                PRODUCT[m - 1][nv - 1](&a, 1, weights, out);
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

/* ---- weight gradients: [x, h_prev, 1]^T dz. A task is one tile of rows of them for one block of units; it sums over
 * all S steps in slot order, so the result does not depend on who does which task. ---- */

static ptrdiff_t weight_gradient_tasks(const recurrent_call *call) {
    return ceil_div(call->n_units, VL) * (n_tiles(call->n_inputs) + n_tiles(call->n_units) + 1);
}

INLINE void weight_gradient_task(const recurrent_call *call, ptrdiff_t task, ptrdiff_t slot, ptrdiff_t n,
                                 const real *const *x, const real *const *h, const real *const *ones) {
    ptrdiff_t x_tiles = n_tiles(call->n_inputs), h_tiles = n_tiles(call->n_units);
    ptrdiff_t block = task / (x_tiles + h_tiles + 1), tile = task % (x_tiles + h_tiles + 1), size;
    const real *const *a;
    void *out;
    if (tile < x_tiles) {
        a = x, size = call->n_inputs, out = call->dkernel;
    } else if ((tile -= x_tiles) < h_tiles) {
        a = h, size = call->n_units, out = call->drecurrent_kernel;
    } else {
        a = ones, size = 1, tile = 0, out = call->dbias;
    }
    ptrdiff_t first = tile_begin(size, tile), m = tile_begin(size, tile + 1) - first;
    ptrdiff_t left = call->n_units - block * VL, lanes[4] = {left, left, left, left};
    OUTER[m - 1][3](a, first, n, row_at(call->gates, block * call->n_steps + slot, 4 * VL), 4 * VL,
                    row_at(out, first, 4 * call->n_units) + block * VL, 4 * call->n_units, call->n_units, lanes);
}

static void weight_gradient(const recurrent_call *call, ptrdiff_t task_begin, ptrdiff_t task_end) {
    static const real one = 1;
    const real *x[STEP_BLOCK], *h[STEP_BLOCK], *ones[STEP_BLOCK];
    ptrdiff_t t = 0, r = 0;
    for (ptrdiff_t slot = 0; slot < call->n_steps; slot += STEP_BLOCK) {
        ptrdiff_t n = min_size(STEP_BLOCK, call->n_steps - slot);
        for (ptrdiff_t s = 0; s < n; s++, r++) {
            if (slot + s == call->step_base[t + 1]) t++, r = 0;
            x[s] = row_at(call->x, position(call, call->x_first, t, r), call->x_stride);
            h[s] = row_at(call->h_steps, slot + s, call->h_stride);
            ones[s] = &one;
        }
        for (ptrdiff_t task = task_begin; task < task_end; task++) weight_gradient_task(call, task, slot, n, x, h, ones);
    }
}
#endif
