/* Additive attention (Bahdanau, Cho & Bengio 2015): of the queries q and keys k of a pair of sequences, projected,
 *
 *   score(t, s) = sum_d scale[d] tanh(q[t, d] + k[s, d])    weights = softmax over s    context[t] = sum_s weight v[s]
 *
 * With u = (1 - tanh(q + k)) / 2 = 1 / (1 + e^2q e^2k) the score is sum_d -2 scale[d] u and a constant, which softmax
 * ignores. The exponentials ("odds") are computed once for each row, so that a (t, s, d) costs a reciprocal and a few
 * multiply-adds instead of a tanh. Where e^2q e^2k might not be a number, u is computed from q + k.
 */
#ifndef LSTMFAST_ATTENTION_H
#define LSTMFAST_ATTENTION_H

#include "dense.h"

#define ODDS_LIMIT (EXP_LIMIT / 4) /* |x| up to which e^2x times another such number is finite, and its reciprocal too */
#define ATTENTION_CHAINS 4         /* keys, or vectors, side by side */

/* e^2x of rows of D, padded with 1 to whole vectors. A row with an x past the limit, or NaN, begins with 0. */
static void attention_odds(const void *x, ptrdiff_t n, void *odds, ptrdiff_t row_begin, ptrdiff_t row_end) {
    ptrdiff_t stride = padded(n);
    for (ptrdiff_t r = row_begin; r < row_end; r++) {
        const real *row = (const real *)x + r * n;
        real *out = (real *)odds + r * stride;
        int near = 1;
        for (ptrdiff_t j = 0; j < n; j++) near &= row[j] >= -ODDS_LIMIT && row[j] <= ODDS_LIMIT;
        for (ptrdiff_t j = 0; j < n; j += VL) {
            vec value = v_load_lanes(row + j, n - j);
            v_store(out + j, v_exp(v_add(value, value)));
        }
        if (!near) out[0] = 0;
    }
}

/* Whether n rows of odds may be used. */
static int all_near(const real *odds, ptrdiff_t stride, ptrdiff_t n) {
    for (ptrdiff_t r = 0; r < n; r++)
        if (odds[r * stride] == 0) return 0;
    return 1;
}

/* The rows of a query and of the first of some keys. */
typedef struct {
    const real *q, *k, *q_odds, *k_odds;
} attention_rows;

INLINE attention_rows rows_of(const attention_call *call, ptrdiff_t t, ptrdiff_t s) {
    return (attention_rows){
        (const real *)call->queries + t * call->n_units,
        (const real *)call->keys + s * call->n_units,
        (const real *)call->q_odds + t * call->n_padded,
        (const real *)call->k_odds + s * call->n_padded,
    };
}

/* u of one vector of units from the j-th on, for key s counted from those of the rows. */
INLINE vec unit(const int near, const attention_call *call, attention_rows at, ptrdiff_t s, ptrdiff_t j) {
    if (near)
        return v_reciprocal(v_fma(v_load(at.q_odds + j), v_load(at.k_odds + s * call->n_padded + j), v_set(1)));
    ptrdiff_t left = call->n_units - j;
    vec sum = v_add(v_load_lanes(at.q + j, left), v_load_lanes(at.k + s * call->n_units + j, left));
    return v_sigmoid(v_mul(v_set(-2), sum));
}

INLINE void score_keys(const int near, const int m, const attention_call *call, attention_rows at, real *scores) {
    const real *scale = call->scale;
    vec sum[ATTENTION_CHAINS];
    UNROLL for (int s = 0; s < m; s++) sum[s] = v_set(0);
    for (ptrdiff_t j = 0; j < call->n_padded; j += VL)
        UNROLL for (int s = 0; s < m; s++) sum[s] = v_fma(v_load(scale + j), unit(near, call, at, s, j), sum[s]);
    UNROLL for (int s = 0; s < m; s++) scores[s] = v_sum(sum[s]);
}

INLINE void score(const int near, const attention_call *call, ptrdiff_t t, ptrdiff_t first, ptrdiff_t n, real *scores) {
    ptrdiff_t s = 0;
    for (; s + ATTENTION_CHAINS <= n; s += ATTENTION_CHAINS)
        score_keys(near, ATTENTION_CHAINS, call, rows_of(call, t, first + s), scores + s);
    for (; s < n; s++) score_keys(near, 1, call, rows_of(call, t, first + s), scores + s);
}

