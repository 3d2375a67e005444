/* Activations of recurrent layers and their slopes, which are told from the activation's value alone. */
#ifndef LSTMFAST_ACTIVATIONS_H
#define LSTMFAST_ACTIVATIONS_H

#include "kernels.h"
#include "simd.h"

#define EACH_CHAIN UNROLL for (int j = 0; j < n; j++)

INLINE vec v_abs(vec a) { return v_max(v_sub(v_set(0), a), a); }

/* x, n vectors, becomes the activation of x. */
INLINE void activate(const int n, int activation, vec *x) {
    const vec zero = v_set(0), one = v_set(1);
    vec negative[3 * CELL_CHAINS];
    switch (activation) {
    case ACTIVATION_SIGMOID: /* 1 / (1 + e^-x) */
        v_exp_minus(n, x, EXP_LIMIT, 1);
        EACH_CHAIN x[j] = v_divide(one, x[j]);
        break;
    case ACTIVATION_TANH:
        v_tanh_numerator(n, x, EXP_LIMIT);
        EACH_CHAIN x[j] = v_divide(x[j], v_add(x[j], v_set(2)));
        break;
    case ACTIVATION_RELU:
        EACH_CHAIN x[j] = v_max(zero, x[j]);
        break;
    case ACTIVATION_SOFTSIGN: /* x / (1 + |x|) */
        EACH_CHAIN x[j] = v_clamp(x[j], -LARGE, LARGE); /* infinity / infinity is NaN */
        EACH_CHAIN x[j] = v_divide(x[j], v_add(one, v_abs(x[j])));
        break;
    case ACTIVATION_HARD_TANH:
        EACH_CHAIN x[j] = v_clamp(x[j], -1, 1);
        break;
    case ACTIVATION_ELU: /* x > 0: x; else e^x - 1 */
        EACH_CHAIN negative[j] = v_mul(v_set((real)0.5), v_min(zero, x[j]));
        v_tanh_numerator(n, negative, EXP_LIMIT);
        EACH_CHAIN x[j] = v_add(v_max(zero, x[j]), negative[j]);
        break;
    case ACTIVATION_HARD_SIGMOID: /* x / 6 + 1 / 2 in [0, 1] (Keras 3, PyTorch) */
        EACH_CHAIN x[j] = v_clamp(v_fma(x[j], v_set((real)(1.0 / 6)), v_set((real)0.5)), 0, 1);
        break;
    default: /* identity */
        break;
    }
}

INLINE vec activate_one(int activation, vec x) {
    activate(1, activation, &x);
    return x;
}

/* d activation / dx where the activation is y. */
INLINE vec slope(int activation, vec y) {
    const vec one = v_set(1);
    switch (activation) {
    case ACTIVATION_SIGMOID:
        return v_mul(y, v_sub(one, y));
    case ACTIVATION_TANH:
        return v_sub(one, v_mul(y, y));
    case ACTIVATION_RELU:
        return v_positive(y);
    case ACTIVATION_SOFTSIGN: {
        vec root = v_sub(one, v_abs(y));
        return v_mul(root, root);
    }
    case ACTIVATION_HARD_TANH:
        return v_positive(v_sub(one, v_abs(y)));
    case ACTIVATION_ELU:
        return v_add(one, v_min(v_set(0), y));
    case ACTIVATION_HARD_SIGMOID:
        return v_mul(v_set((real)(1.0 / 6)), v_mul(v_positive(y), v_positive(v_sub(one, y))));
    default:
        return one;
    }
}

/* The same after clipping to +-clip (0: none): 0 where y lies at one of the ends, as no activation here falls. */
INLINE vec clipped_slope(int activation, double clip, vec y) {
    vec result = slope(activation, y);
    if (clip <= 0) return result;
    vec top = activate_one(activation, v_set((real)clip)), bottom = activate_one(activation, v_set((real)-clip));
    return v_mul(result, v_mul(v_positive(v_sub(top, y)), v_positive(v_sub(y, bottom))));
}
#endif
