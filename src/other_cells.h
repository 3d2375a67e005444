/* The pointwise steps of the GRU, of the plain RNN, and of the cells that run in two phases. */
#ifndef LSTMFAST_OTHER_CELLS_H
#define LSTMFAST_OTHER_CELLS_H

#include "lstm_cell.h"

/* GRU (Cho et al. 2014), the reset gate after the product. Vectors n r z q, q = h_prev R_n + its bias.
 *   n = tanh(z_n + r q)    h = (1 - z) n + z h_prev
 * c is h before any dropout mask; dc_carry the gradient that reaches it past the products. */
INLINE void gru_forward(const int n, const recurrent_call *call, const cell_place *p, vec *h) {
    vec sigma[2 * CELL_CHAINS], *r = sigma, *z = sigma + n, q[CELL_CHAINS], candidate[CELL_CHAINS];
    EACH_CHAIN {
        r[j] = v_load(p[j].z + VL), z[j] = v_load(p[j].z + 2 * VL), q[j] = v_load(p[j].z + 3 * VL);
    }
    activate_clipped(2 * n, call, call->recurrent_activation, sigma);
    EACH_CHAIN candidate[j] = v_fma(r[j], q[j], v_load(p[j].z));
    activate_clipped(n, call, call->activation, candidate);
    EACH_CHAIN {
        vec out = v_fma(z[j], v_sub(v_load(p[j].c_prev), candidate[j]), candidate[j]);
        v_store(p[j].c, out);
        h[j] = out;
        if (!p[j].gates) continue;
        v_store(p[j].gates, candidate[j]);
        v_store(p[j].gates + VL, r[j]);
        v_store(p[j].gates + 2 * VL, z[j]);
        v_store(p[j].gates + 3 * VL, q[j]);
    }
}
INLINE void gru_backward(const int n, const recurrent_call *call, const cell_place *p, const vec *dh_in) {
    const int sigma = call->recurrent_activation;
    EACH_CHAIN {
        real *gates = p[j].gates;
        vec candidate = v_load(gates), r = v_load(gates + VL), z = v_load(gates + 2 * VL), q = v_load(gates + 3 * VL);
        vec dh = v_add(dh_in[j], v_load(p[j].dc_carry));
        vec dz_n = v_mul(v_mul(dh, v_sub(v_set(1), z)), clipped_slope(call->activation, call->clip, candidate));
        vec dz = v_mul(dh, v_sub(v_load(p[j].c_prev), candidate));
        v_store(p[j].dc_carry, v_mul(dh, z));
        v_store(gates, dz_n);
        v_store(gates + VL, v_mul(v_mul(dz_n, q), clipped_slope(sigma, call->clip, r)));
        v_store(gates + 2 * VL, v_mul(dz, clipped_slope(sigma, call->clip, z)));
        v_store(gates + 3 * VL, v_mul(dz_n, r));
    }
}

/* The first phase of both cells with two: `count` gates, the first of which gates h_prev. */
INLINE void gates_forward(const int n, const int count, const recurrent_call *call, const cell_place *p) {
    UNROLL for (int k = 0; k < count; k++) {
        vec gate[CELL_CHAINS];
        EACH_CHAIN gate[j] = v_load(p[j].z + k * VL);
        activate_clipped(n, call, call->recurrent_activation, gate);
        EACH_CHAIN v_store(p[j].gates + k * VL, gate[j]);
        if (k == 0) EACH_CHAIN v_store_lanes(p[j].gated, v_mul(gate[j], v_load_lanes(p[j].h_prev, p[j].lanes)), p[j].lanes);
    }
}
/* Its backward, when the gradient d of (gate h_prev) is known; dh_carry holds what else reaches the gate, and is given
 * what reaches h_prev through it. */
INLINE void gates_backward(const int n, const recurrent_call *call, const cell_place *p, const vec *d) {
    EACH_CHAIN {
        vec gate = v_load(p[j].gates), dgated = d[j];
        vec dgate = v_fma(dgated, v_load_lanes(p[j].h_prev, p[j].lanes), v_load(p[j].dh_carry));
        v_store(p[j].dh_carry, v_mul(dgated, gate));
        v_store(p[j].gates, v_mul(dgate, clipped_slope(call->recurrent_activation, call->clip, gate)));
    }
}