/* out[i] = sum_j w[i, j] terms[j] for m rows and nv vectors of columns; the j-th w of a row is w_next values on. */
INLINE void weighted_tile(const int m, const int nv, const real *w, ptrdiff_t w_row, ptrdiff_t w_next, ptrdiff_t n_terms,
                          const real *terms, ptrdiff_t terms_stride, real *out, ptrdiff_t out_stride, ptrdiff_t lanes) {
    vec sum[ATTENTION_CHAINS][4];
    UNROLL for (int i = 0; i < m; i++)
        UNROLL for (int v = 0; v < nv; v++) sum[i][v] = v_set(0);
    for (ptrdiff_t j = 0; j < n_terms; j++) {
        vec term[4];
        UNROLL for (int v = 0; v < nv; v++) term[v] = v_load_lanes(terms + j * terms_stride + v * VL, lanes - v * VL);
        UNROLL for (int i = 0; i < m; i++) {
            vec weight = v_set(w[i * w_row + j * w_next]);
            UNROLL for (int v = 0; v < nv; v++) sum[i][v] = v_fma(weight, term[v], sum[i][v]);
        }
    }
    UNROLL for (int i = 0; i < m; i++)
        UNROLL for (int v = 0; v < nv; v++) v_store_lanes(out + i * out_stride + v * VL, sum[i][v], lanes - v * VL);
}

static void weighted_sums(const real *w, ptrdiff_t w_row, ptrdiff_t w_next, ptrdiff_t n_rows, ptrdiff_t n_terms,
                          const real *terms, ptrdiff_t terms_stride, real *out, ptrdiff_t out_stride, ptrdiff_t width) {
    for (ptrdiff_t column = 0, nv; column < width; column += nv * VL) {
        ptrdiff_t lanes = width - column;
        nv = lanes >= 4 * VL ? 4 : 1;
        for (ptrdiff_t i = 0, m; i < n_rows; i += m) {
            const real *row = w + i * w_row, *from = terms + column;
            real *to = out + i * out_stride + column;
            m = n_rows - i >= ATTENTION_CHAINS ? ATTENTION_CHAINS : 1;
            if (m > 1 && nv > 1)
                weighted_tile(ATTENTION_CHAINS, 4, row, w_row, w_next, n_terms, from, terms_stride, to, out_stride, lanes);
            else if (m > 1)
                weighted_tile(ATTENTION_CHAINS, 1, row, w_row, w_next, n_terms, from, terms_stride, to, out_stride, lanes);
            else if (nv > 1)
                weighted_tile(1, 4, row, w_row, w_next, n_terms, from, terms_stride, to, out_stride, lanes);
            else
                weighted_tile(1, 1, row, w_row, w_next, n_terms, from, terms_stride, to, out_stride, lanes);
        }
    }
}

static void attention_forward(const attention_call *call, ptrdiff_t pair_begin, ptrdiff_t pair_end) {
    for (ptrdiff_t r = pair_begin; r < pair_end; r++) {
        ptrdiff_t n_queries = call->q_lengths[r], n_keys = call->k_lengths[r], first = call->k_first[r];
        real *weights = (real *)call->weights + call->w_first[r], largest;
        int near = all_near((const real *)call->k_odds + first * call->n_padded, call->n_padded, n_keys);
        for (ptrdiff_t i = 0; i < n_queries; i++) {
            ptrdiff_t t = call->q_first[r] + i;
            real *row = weights + i * n_keys;
            if (near && all_near((const real *)call->q_odds + t * call->n_padded, 0, 1))
                score(1, call, t, first, n_keys, row);
            else
                score(0, call, t, first, n_keys, row);
            real share = 1 / exponentials(row, row, n_keys, &largest);
            for (ptrdiff_t s = 0; s < n_keys; s++) row[s] *= share;
        }
        weighted_sums(weights, n_keys, 1, n_queries, n_keys, (const real *)call->values + first * call->n_values,
                      call->n_values, (real *)call->context + call->q_first[r] * call->context_stride,
                      call->context_stride, call->n_values);
    }
}

INLINE void dot_products(const int m, const real *x, const real *rows, ptrdiff_t n, real *out) {
    vec sum[ATTENTION_CHAINS];
    UNROLL for (int i = 0; i < m; i++) sum[i] = v_set(0);
    for (ptrdiff_t j = 0; j < n; j += VL) {
        vec value = v_load_lanes(x + j, n - j);
        UNROLL for (int i = 0; i < m; i++) sum[i] = v_fma(value, v_load_lanes(rows + i * n + j, n - j), sum[i]);
    }
    UNROLL for (int i = 0; i < m; i++) out[i] = v_sum(sum[i]);
}

