/* What each recurrent cell is made of: which products it asks for, and where their weights stand. What it does with
 * them is in lstm_cell.h and other_cells.h; the time loops know cells by this table only.
 *
 * A block of units has up to 4 vectors of VL pre-activations, one register tile: for one vector of units the gates, or
 * for the plain RNN, which has one pre-activation a unit, 4 vectors of units. Three operands feed them, each a range of
 * them: x, h_prev, and for some cells an extra one, c_prev or a gate times h_prev. The latter is known only when that
 * gate is known for all units: such a cell runs in two phases.
 */
#ifndef LSTMFAST_CELLS_H
#define LSTMFAST_CELLS_H

#include "kernels.h"
#include "tile.h"

typedef struct {
    int first, count;
} vector_range;

/* A weight matrix (rows, n_groups H): group[k] of its columns feeds vector range.first + k. */
typedef struct {
    vector_range range;
    int n_groups, group[4];
} weight_spec;

enum { EXTRA_NONE, EXTRA_C, EXTRA_GATED_H };

typedef struct {
    int vectors;      /* of a block */
    int unit_vectors; /* 1, or 4 where a block's vectors are units */
    int second_phase; /* its first vector; == vectors: there is none */
    int has_c, extra_is;
    weight_spec x, h, extra, bias, recurrent_bias;
} cell_spec;

#define ALL_4 {{0, 4}, 4, {0, 1, 2, 3}}
#define NO_WEIGHTS {{0, 0}, 0, {0}}
static const cell_spec CELLS[N_CELLS] = {
    /* i f g o */
    [CELL_LSTM] = {4, 1, 4, 1, EXTRA_NONE, ALL_4, ALL_4, NO_WEIGHTS, ALL_4, NO_WEIGHTS},
    /* f g o */
    [CELL_LSTM_COUPLED] = {3, 1, 3, 1, EXTRA_NONE, {{0, 3}, 3, {0, 1, 2}}, {{0, 3}, 3, {0, 1, 2}}, NO_WEIGHTS,
                           {{0, 3}, 3, {0, 1, 2}}, NO_WEIGHTS},
    /* i f g o, each of c too */
    [CELL_LSTM_FULL_PEEPHOLE] = {4, 1, 4, 1, EXTRA_C, ALL_4, ALL_4, ALL_4, ALL_4, NO_WEIGHTS},
    /* i f o, then g of x and i h; the matrices hold i f g o */
    [CELL_LSTM_GATED_RECURRENCE] = {4, 1, 3, 1, EXTRA_GATED_H, {{0, 4}, 4, {0, 1, 3, 2}}, {{0, 3}, 4, {0, 1, 3}},
                                    {{3, 1}, 4, {2}}, {{0, 4}, 4, {0, 1, 3, 2}}, NO_WEIGHTS},
    /* i f o of x and h, g of c; the kernel holds i f o, the recurrent kernel i f g o */
    [CELL_LSTM_CELL_RECURRENT] = {4, 1, 4, 1, EXTRA_C, {{0, 3}, 3, {0, 1, 2}}, {{0, 3}, 4, {0, 1, 3}},
                                  {{3, 1}, 4, {2}}, {{0, 4}, 4, {0, 1, 3, 2}}, NO_WEIGHTS},
    /* n r z of x, r z and n's recurrent part of h; the matrices hold r z n */
    [CELL_GRU] = {4, 1, 4, 1, EXTRA_NONE, {{0, 3}, 3, {2, 0, 1}}, {{1, 3}, 3, {0, 1, 2}}, NO_WEIGHTS,
                  {{0, 3}, 3, {2, 0, 1}}, {{3, 1}, 1, {0}}},
    /* r z, then n of x and r h */
    [CELL_GRU_RESET_BEFORE] = {3, 1, 2, 1, EXTRA_GATED_H, {{0, 3}, 3, {0, 1, 2}}, {{0, 2}, 3, {0, 1}},
                               {{2, 1}, 3, {2}}, {{0, 3}, 3, {0, 1, 2}}, NO_WEIGHTS},
    /* 4 vectors of units */
    [CELL_RNN] = {4, 4, 4, 0, EXTRA_NONE, {{0, 4}, 1, {0}}, {{0, 4}, 1, {0}}, NO_WEIGHTS, {{0, 4}, 1, {0}}, NO_WEIGHTS},
};

