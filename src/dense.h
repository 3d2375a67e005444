/* Dense layer: y = x W + b, on the same tiles as the recurrent layers. M inputs, N outputs. */
#ifndef LSTMFAST_DENSE_H
#define LSTMFAST_DENSE_H

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
            for (int r = 0; r < m; r++) a.row[r] = (const real *)call->x + (row + r) * call->n_inputs;
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

/* Rows of outputs to probabilities, in place if one likes: softmax, or for multilabel targets the sigmoid of each.
 * Each row is summed in order. */
static void output_probabilities(int multilabel, const void *z, void *probabilities, ptrdiff_t n_rows, ptrdiff_t n) {
    for (ptrdiff_t r = 0; r < n_rows; r++) {
        const real *row = (const real *)z + r * n;
        real *out = (real *)probabilities + r * n, largest = row[0], total = 0;
        for (ptrdiff_t j = 1; j < n; j++) largest = row[j] > largest ? row[j] : largest;
        for (ptrdiff_t j = 0; j < n; j += VL) {
            vec value = v_load_lanes(row + j, n - j);
            value = multilabel ? v_sigmoid(value) : v_exp(v_sub(value, v_set(largest)));
            v_store_lanes(out + j, value, n - j);
        }
        for (ptrdiff_t j = 0; j < n; j++) total += out[j];
        for (ptrdiff_t j = 0; !multilabel && j < n; j++) out[j] /= total;
    }
}

/* dW = [x, 1]^T dy. A task is one tile of rows of dW (or db) for one panel; it sums over all rows in order. */
static ptrdiff_t dense_weight_gradient_tasks(const dense_call *call) {
    return n_panels(call->n_outputs) * (n_tiles(call->n_inputs) + 1);
}

static void dense_weight_gradient(const dense_call *call, ptrdiff_t task_begin, ptrdiff_t task_end) {
    static const real one = 1;
    const real *x[BLOCK_ROWS], *ones[BLOCK_ROWS];
    ptrdiff_t tiles = n_tiles(call->n_inputs), stride = padded(call->n_outputs);
    for (ptrdiff_t begin = 0; begin < call->n_rows; begin += BLOCK_ROWS) {
        ptrdiff_t n = min_size(BLOCK_ROWS, call->n_rows - begin);
        for (ptrdiff_t r = 0; r < n; r++) {
            x[r] = (const real *)call->x + (begin + r) * call->n_inputs;
            ones[r] = &one;
        }
        for (ptrdiff_t task = task_begin; task < task_end; task++) {
            ptrdiff_t panel = task / (tiles + 1), tile = task % (tiles + 1), column = panel * 4 * VL, lanes[4], place[4];
            int is_bias = tile == tiles, nv = panel_vectors(call->n_outputs, panel);
            ptrdiff_t first = is_bias ? 0 : tile_begin(call->n_inputs, tile);
            ptrdiff_t m = is_bias ? 1 : tile_begin(call->n_inputs, tile + 1) - first;
            real *out = is_bias ? (real *)call->dbias : (real *)call->dweight + first * call->n_outputs;
            for (int v = 0; v < nv; v++) place[v] = v * VL, lanes[v] = call->n_outputs - column - v * VL;
            OUTER[m - 1][nv - 1](is_bias ? ones : x, first, n, (const real *)call->dy_padded + begin * stride + column,
                                 stride, out + column, call->n_outputs, place, lanes);
        }
    }
}
#endif