/* dscores of one query: through the weighted sum of values, then through softmax. */
static void score_gradient(const real *dcontext, const real *values, ptrdiff_t n_values, const real *weights,
                           ptrdiff_t n_keys, real *dscores) {
    ptrdiff_t s = 0;
    for (; s + ATTENTION_CHAINS <= n_keys; s += ATTENTION_CHAINS)
        dot_products(ATTENTION_CHAINS, dcontext, values + s * n_values, n_values, dscores + s);
    for (; s < n_keys; s++) dot_products(1, dcontext, values + s * n_values, n_values, dscores + s);
    real mean;
    dot_products(1, weights, dscores, n_keys, &mean);
    for (s = 0; s < n_keys; s++) dscores[s] = weights[s] * (dscores[s] - mean);
}

/* Gradients of nv vectors of units from the j-th on. With z = q + k: du/dz = -2 u (1 - u), so that dz = 2 scale' dscore
 * u (u - 1), scale' = -2 scale being what the call holds; dscale' = dscore u. */
INLINE void unit_gradients(const int near, const int nv, const attention_call *call, ptrdiff_t r, ptrdiff_t j) {
    ptrdiff_t n_queries = call->q_lengths[r], n_keys = call->k_lengths[r], stride = call->n_padded;
    const real *dscores = (const real *)call->dscores + call->w_first[r], *scale = (const real *)call->scale + j;
    real *dqueries = (real *)call->dqueries + call->q_first[r] * stride + j;
    real *dkeys = (real *)call->dkeys + call->k_first[r] * stride + j;
    vec dscale[ATTENTION_CHAINS], dkey[ATTENTION_CHAINS], twice[ATTENTION_CHAINS];
    UNROLL for (int v = 0; v < nv; v++) {
        dscale[v] = v_set(0);
        twice[v] = v_mul(v_set(2), v_load(scale + v * VL));
        for (ptrdiff_t t = 0; t < n_queries; t++) v_store(dqueries + t * stride + v * VL, v_set(0));
    }
    for (ptrdiff_t s = 0; s < n_keys; s++) {
        UNROLL for (int v = 0; v < nv; v++) dkey[v] = v_set(0);
        for (ptrdiff_t t = 0; t < n_queries; t++) {
            attention_rows at = rows_of(call, call->q_first[r] + t, call->k_first[r] + s);
            vec dscore = v_set(dscores[t * n_keys + s]), u[ATTENTION_CHAINS];
            UNROLL for (int v = 0; v < nv; v++) u[v] = unit(near, call, at, 0, j + v * VL);
            UNROLL for (int v = 0; v < nv; v++) {
                real *dquery = dqueries + t * stride + v * VL;
                vec part = v_mul(dscore, u[v]), slope = v_sub(u[v], v_set(1));
                dscale[v] = v_add(dscale[v], part);
                dkey[v] = v_fma(part, slope, dkey[v]);
                v_store(dquery, v_fma(part, slope, v_load(dquery)));
            }
        }
        UNROLL for (int v = 0; v < nv; v++) v_store(dkeys + s * stride + v * VL, v_mul(twice[v], dkey[v]));
    }
    UNROLL for (int v = 0; v < nv; v++) {
        v_store((real *)call->dscale + r * stride + j + v * VL, dscale[v]);
        for (ptrdiff_t t = 0; t < n_queries; t++) {
            real *dquery = dqueries + t * stride + v * VL;
            v_store(dquery, v_mul(twice[v], v_load(dquery)));
        }
    }
}

static void attention_backward(const attention_call *call, ptrdiff_t pair_begin, ptrdiff_t pair_end) {
    for (ptrdiff_t r = pair_begin; r < pair_end; r++) {
        ptrdiff_t n_queries = call->q_lengths[r], n_keys = call->k_lengths[r], width = call->n_values, j = 0;
        const real *weights = (const real *)call->weights + call->w_first[r];
        const real *values = (const real *)call->values + call->k_first[r] * width;
        const real *dcontext = (const real *)call->dcontext + call->q_first[r] * call->context_stride;
        for (ptrdiff_t t = 0; t < n_queries; t++)
            score_gradient(dcontext + t * call->context_stride, values, width, weights + t * n_keys, n_keys,
                           (real *)call->dscores + call->w_first[r] + t * n_keys);
        weighted_sums(weights, 1, n_keys, n_keys, n_queries, dcontext, call->context_stride,
                      (real *)call->dvalues + call->k_first[r] * width, width, width);
        attention_rows at = rows_of(call, call->q_first[r], call->k_first[r]);
        int near = all_near(at.q_odds, call->n_padded, n_queries) && all_near(at.k_odds, call->n_padded, n_keys);
        for (; near && j + ATTENTION_CHAINS * VL <= call->n_padded; j += ATTENTION_CHAINS * VL)
            unit_gradients(1, ATTENTION_CHAINS, call, r, j);
        for (; near && j < call->n_padded; j += VL) unit_gradients(1, 1, call, r, j);
        for (; j < call->n_padded; j += VL) unit_gradients(0, 1, call, r, j);
    }
}
#endif