INLINE ptrdiff_t block_units(const cell_spec *cell) { return cell->unit_vectors * VL; }
INLINE ptrdiff_t n_blocks(const cell_spec *cell, ptrdiff_t n_units) { return ceil_div(n_units, block_units(cell)); }
INLINE int n_phases(const cell_spec *cell) { return cell->second_phase < cell->vectors ? 2 : 1; }
INLINE vector_range phase_range(const cell_spec *cell, int phase) {
    return phase == 0 ? (vector_range){0, cell->second_phase}
                      : (vector_range){cell->second_phase, cell->vectors - cell->second_phase};
}
INLINE vector_range overlap(vector_range a, vector_range b) {
    int first = a.first > b.first ? a.first : b.first;
    int end = a.first + a.count < b.first + b.count ? a.first + a.count : b.first + b.count;
    return (vector_range){first, end > first ? end - first : 0};
}
/* Whether every operand feeds every vector. */
INLINE int is_plain(const cell_spec *cell) {
    return n_phases(cell) == 1 && cell->x.range.count == cell->vectors && cell->h.range.count == cell->vectors;
}
static cell_traits traits(int cell) {
    const cell_spec *spec = &CELLS[cell];
    return (cell_traits){.has_c = spec->has_c,
                         .reads_c = spec->extra_is == EXTRA_C,
                         .two_phases = spec->second_phase < spec->vectors,
                         .shares_inputs = is_plain(spec),
                         .kernel_groups = spec->x.n_groups,
                         .recurrent_groups = spec->h.n_groups,
                         .bias_groups = spec->bias.n_groups,
                         .recurrent_bias_groups = spec->recurrent_bias.n_groups};
}

/* The vectors of units of a block. */
INLINE int unit_vectors(const cell_spec *cell, ptrdiff_t n_units, ptrdiff_t block) {
    return (int)min_size(cell->unit_vectors, ceil_div(n_units - block * block_units(cell), VL));
}
/* Where unit-vector `unit / VL` of a slot stands in the gates array. */
INLINE ptrdiff_t gates_at(const cell_spec *cell, ptrdiff_t n_slots, ptrdiff_t slot, ptrdiff_t unit) {
    ptrdiff_t block = unit / VL, vector = 0;
    if (cell->unit_vectors > 1) vector = block % 4, block /= 4;
    return ((block * n_slots + slot) * cell->vectors + vector) * VL;
}
static ptrdiff_t gates_size(int cell, ptrdiff_t n_units) {
    return n_blocks(&CELLS[cell], n_units) * CELLS[cell].vectors * VL;
}

/* ---- packed weights: for each phase, for each block of units a panel as tile.h reads it ----
 *
 * The last block of a plain cell is narrower: its gates are as many quarters of a vector wide as its units need, so that
 * 4 gates of 2 units, or of a quarter of VL, are 1 vector and not 4. */

INLINE ptrdiff_t gate_width(const cell_spec *cell, ptrdiff_t n_units, ptrdiff_t block) {
    ptrdiff_t left = n_units - block * VL, quarter = VL >= 4 ? VL / 4 : 1;
    if (!is_plain(cell) || cell->unit_vectors > 1 || left >= VL) return VL;
    return ceil_div(left, quarter) * quarter;
}
/* Vectors of a panel. */
INLINE int panel_width(const cell_spec *cell, int phase, ptrdiff_t n_units, ptrdiff_t block) {
    if (cell->unit_vectors > 1) return unit_vectors(cell, n_units, block);
    return (int)ceil_div(phase_range(cell, phase).count * gate_width(cell, n_units, block), VL);
}
/* Values of a panel but the last one, which may be narrower. */
INLINE ptrdiff_t panel_size(const cell_spec *cell, int phase, ptrdiff_t n_inputs, ptrdiff_t n_units) {
    vector_range range = phase_range(cell, phase);
    return VL * (range.count + overlap(range, cell->x.range).count * n_inputs +
                 (overlap(range, cell->h.range).count + overlap(range, cell->extra.range).count) * n_units);
}
INLINE ptrdiff_t phase_offset(const cell_spec *cell, int phase, ptrdiff_t n_inputs, ptrdiff_t n_units) {
    return phase ? n_blocks(cell, n_units) * panel_size(cell, 0, n_inputs, n_units) : 0;
}
static ptrdiff_t packed_gates_size(int cell, ptrdiff_t n_inputs, ptrdiff_t n_units) {
    const cell_spec *spec = &CELLS[cell];
    return phase_offset(spec, 1, n_inputs, n_units) +
           (n_phases(spec) > 1 ? n_blocks(spec, n_units) * panel_size(spec, 1, n_inputs, n_units) : 0);
}

/* One row of a weight matrix, or NULL for zeros, into vectors `part` of a block whose gates are `width` wide. */
INLINE real *pack_row(const cell_spec *cell, const weight_spec *weights, vector_range part, const real *row,
                      ptrdiff_t n_units, ptrdiff_t block, ptrdiff_t width, real *out) {
    for (int k = part.first; k < part.first + part.count; k++, out += width) {
        ptrdiff_t unit = block * block_units(cell) + (cell->unit_vectors > 1 ? k * VL : 0), n = 0;
        if (row && overlap((vector_range){k, 1}, weights->range).count) n = min_size(width, n_units - unit);
        for (ptrdiff_t j = 0; j < n; j++) out[j] = row[weights->group[k - weights->range.first] * n_units + unit + j];
        for (ptrdiff_t j = n > 0 ? n : 0; j < width; j++) out[j] = 0;
    }
    return out;
}
INLINE real *pack_rows(const cell_spec *cell, const weight_spec *weights, vector_range part, const real *matrix,
                       ptrdiff_t n_rows, ptrdiff_t n_units, ptrdiff_t block, ptrdiff_t width, ptrdiff_t row_width,
                       real *out) {
    for (ptrdiff_t k = 0; k < n_rows; k++, out += row_width)
        pack_row(cell, weights, part, matrix + k * weights->n_groups * n_units, n_units, block, width, out);
    return out;
}

