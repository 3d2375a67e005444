/* The two register tiles that every product of the library runs on, and the packed layouts they read.
 *
 * product:  out[r][v] = start[v] + sum_k a[r][k] * w[k][v]     r < m <= TILE_ROWS rows, v < nv <= 4 vectors
 * outer:    out[r][v] += sum_s a[s][r] * d[s][v]               the gradient of w
 *
 * The accumulators stay in registers for the whole sum. A row adds its terms in the same order whatever m is, and each
 * term is one fused multiply-add: results do not depend on which rows share a tile, hence not on batch, order or threads.
 *
 * Packed weights ("panels") hold, for 4 vectors of columns at a time, one vector-aligned row `start` (the bias) and then
 * one row for each k. A panel is read once, front to back. Columns past the end are zeros.
 */
#ifndef LSTMFAST_TILE_H
#define LSTMFAST_TILE_H

#include "simd.h"

/* Rows of the left operand. Each row is `repeats` runs of n values, `stride` apart. */
typedef struct {
    const real *row[TILE_ROWS];
    ptrdiff_t n, repeats, stride;
} operand;

INLINE ptrdiff_t min_size(ptrdiff_t a, ptrdiff_t b) { return a < b ? a : b; }
INLINE ptrdiff_t ceil_div(ptrdiff_t a, ptrdiff_t b) { return (a + b - 1) / b; }

/* A range of n items cut into tiles of at most TILE_ROWS, as even as possible: 7 rows are 4 + 3, not 6 + 1. */
INLINE ptrdiff_t n_tiles(ptrdiff_t n) { return ceil_div(n, TILE_ROWS); }
INLINE ptrdiff_t tile_begin(ptrdiff_t n, ptrdiff_t tile) {
    ptrdiff_t tiles = n_tiles(n), size = n / tiles, larger = n % tiles;
    return tile * size + min_size(tile, larger);
}

/* Adds the products of one operand to `count` sums of each row, from the first on; returns where its weights end. */
INLINE const real *accumulate(const int m, const int first, const int count, const operand *a, const real *w,
                              vec sum[][4]) {
    for (ptrdiff_t repeat = 0; repeat < a->repeats; repeat++) {
        const real *row[TILE_ROWS];
        UNROLL for (int r = 0; r < m; r++) row[r] = a->row[r] + repeat * a->stride;
        for (ptrdiff_t k = 0, n = a->n; k < n; k++, w += count * VL) {
            vec column[4];
            UNROLL for (int v = 0; v < count; v++) column[v] = v_load(w + v * VL);
            UNROLL for (int r = 0; r < m; r++) {
                vec value = v_set(row[r][k]);
                UNROLL for (int v = 0; v < count; v++) sum[r][first + v] = v_fma(column[v], value, sum[r][first + v]);
            }
        }
    }
    return w;
}
INLINE void begin_sums(const int m, const int nv, const real *start, vec sum[][4]) {
    UNROLL for (int r = 0; r < m; r++)
        UNROLL for (int v = 0; v < nv; v++) sum[r][v] = v_load(start + v * VL);
}
INLINE void end_sums(const int m, const int nv, vec sum[][4], real *out) {
    UNROLL for (int r = 0; r < m; r++)
        UNROLL for (int v = 0; v < nv; v++) v_store(out + (r * nv + v) * VL, sum[r][v]);
}

INLINE void product(const int m, const int nv, const operand *a, int n_operands, const real *panel, real *out) {
    vec sum[TILE_ROWS][4];
    begin_sums(m, nv, panel, sum);
    const real *w = panel + nv * VL;
    for (const operand *end = a + n_operands; a < end; a++) w = accumulate(m, 0, nv, a, w, sum);
    end_sums(m, nv, sum, out);
}

/* The same from sums that each row has of its own, which some of the terms are in already. */
INLINE void product_from(const int m, const int nv, const real *const *start, const operand *a, int n_operands,
                         const real *w, real *out) {
    vec sum[TILE_ROWS][4];
    UNROLL for (int r = 0; r < m; r++)
        UNROLL for (int v = 0; v < nv; v++) sum[r][v] = v_load(start[r] + v * VL);
    for (const operand *end = a + n_operands; a < end; a++) w = accumulate(m, 0, nv, a, w, sum);
    end_sums(m, nv, sum, out);
}

