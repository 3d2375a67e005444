/* The LSTM cell: its pointwise step on one vector of units of one row, forward next to its backward.
 *
 * Hochreiter & Schmidhuber 1997, with the forget gate of Gers, Schmidhuber & Cummins 2000. z = W x + U h_prev + b:
 *   (1) i, f, o = sigmoid(z_i, z_f, z_o)    g = tanh(z_g)
 *   (2) c = f c_prev + i g
 *   (3) h = o tanh(c)
 */
#ifndef LSTMFAST_LSTM_CELL_H
#define LSTMFAST_LSTM_CELL_H

#include "simd.h"

/* For n vectors of units: z[j] are i f g o before their nonlinearity, c[j] and h[j] are written, and the gates where
 * gates[j] says, unless it is NULL.
 *
 * A gate is a quotient, so is tanh: i g and o tanh(c) are each one quotient of products, and three divisions do for
 * five. The limit of the arguments keeps these products finite. */
INLINE void lstm_cell_forward(const int n, const real *const *z, const real *const *c_prev, real *const *c,
                              real *const *gates, vec *h) {
    const vec two = v_set(2);
    vec below[3 * CELL_CHAINS], *i_below = below, *f_below = below + n, *o_below = below + 2 * n;
    vec g_above[CELL_CHAINS], ig_below[CELL_CHAINS], f[CELL_CHAINS], c_above[CELL_CHAINS];
    UNROLL for (int j = 0; j < n; j++) {
        i_below[j] = v_load(z[j]), f_below[j] = v_load(z[j] + VL), o_below[j] = v_load(z[j] + 3 * VL);
        g_above[j] = v_load(z[j] + 2 * VL);
    }
    v_exp_minus(3 * n, below, QUOTIENT_LIMIT, 1);                                                     /* (1) */
    v_tanh_numerator(n, g_above, QUOTIENT_LIMIT);
    UNROLL for (int j = 0; j < n; j++) ig_below[j] = v_reciprocal(v_mul(i_below[j], v_add(g_above[j], two)));
    UNROLL for (int j = 0; j < n; j++) f[j] = v_reciprocal(f_below[j]);
    UNROLL for (int j = 0; j < n; j++) {
        c_above[j] = v_fma(f[j], v_load(c_prev[j]), v_mul(g_above[j], ig_below[j]));                  /* (2) */
        v_store(c[j], c_above[j]);
    }
    v_tanh_numerator(n, c_above, QUOTIENT_LIMIT);
    UNROLL for (int j = 0; j < n; j++) {
        vec c_below = v_add(c_above[j], two), oc_below = v_reciprocal(v_mul(o_below[j], c_below));
        h[j] = v_mul(c_above[j], oc_below);                                                           /* (3) */
        if (!gates[j]) continue;
        v_store(gates[j], v_mul(ig_below[j], v_add(g_above[j], two)));
        v_store(gates[j] + VL, f[j]);
        v_store(gates[j] + 2 * VL, v_mul(v_mul(ig_below[j], i_below[j]), g_above[j]));
        v_store(gates[j] + 3 * VL, v_mul(oc_below, c_below));
    }
}

/* gates: i f g o, replaced by the gradients of z; dc_carry: gradient of c from the step after, replaced by that of c_prev.
 *   (3) do = dh tanh(c)             dc += dh o (1 - tanh(c)^2)
 *   (2) df = dc c_prev   di = dc g   dg = dc i   dc_prev = dc f
 *   (1) dz = di i (1 - i), df f (1 - f), dg (1 - g^2), do o (1 - o)
 */
INLINE void lstm_cell_backward(real *gates, const real *c_prev, const real *c, vec dh, real *dc_carry) {
    const vec one = v_set(1);
    vec i = v_load(gates), f = v_load(gates + VL), g = v_load(gates + 2 * VL), o = v_load(gates + 3 * VL);
    vec tanh_c = v_tanh(v_load(c));
    vec dh_o = v_mul(dh, o);
    vec dz_o = v_mul(v_mul(dh_o, tanh_c), v_sub(one, o));                     /* (3) */
    vec dc = v_fma(dh_o, v_sub(one, v_mul(tanh_c, tanh_c)), v_load(dc_carry));
    vec dc_i = v_mul(dc, i), dc_f = v_mul(dc, f);                             /* (2) */
    v_store(dc_carry, dc_f);
    v_store(gates, v_mul(v_mul(dc_i, g), v_sub(one, i)));                     /* (1) */
    v_store(gates + VL, v_mul(v_mul(dc_f, v_load(c_prev)), v_sub(one, f)));
    v_store(gates + 2 * VL, v_mul(dc_i, v_sub(one, v_mul(g, g))));
    v_store(gates + 3 * VL, dz_o);
}
#endif
