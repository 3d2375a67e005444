/* Dense layer: y = x W + b, on the same tiles as the recurrent layers. M inputs, N outputs. */
#ifndef LSTMFAST_DENSE_H
#define LSTMFAST_DENSE_H

#include <math.h>

#include "kernels.h"
#include "tile.h"

static void dense_forward(const dense_call *call, ptrdiff_t row_begin, ptrdiff_t row_end) {
    ptrdiff_t n = row_end - row_begin;
    for (ptrdiff_t panel = 0; panel < n_panels(call->n_outputs); panel++) {
        int nv = panel_vectors(call->n_outputs, panel);
        const real *weights = (const real *)call->weights + panel_offset(call->n_inputs, panel);
        for (ptrdiff_t tile = 0; tile < n_tiles(n); tile++) {
            ptrdiff_t row = row_begin + tile_begin(n, tile);
            int m = (int)(row_begin + tile_begin(n, tile + 1) - row);
            ALIGNED real out[TILE_ROWS * 4 * VL];
            operand a = {.n = call->n_inputs, .repeats = 1};
            for (int r = 0; r < m; r++) a.row[r] = (const real *)call->x + (row + r) * call->x_stride;
            PRODUCT[m - 1][nv - 1](&a, 1, weights, out);
            for (int r = 0; r < m; r++)
                for (int v = 0; v < nv; v++) {
                    ptrdiff_t column = (panel * 4 + v) * VL;
                    v_store_lanes((real *)call->y + (row + r) * call->n_outputs + column, v_load(out + (r * nv + v) * VL),
                                  call->n_outputs - column);
                }
        }
    }
}

/* out[j] = e^(z[j] - the largest z), in place if one likes; returns their sum. The order of the sum depends on n alone.
 * A NaN need not show in `largest`, but it does in the sum. */
static real exponentials(const real *z, real *out, ptrdiff_t n, real *largest) {
    enum { CHAINS = 4 };
    vec chain[CHAINS], sum[CHAINS];
    ALIGNED real lane[VL];
    real top = z[0];
    if (n < VL)
        for (ptrdiff_t j = 1; j < n; j++) top = z[j] > top ? z[j] : top;
    else { /* the last vector overlaps the one before it: no maximum minds */
        ptrdiff_t j = 0;
        UNROLL for (int k = 0; k < CHAINS; k++) chain[k] = v_load(z);
        for (; j + CHAINS * VL <= n; j += CHAINS * VL)
            UNROLL for (int k = 0; k < CHAINS; k++) chain[k] = v_max(chain[k], v_load(z + j + k * VL));
        for (; j < n; j += VL) chain[0] = v_max(chain[0], v_load(z + min_size(j, n - VL)));
        v_store(lane, v_max(v_max(chain[0], chain[1]), v_max(chain[2], chain[3])));
        top = lane[0];
        for (int k = 1; k < VL; k++) top = lane[k] > top ? lane[k] : top;
    }
    UNROLL for (int k = 0; k < CHAINS; k++) sum[k] = v_set(0);
    for (ptrdiff_t j = 0; j < n; j += CHAINS * VL) {
        ptrdiff_t left[CHAINS], at[CHAINS]; /* past the end, and for the vector that the end cuts: */
        UNROLL for (int k = 0; k < CHAINS; k++) at[k] = min_size(j + k * VL, n), left[k] = n - at[k];
        UNROLL for (int k = 0; k < CHAINS; k++) chain[k] = v_sub(v_set(top), v_load_lanes(z + at[k], left[k]));
        v_exp_minus(CHAINS, chain, EXP_LIMIT, 0);
        UNROLL for (int k = 0; k < CHAINS; k++) {
            v_store_lanes(out + at[k], chain[k], left[k]);
            if (left[k] < VL) chain[k] = v_load_lanes(out + at[k], left[k]); /* the other lanes are 0 */
            sum[k] = v_add(sum[k], chain[k]);
        }
    }
    *largest = top;
    return v_sum(v_add(v_add(sum[0], sum[1]), v_add(sum[2], sum[3])));
}

/* Rows of outputs to probabilities, in place if one likes: softmax, or for multilabel targets the sigmoid of each. */
static void output_probabilities(int multilabel, const void *z, void *probabilities, ptrdiff_t n_rows, ptrdiff_t n) {
    for (ptrdiff_t r = 0; r < n_rows; r++) {
        const real *row = (const real *)z + r * n;
        real *out = (real *)probabilities + r * n, largest;
        if (multilabel) {
            for (ptrdiff_t j = 0; j < n; j += VL) v_store_lanes(out + j, v_sigmoid(v_load_lanes(row + j, n - j)), n - j);
            continue;
        }
        real total = exponentials(row, out, n, &largest);
        for (ptrdiff_t j = 0; j < n; j++) out[j] /= total;
    }
}

