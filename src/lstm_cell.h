/* The LSTM's pointwise step on vectors of units, forward next to backward; first the standard cell, then its variants.
 *
 * Hochreiter & Schmidhuber 1997, with the forget gate of Gers, Schmidhuber & Cummins 2000. z: products and bias.
 *   (1) i, f, o = sigmoid(z_i, z_f, z_o)    g = tanh(z_g)
 *   (2) c = f c_prev + i g
 *   (3) h = o tanh(c)
 */
#ifndef LSTMFAST_LSTM_CELL_H
#define LSTMFAST_LSTM_CELL_H

#include "activations.h"

/* One vector of units of one row at one step. */
typedef struct {
    const real *z;      /* forward: this phase's products, VL apart */
    real *gates;        /* as the gates array holds them; NULL: nobody will read them */
    const real *c_prev;
    real *c;
    const real *h_prev; /* as products see it */
    real *gated;        /* two phases: a gate times h_prev */
    real *dc_carry, *dh_carry;
    ptrdiff_t unit, lanes;
} cell_place;

/* A gate is a quotient, so is tanh: i g and o tanh(c) are each one quotient of products, and three divisions do for
 * five. The limit of the arguments keeps these products finite. */
INLINE void lstm_forward(const int n, const cell_place *p, vec *h) {
    const vec two = v_set(2);
    vec below[3 * CELL_CHAINS], *i_below = below, *f_below = below + n, *o_below = below + 2 * n;
    vec g_above[CELL_CHAINS], ig_below[CELL_CHAINS], f[CELL_CHAINS], c_above[CELL_CHAINS];
    EACH_CHAIN {
        i_below[j] = v_load(p[j].z), f_below[j] = v_load(p[j].z + VL), o_below[j] = v_load(p[j].z + 3 * VL);
        g_above[j] = v_load(p[j].z + 2 * VL);
    }
    v_exp_minus(3 * n, below, QUOTIENT_LIMIT, 1);                                                     /* (1) */
    v_tanh_numerator(n, g_above, QUOTIENT_LIMIT);
    EACH_CHAIN ig_below[j] = v_reciprocal(v_mul(i_below[j], v_add(g_above[j], two)));
    EACH_CHAIN f[j] = v_reciprocal(f_below[j]);
    EACH_CHAIN {
        c_above[j] = v_fma(f[j], v_load(p[j].c_prev), v_mul(g_above[j], ig_below[j]));                /* (2) */
        v_store(p[j].c, c_above[j]);
    }
    v_tanh_numerator(n, c_above, QUOTIENT_LIMIT);
    EACH_CHAIN {
        vec c_below = v_add(c_above[j], two), oc_below = v_reciprocal(v_mul(o_below[j], c_below));
        h[j] = v_mul(c_above[j], oc_below);                                             /* (3) */
        if (!p[j].gates) continue;
        v_store(p[j].gates, v_mul(ig_below[j], v_add(g_above[j], two)));
        v_store(p[j].gates + VL, f[j]);
        v_store(p[j].gates + 2 * VL, v_mul(v_mul(ig_below[j], i_below[j]), g_above[j]));
        v_store(p[j].gates + 3 * VL, v_mul(oc_below, c_below));
    }
}

/* The gates become the gradients of z, dc_carry, the gradient of c from the step after, that of c_prev.
 *   (3) do = dh tanh(c)             dc += dh o (1 - tanh(c)^2)
 *   (2) df = dc c_prev   di = dc g   dg = dc i   dc_prev = dc f
 *   (1) dz = di i (1 - i), df f (1 - f), dg (1 - g^2), do o (1 - o)
 */
INLINE void lstm_backward(const int n, const cell_place *p, const vec *dh) {
    const vec one = v_set(1);
    vec tanh_c[CELL_CHAINS];
    EACH_CHAIN tanh_c[j] = v_load(p[j].c);
    activate(n, ACTIVATION_TANH, tanh_c);
    EACH_CHAIN {
        real *gates = p[j].gates;
        vec i = v_load(gates), f = v_load(gates + VL), g = v_load(gates + 2 * VL), o = v_load(gates + 3 * VL);
        vec dh_o = v_mul(dh[j], o);
        v_store(gates + 3 * VL, v_mul(v_mul(dh_o, tanh_c[j]), v_sub(one, o)));                        /* (3) */
        vec dc = v_fma(dh_o, v_sub(one, v_mul(tanh_c[j], tanh_c[j])), v_load(p[j].dc_carry));
        vec dc_i = v_mul(dc, i), dc_f = v_mul(dc, f);                                                 /* (2) */
        v_store(p[j].dc_carry, dc_f);
        v_store(gates, v_mul(v_mul(dc_i, g), v_sub(one, i)));                                         /* (1) */
        v_store(gates + VL, v_mul(v_mul(dc_f, v_load(p[j].c_prev)), v_sub(one, f)));
        v_store(gates + 2 * VL, v_mul(dc_i, v_sub(one, v_mul(g, g))));
    }
}