/* 4 vectors of which the first operand feeds the first 3 and the second 3 from `second` on; a third one the last. */
INLINE void split_product(const int m, const int second, const operand *a, int n_operands, const real *panel, real *out) {
    vec sum[TILE_ROWS][4];
    begin_sums(m, 4, panel, sum);
    const real *w = accumulate(m, 0, 3, a, panel + 4 * VL, sum);
    w = accumulate(m, second, 3, a + 1, w, sum);
    if (n_operands == 3) accumulate(m, 3, 1, a + 2, w, sum);
    end_sums(m, 4, sum, out);
}

/* One row against two panels of 4 vectors: one panel's 4 sums would wait for each other's latency, 8 keep both
 * multipliers busy. The terms are added in the order in which `product` adds them. */
static void product_pair(const operand *a, int n_operands, const real *panel, const real *second_panel, real *out) {
    vec sum[8];
    UNROLL for (int v = 0; v < 4; v++) sum[v] = v_load(panel + v * VL), sum[4 + v] = v_load(second_panel + v * VL);
    ptrdiff_t at = 4 * VL;
    for (const operand *end = a + n_operands; a < end; a++)
        for (ptrdiff_t k = 0; k < a->n; k++, at += 4 * VL) {
            vec value = v_set(a->row[0][k]);
            UNROLL for (int v = 0; v < 4; v++) {
                sum[v] = v_fma(v_load(panel + at + v * VL), value, sum[v]);
                sum[4 + v] = v_fma(v_load(second_panel + at + v * VL), value, sum[4 + v]);
            }
        }
    UNROLL for (int v = 0; v < 8; v++) v_store(out + v * VL, sum[v]);
}

/* a: n pointers, of which values [r] are taken; d: rows d_stride apart; vector v goes to out + place[v], its first
 * lanes[v] lanes, rows out_stride apart. */
INLINE void outer(const int m, const int nv, const real *const *a, ptrdiff_t a_offset, ptrdiff_t n, const real *d,
                  ptrdiff_t d_stride, real *out, ptrdiff_t out_stride, const ptrdiff_t *place, const ptrdiff_t *lanes) {
    vec sum[TILE_ROWS][4];
    UNROLL for (int r = 0; r < m; r++)
        UNROLL for (int v = 0; v < nv; v++) sum[r][v] = v_set(0);
    for (ptrdiff_t s = 0; s < n; s++, d += d_stride) {
        const real *values = a[s] + a_offset;
        vec column[4];
        UNROLL for (int v = 0; v < nv; v++) column[v] = v_load(d + v * VL);
        UNROLL for (int r = 0; r < m; r++) {
            vec value = v_set(values[r]);
            UNROLL for (int v = 0; v < nv; v++) sum[r][v] = v_fma(column[v], value, sum[r][v]);
        }
    }
    UNROLL for (int r = 0; r < m; r++)
        UNROLL for (int v = 0; v < nv; v++) {
            real *to = out + r * out_stride + place[v];
            v_store_lanes(to, v_add(v_load_lanes(to, lanes[v]), sum[r][v]), lanes[v]);
        }
}

/* One compiled body for each (m, nv): the loops above are unrolled and their sums kept in registers. */
#define DEFINE_TILE(m, nv)                                                                                      \
    static void product_##m##_##nv(const operand *a, int n_operands, const real *panel, real *out) {            \
        product(m, nv, a, n_operands, panel, out);                                                              \
    }                                                                                                           \
    static void product_from_##m##_##nv(const real *const *start, const operand *a, int n_operands, const real *w,  \
                                        real *out) {                                                            \
        product_from(m, nv, start, a, n_operands, w, out);                                                      \
    }                                                                                                           \
    static void outer_##m##_##nv(const real *const *a, ptrdiff_t a_offset, ptrdiff_t n, const real *d,          \
                                 ptrdiff_t d_stride, real *out, ptrdiff_t out_stride, const ptrdiff_t *place,   \
                                 const ptrdiff_t *lanes) {                                                      \
        outer(m, nv, a, a_offset, n, d, d_stride, out, out_stride, place, lanes);                               \
    }
#define DEFINE_SPLIT(m, second)                                                                                 \
    static void split_##m##_##second(const operand *a, int n_operands, const real *panel, real *out) {          \
        split_product(m, second, a, n_operands, panel, out);                                                    \
    }