/* losses[r] = -log softmax(z[r])[target], and z[r] becomes weights[r] times its gradient: softmax(z[r]) - [j = target]. */
static void softmax_cross_entropy(const cross_entropy_call *call, ptrdiff_t row_begin, ptrdiff_t row_end) {
    ptrdiff_t n = call->n_outputs;
    for (ptrdiff_t r = row_begin; r < row_end; r++) {
        real *row = (real *)call->z + r * n, *target = row + call->targets[r], weight = ((const real *)call->weights)[r];
        real score = *target, largest, total = exponentials(row, row, n, &largest), share = *target / total;
        ((real *)call->losses)[r] = (real)(log((double)total) + ((double)largest - (double)score));
        real factor = weight / total;
        for (ptrdiff_t j = 0; j < n; j++) row[j] *= factor;
        *target = weight * (share - 1);
    }
}

/* dW = [x, 1]^T dy. A task is one tile of rows of dW (or db) for one panel; it sums over all rows in order. Tasks go
 * panel by panel. This is the first task of part `part` of `parts` with about the same work, counted in vectors of dW: the
 * last panel may have fewer than 4. */
static ptrdiff_t dense_weight_gradient_task(const dense_call *call, ptrdiff_t part, ptrdiff_t parts) {
    const ptrdiff_t tasks = n_tiles(call->n_inputs) + 1, last = n_panels(call->n_outputs) - 1;
    const ptrdiff_t before_last = last * tasks * 4, width = panel_vectors(call->n_outputs, last);
    const ptrdiff_t work = part * (before_last + tasks * width) / parts;
    return work < before_last ? work / 4 : last * tasks + (work - before_last) / width;
}

/* Rows of dy are read by whole vectors. Where that would pass the end of the last row, copies are read instead. */
typedef struct {
    ALIGNED real values[VL][4 * VL]; /* of the last panel: at most VL - 1 rows, for N = 1 */
    ptrdiff_t first;                 /* row */
} last_rows;

static void copy_last_rows(const dense_call *call, last_rows *copies) {
    const ptrdiff_t column = (n_panels(call->n_outputs) - 1) * 4 * VL, spare = padded(call->n_outputs) - call->n_outputs;
    copies->first = call->n_rows - min_size(ceil_div(spare, call->dy_stride), call->n_rows);
    for (ptrdiff_t r = copies->first; r < call->n_rows; r++)
        for (ptrdiff_t j = column; j < call->n_outputs; j += VL)
            v_store(copies->values[r - copies->first] + j - column,
                    v_load_lanes((const real *)call->dy + r * call->dy_stride + j, call->n_outputs - j));
}

static void dense_weight_gradient(const dense_call *call, ptrdiff_t task_begin, ptrdiff_t task_end) {
    static const real one = 1;
    const real *x[BLOCK_ROWS], *ones[BLOCK_ROWS];
    const ptrdiff_t tiles = n_tiles(call->n_inputs), last_panel = n_panels(call->n_outputs) - 1;
    last_rows copies;
    copy_last_rows(call, &copies);
    for (ptrdiff_t begin = 0; begin < call->n_rows; begin += BLOCK_ROWS) {
        ptrdiff_t n = min_size(BLOCK_ROWS, call->n_rows - begin), n_direct = min_size(n, copies.first - begin);
        if (n_direct < 0) n_direct = 0;
        for (ptrdiff_t r = 0; r < n; r++) {
            x[r] = (const real *)call->x + (begin + r) * call->x_stride;
            ones[r] = &one;
        }
        for (ptrdiff_t task = task_begin; task < task_end; task++) {
            ptrdiff_t panel = task / (tiles + 1), tile = task % (tiles + 1), column = panel * 4 * VL, lanes[4], place[4];
            int is_bias = tile == tiles, nv = panel_vectors(call->n_outputs, panel);
            ptrdiff_t first = is_bias ? 0 : tile_begin(call->n_inputs, tile);
            ptrdiff_t m = is_bias ? 1 : tile_begin(call->n_inputs, tile + 1) - first;
            real *out = (is_bias ? (real *)call->dbias : (real *)call->dweight + first * call->n_outputs) + column;
            const real *const *rows = is_bias ? ones : x;
            const outer_tile add = OUTER[m - 1][nv - 1];
            for (int v = 0; v < nv; v++) place[v] = v * VL, lanes[v] = call->n_outputs - column - v * VL;
            ptrdiff_t n_read = panel == last_panel ? n_direct : n;
            add(rows, first, n_read, (const real *)call->dy + begin * call->dy_stride + column, call->dy_stride, out,
                call->n_outputs, place, lanes);
            if (n_read < n)
                add(rows + n_read, first, n - n_read, copies.values[begin + n_read - copies.first], 4 * VL, out,
                    call->n_outputs, place, lanes);
        }
    }
}
#endif