/* ---- variants: other activations, clipping, peepholes, i = 1 - f, gates in any order ---- */

/* Where the gates stand among the vectors; i < 0: i = 1 - f. */
typedef struct {
    int i, f, g, o;
} gate_order;
#define IFGO ((gate_order){0, 1, 2, 3})
#define IFOG ((gate_order){0, 1, 3, 2})
#define FGO ((gate_order){-1, 0, 1, 2})

/* x becomes its activation, clipped before if the call says so. */
INLINE void activate_clipped(const int n, const recurrent_call *call, int activation, vec *x) {
    if (call->clip > 0) EACH_CHAIN x[j] = v_clamp(x[j], (real)-call->clip, (real)call->clip);
    activate(n, activation, x);
}
INLINE vec peephole(const recurrent_call *call, int gate, const cell_place *p) {
    return v_load_lanes((const real *)call->peephole + gate * call->n_units + p->unit, p->lanes);
}

INLINE void lstm_variant_forward(const int n, const gate_order at, const recurrent_call *call, const cell_place *p,
                                 vec *h) {
    vec sigma[2 * CELL_CHAINS], *i = sigma, *f = sigma + n, g[CELL_CHAINS], o[CELL_CHAINS], c[CELL_CHAINS];
    EACH_CHAIN {
        i[j] = at.i < 0 ? v_set(0) : v_load(p[j].z + at.i * VL), f[j] = v_load(p[j].z + at.f * VL);
        g[j] = v_load(p[j].z + at.g * VL), o[j] = v_load(p[j].z + at.o * VL);
        if (call->peephole) {
            vec c_prev = v_load(p[j].c_prev);
            i[j] = v_fma(peephole(call, 0, p + j), c_prev, i[j]), f[j] = v_fma(peephole(call, 1, p + j), c_prev, f[j]);
        }
    }
    activate_clipped(at.i < 0 ? n : 2 * n, call, call->recurrent_activation, at.i < 0 ? f : sigma);
    if (at.i < 0) EACH_CHAIN i[j] = v_sub(v_set(1), f[j]);
    activate_clipped(n, call, call->activation, g);
    EACH_CHAIN {
        c[j] = v_fma(f[j], v_load(p[j].c_prev), v_mul(i[j], g[j]));
        v_store(p[j].c, c[j]);
        if (call->peephole) o[j] = v_fma(peephole(call, 2, p + j), c[j], o[j]);
    }
    activate_clipped(n, call, call->recurrent_activation, o);
    activate(n, call->activation, c);
    EACH_CHAIN {
        h[j] = v_mul(o[j], c[j]);
        if (!p[j].gates) continue;
        if (at.i >= 0) v_store(p[j].gates + at.i * VL, i[j]);
        v_store(p[j].gates + at.f * VL, f[j]);
        v_store(p[j].gates + at.g * VL, g[j]);
        v_store(p[j].gates + at.o * VL, o[j]);
    }
}

INLINE void lstm_variant_backward(const int n, const gate_order at, const recurrent_call *call, const cell_place *p,
                                  const vec *dh_in) {
    const int phi = call->activation, sigma = call->recurrent_activation;
    vec phi_c[CELL_CHAINS];
    EACH_CHAIN phi_c[j] = v_load(p[j].c);
    activate(n, phi, phi_c);
    EACH_CHAIN {
        real *gates = p[j].gates;
        vec dh = dh_in[j], c_prev = v_load(p[j].c_prev);
        vec f = v_load(gates + at.f * VL), g = v_load(gates + at.g * VL), o = v_load(gates + at.o * VL);
        vec i = at.i < 0 ? v_sub(v_set(1), f) : v_load(gates + at.i * VL);
        vec dz_o = v_mul(v_mul(dh, phi_c[j]), clipped_slope(sigma, call->clip, o));
        vec dc = v_fma(v_mul(dh, o), slope(phi, phi_c[j]), v_load(p[j].dc_carry));
        if (call->peephole) dc = v_fma(peephole(call, 2, p + j), dz_o, dc);
        vec df = at.i < 0 ? v_sub(c_prev, g) : c_prev;
        vec dz_f = v_mul(v_mul(dc, df), clipped_slope(sigma, call->clip, f));
        vec dz_g = v_mul(v_mul(dc, i), clipped_slope(phi, call->clip, g));
        vec dc_prev = v_mul(dc, f);
        if (at.i >= 0) {
            vec dz_i = v_mul(v_mul(dc, g), clipped_slope(sigma, call->clip, i));
            v_store(gates + at.i * VL, dz_i);
            if (call->peephole) dc_prev = v_fma(peephole(call, 0, p + j), dz_i, dc_prev);
        }
        if (call->peephole) dc_prev = v_fma(peephole(call, 1, p + j), dz_f, dc_prev);
        v_store(gates + at.f * VL, dz_f);
        v_store(gates + at.g * VL, dz_g);
        v_store(gates + at.o * VL, dz_o);
        v_store(p[j].dc_carry, dc_prev);
    }
}
#endif