#define DEFINE_TILES(m) DEFINE_SPLIT(m, 0) DEFINE_SPLIT(m, 1) DEFINE_TILE(m, 1) DEFINE_TILE(m, 2) DEFINE_TILE(m, 3) DEFINE_TILE(m, 4)
#define TILE_NAMES(kind, m) {kind##_##m##_1, kind##_##m##_2, kind##_##m##_3, kind##_##m##_4}

typedef void (*product_tile)(const operand *, int, const real *, real *);
typedef void (*product_from_tile)(const real *const *, const operand *, int, const real *, real *);
typedef void (*outer_tile)(const real *const *, ptrdiff_t, ptrdiff_t, const real *, ptrdiff_t, real *, ptrdiff_t,
                           const ptrdiff_t *, const ptrdiff_t *);

DEFINE_TILES(1) DEFINE_TILES(2) DEFINE_TILES(3)
#if TILE_ROWS == 6
DEFINE_TILES(4) DEFINE_TILES(5) DEFINE_TILES(6)
#define SPLIT_TABLE(second)                                                                                     \
    {split_1_##second, split_2_##second, split_3_##second, split_4_##second, split_5_##second, split_6_##second}
#define TILE_TABLE(kind)                                                                                        \
    {TILE_NAMES(kind, 1), TILE_NAMES(kind, 2), TILE_NAMES(kind, 3), TILE_NAMES(kind, 4), TILE_NAMES(kind, 5),   \
     TILE_NAMES(kind, 6)}
#else
#define SPLIT_TABLE(second) {split_1_##second, split_2_##second, split_3_##second}
#define TILE_TABLE(kind) {TILE_NAMES(kind, 1), TILE_NAMES(kind, 2), TILE_NAMES(kind, 3)}
#endif
/* [m - 1][nv - 1] */
static const product_tile PRODUCT[TILE_ROWS][4] = TILE_TABLE(product);
static const product_from_tile PRODUCT_FROM[TILE_ROWS][4] = TILE_TABLE(product_from);
static const outer_tile OUTER[TILE_ROWS][4] = TILE_TABLE(outer);
/* [second][m - 1] */
static const product_tile SPLIT_PRODUCT[2][TILE_ROWS] = {SPLIT_TABLE(0), SPLIT_TABLE(1)};

/* ---- packed layouts ---- */

INLINE ptrdiff_t padded(ptrdiff_t n) { return ceil_div(n, VL) * VL; }
INLINE ptrdiff_t n_panels(ptrdiff_t n_columns) { return ceil_div(n_columns, 4 * VL); }
INLINE int panel_vectors(ptrdiff_t n_columns, ptrdiff_t panel) {
    return (int)min_size(4, ceil_div(n_columns, VL) - 4 * panel);
}
/* Every panel before this one holds 4 vectors. */
INLINE ptrdiff_t panel_offset(ptrdiff_t n_rows, ptrdiff_t panel) { return panel * 4 * VL * (1 + n_rows); }

/* Columns of an (n_rows, n_columns) matrix with any strides. */
static ptrdiff_t packed_columns_size(ptrdiff_t n_rows, ptrdiff_t n_columns) { return padded(n_columns) * (1 + n_rows); }
static void pack_columns(const void *matrix, ptrdiff_t row_stride, ptrdiff_t column_stride, const void *bias,
                         ptrdiff_t n_rows, ptrdiff_t n_columns, void *packed) {
    const real *source = matrix, *start = bias;
    real *out = packed;
    for (ptrdiff_t panel = 0; panel < n_panels(n_columns); panel++) {
        ptrdiff_t first = panel * 4 * VL, width = panel_vectors(n_columns, panel) * VL;
        ptrdiff_t n = min_size(width, n_columns - first);
        memset(out, 0, (size_t)width * sizeof(real));
        for (ptrdiff_t j = 0; start && j < n; j++) out[j] = start[first + j];
        out += width;
        for (ptrdiff_t k = 0; k < n_rows; k++, out += width) {
            const real *row = source + k * row_stride + first * column_stride;
            for (ptrdiff_t j = 0; j < n; j++) out[j] = row[j * column_stride];
            for (ptrdiff_t j = n; j < width; j++) out[j] = 0;
        }
    }
}
#endif
