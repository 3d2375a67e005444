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

/* z: 4 vectors i f g o, replaced by the gates; c is written, h returned. */
INLINE vec lstm_cell_forward(real *z, const real *c_prev, real *c) {
    vec i = v_sigmoid(v_load(z)), f = v_sigmoid(v_load(z + VL));              /* (1) */
    vec g = v_tanh(v_load(z + 2 * VL)), o = v_sigmoid(v_load(z + 3 * VL));
    vec c_new = v_fma(f, v_load(c_prev), v_mul(i, g));                        /* (2) */
    v_store(c, c_new);
    v_store(z, i);
    v_store(z + VL, f);
    v_store(z + 2 * VL, g);
    v_store(z + 3 * VL, o);
    return v_mul(o, v_tanh(c_new));                                           /* (3) */
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