/* LSTM with a gated recurrence, vectors i f o, then g: g = tanh(z_g) of x and i h_prev. */
INLINE void gated_recurrence_forward(const int n, const recurrent_call *call, const cell_place *p, vec *h) {
    vec g[CELL_CHAINS], c[CELL_CHAINS];
    EACH_CHAIN g[j] = v_load(p[j].z);
    activate_clipped(n, call, call->activation, g);
    EACH_CHAIN {
        c[j] = v_fma(v_load(p[j].gates + VL), v_load(p[j].c_prev), v_mul(v_load(p[j].gates), g[j]));
        v_store(p[j].c, c[j]);
        v_store(p[j].gates + 3 * VL, g[j]);
    }
    activate(n, call->activation, c);
    EACH_CHAIN h[j] = v_mul(v_load(p[j].gates + 2 * VL), c[j]);
}
INLINE void gated_recurrence_backward(const int n, const recurrent_call *call, const cell_place *p, const vec *dh_in) {
    const int phi = call->activation, sigma = call->recurrent_activation;
    vec phi_c[CELL_CHAINS];
    EACH_CHAIN phi_c[j] = v_load(p[j].c);
    activate(n, phi, phi_c);
    EACH_CHAIN {
        real *gates = p[j].gates;
        vec dh = dh_in[j];
        vec i = v_load(gates), f = v_load(gates + VL), o = v_load(gates + 2 * VL), g = v_load(gates + 3 * VL);
        vec dc = v_fma(v_mul(dh, o), slope(phi, phi_c[j]), v_load(p[j].dc_carry));
        v_store(gates + VL, v_mul(v_mul(dc, v_load(p[j].c_prev)), clipped_slope(sigma, call->clip, f)));
        v_store(gates + 2 * VL, v_mul(v_mul(dh, phi_c[j]), clipped_slope(sigma, call->clip, o)));
        v_store(gates + 3 * VL, v_mul(v_mul(dc, i), clipped_slope(phi, call->clip, g)));
        v_store(p[j].dc_carry, v_mul(dc, f));
        v_store(p[j].dh_carry, v_mul(dc, g));
    }
}

/* GRU with the reset gate before the product, vectors r z, then n: n = tanh(z_n) of x and r h_prev. */
INLINE void reset_before_forward(const int n, const recurrent_call *call, const cell_place *p, vec *h) {
    vec candidate[CELL_CHAINS];
    EACH_CHAIN candidate[j] = v_load(p[j].z);
    activate_clipped(n, call, call->activation, candidate);
    EACH_CHAIN {
        vec out = v_fma(v_load(p[j].gates + VL), v_sub(v_load(p[j].c_prev), candidate[j]), candidate[j]);
        v_store(p[j].gates + 2 * VL, candidate[j]);
        v_store(p[j].c, out);
        h[j] = out;
    }
}
INLINE void reset_before_backward(const int n, const recurrent_call *call, const cell_place *p, const vec *dh_in) {
    EACH_CHAIN {
        real *gates = p[j].gates;
        vec z = v_load(gates + VL), candidate = v_load(gates + 2 * VL);
        vec dh = v_add(dh_in[j], v_load(p[j].dc_carry));
        vec dz = v_mul(dh, v_sub(v_load(p[j].c_prev), candidate));
        v_store(gates + VL, v_mul(dz, clipped_slope(call->recurrent_activation, call->clip, z)));
        v_store(gates + 2 * VL, v_mul(v_mul(dh, v_sub(v_set(1), z)), clipped_slope(call->activation, call->clip, candidate)));
        v_store(p[j].dc_carry, v_mul(dh, z));
        v_store(p[j].dh_carry, v_set(0));
    }
}

/* Plain RNN (Elman 1990): h = tanh(z). */
INLINE void rnn_forward(const int n, const recurrent_call *call, const cell_place *p, vec *h) {
    vec out[CELL_CHAINS];
    EACH_CHAIN out[j] = v_load(p[j].z);
    activate_clipped(n, call, call->activation, out);
    EACH_CHAIN {
        h[j] = out[j];
        if (p[j].gates) v_store(p[j].gates, out[j]);
    }
}
INLINE void rnn_backward(const int n, const recurrent_call *call, const cell_place *p, const vec *dh) {
    EACH_CHAIN {
        vec slope_h = clipped_slope(call->activation, call->clip, v_load(p[j].gates));
        v_store(p[j].gates, v_mul(dh[j], slope_h));
    }
}
#endif