static void pack_gates(int cell, const void *kernel, const void *recurrent_kernel, const void *bias, const void *extra,
                       const void *recurrent_bias, ptrdiff_t n_inputs, ptrdiff_t n_units, void *packed, ptrdiff_t part,
                       ptrdiff_t parts) {
    const cell_spec *spec = &CELLS[cell];
    const ptrdiff_t blocks = n_blocks(spec, n_units);
    if (!extra) extra = recurrent_kernel;
    for (int phase = 0; phase < n_phases(spec); phase++)
        for (ptrdiff_t block = part * blocks / parts; block < (part + 1) * blocks / parts; block++) {
            real *out = (real *)packed + phase_offset(spec, phase, n_inputs, n_units) +
                        block * panel_size(spec, phase, n_inputs, n_units);
            ptrdiff_t width = gate_width(spec, n_units, block), row_width;
            vector_range all = phase_range(spec, phase), fed;
            if (spec->unit_vectors > 1) all.count = panel_width(spec, phase, n_units, block);
            row_width = panel_width(spec, phase, n_units, block) * VL;
            memset(out, 0, (size_t)row_width * sizeof(real));
            pack_row(spec, &spec->bias, overlap(all, (vector_range){0, 4}), bias, n_units, block, width, out);
            fed = overlap(all, spec->recurrent_bias.range);
            if (recurrent_bias && fed.count)
                pack_row(spec, &spec->recurrent_bias, fed, recurrent_bias, n_units, block, width,
                         out + (fed.first - all.first) * width);
            out += row_width;
            const weight_spec *weights[3] = {&spec->x, &spec->h, &spec->extra};
            const real *matrix[3] = {kernel, recurrent_kernel, extra};
            for (int i = 0; i < 3; i++) {
                fed = overlap(all, weights[i]->range);
                ptrdiff_t fed_width = fed.count == all.count ? row_width : fed.count * VL;
                if (fed.count == all.count && fed.count * width < row_width) { /* narrow: zeros behind */
                    ptrdiff_t n = (i == 0 ? n_inputs : n_units) * row_width;
                    memset(out, 0, (size_t)n * sizeof(real));
                }
                if (fed.count)
                    out = pack_rows(spec, weights[i], fed, matrix[i], i == 0 ? n_inputs : n_units, n_units, block, width,
                                    fed_width, out);
            }
        }
}

/* The transpose of an operand's matrix, for products with the gates' gradients: its columns run as the gates do,
 * [block of units][vector][VL]. */
INLINE const weight_spec *operand_weights(const cell_spec *cell, int operand) {
    return operand == 0 ? &cell->x : operand == 1 ? &cell->h : &cell->extra;
}
INLINE ptrdiff_t transposed_rows(const cell_spec *cell, int operand, ptrdiff_t n_units) {
    return n_blocks(cell, n_units) * operand_weights(cell, operand)->range.count * VL;
}
static ptrdiff_t packed_gates_transposed_size(int cell, int operand, ptrdiff_t n_units, ptrdiff_t n_columns) {
    return packed_columns_size(transposed_rows(&CELLS[cell], operand, n_units), n_columns);
}
static void pack_gates_transposed(int cell, int operand, const void *matrix, ptrdiff_t n_columns, ptrdiff_t n_units,
                                  void *packed, ptrdiff_t part, ptrdiff_t parts) {
    const cell_spec *spec = &CELLS[cell];
    const weight_spec *weights = operand_weights(spec, operand);
    ptrdiff_t n_rows = transposed_rows(spec, operand, n_units), count = weights->range.count;
    const real *source = matrix;
    const ptrdiff_t panels = n_panels(n_columns);
    for (ptrdiff_t panel = part * panels / parts; panel < (part + 1) * panels / parts; panel++) {
        ptrdiff_t first = panel * 4 * VL, width = panel_vectors(n_columns, panel) * VL;
        ptrdiff_t n = min_size(width, n_columns - first);
        real *out = (real *)packed + panel_offset(n_rows, panel);
        memset(out, 0, (size_t)(width * (1 + n_rows)) * sizeof(real));
        /* Squares of VL by VL: the lines that one reads and writes stay in L1 until it is done. */
        for (ptrdiff_t square = 0; square < n; square += VL)
            for (int k = 0; k < count; k++)
                for (ptrdiff_t block = 0; block < n_blocks(spec, n_units); block++) {
                    ptrdiff_t unit = block * block_units(spec) + (spec->unit_vectors > 1 ? k * VL : 0);
                    for (ptrdiff_t j = square; j < min_size(square + VL, n); j++) {
                        const real *row = source + ((first + j) * weights->n_groups + weights->group[k]) * n_units + unit;
                        real *to = out + (1 + (block * count + k) * VL) * width + j;
                        for (ptrdiff_t lane = 0; lane < VL && unit + lane < n_units; lane++) to[lane * width] = row[lane];
                    }
                }
    }
}
#endif
