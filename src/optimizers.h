/* Weight penalty, gradient norm and optimiser steps over the flat parameter array: one pass each.
 *
 * Plain loops that compilers vectorise; reductions run in 16 interleaved sums, whose order is fixed.
 */
#ifndef LSTMFAST_OPTIMIZERS_H
#define LSTMFAST_OPTIMIZERS_H

#include <math.h>

#include "kernels.h"
#include "simd.h"

#ifdef LSTMFAST_F64
#define SQRT sqrt
#else
#define SQRT sqrtf
#endif

/* Adds the gradient of  l1 |w| + l2 w^2 / 2  over the weights (subgradient 0 at 0), and returns the squared norm of
 * the whole gradient; *penalty gets the penalty's value. */
static double penalised_gradient(const optimizer_call *call, double l1, double l2, double *penalty) {
    const real *w = call->parameters;
    real *g = call->gradients, rate_1 = (real)l1, rate_2 = (real)l2;
    double norm[16] = {0}, absolute[16] = {0}, squared[16] = {0};
    for (ptrdiff_t begin = 0; (l1 > 0 || l2 > 0) && begin < call->n_penalised; begin += 16) {
        ptrdiff_t n = call->n_penalised - begin < 16 ? call->n_penalised - begin : 16;
        for (ptrdiff_t j = 0; j < n; j++) {
            real value = w[begin + j], sign = (real)((value > 0) - (value < 0));
            g[begin + j] += rate_1 * sign + rate_2 * value;
            absolute[j] += (double)(value * sign);
            squared[j] += (double)value * (double)value;
        }
    }
    for (ptrdiff_t begin = 0; begin < call->n; begin += 16) {
        ptrdiff_t n = call->n - begin < 16 ? call->n - begin : 16;
        for (ptrdiff_t j = 0; j < n; j++) norm[j] += (double)g[begin + j] * (double)g[begin + j];
    }
    for (int j = 1; j < 16; j++) norm[0] += norm[j], absolute[0] += absolute[j], squared[0] += squared[j];
    *penalty = l1 * absolute[0] + l2 * squared[0] / 2;
    return norm[0];
}

/* Decoupled decay (Loshchilov & Hutter 2019): weights shrink by the learning rate times decay, gradients apart. */
static void decay_weights(const optimizer_call *call) {
    real *w = call->parameters, keep = (real)(1 - call->learning_rate * call->decay);
    for (ptrdiff_t i = 0; call->decay > 0 && i < call->n_penalised; i++) w[i] *= keep;
}

/* v = momentum v - lr g;  w += v, or with Nesterov's lookahead (Sutskever et al. 2013)  w += momentum v - lr g */
static void sgd(const optimizer_call *call) {
    real *restrict w = call->parameters, *restrict velocity = call->first;
    const real *restrict g = call->gradients;
    real momentum = (real)call->momentum, rate = (real)(-call->learning_rate * call->scale);
    real ahead = call->nesterov ? momentum : 1, now = call->nesterov ? rate : 0;
    for (ptrdiff_t i = 0; i < call->n; i++) {
        velocity[i] = momentum * velocity[i] + rate * g[i];
        w[i] += ahead * velocity[i] + now * g[i];
    }
}

/* s = rho s + (1 - rho) g^2;  w -= lr g / (sqrt(s) + epsilon), rho = beta_2 (Tieleman & Hinton 2012) */
static void rmsprop(const optimizer_call *call) {
    real *restrict w = call->parameters, *restrict square = call->second;
    const real *restrict g = call->gradients;
    real rho = (real)call->beta_2, rest = (real)(1 - call->beta_2), epsilon = (real)call->epsilon;
    real rate = (real)call->learning_rate, scale = (real)call->scale;
    for (ptrdiff_t i = 0; i < call->n; i++) {
        real gradient = g[i] * scale;
        square[i] = rho * square[i] + rest * gradient * gradient;
        w[i] -= rate * gradient / (SQRT(square[i]) + epsilon);
    }
}

/* m = beta_1 m + (1 - beta_1) g;  s = beta_2 s + (1 - beta_2) g^2;
 * w -= lr (m / (1 - beta_1^t)) / (sqrt(s / (1 - beta_2^t)) + epsilon)       (Kingma & Ba 2015, algorithm 1) */
static void adam(const optimizer_call *call) {
    real *restrict w = call->parameters, *restrict mean = call->first, *restrict square = call->second;
    const real *restrict g = call->gradients;
    real beta_1 = (real)call->beta_1, rest_1 = (real)(1 - call->beta_1), scale = (real)call->scale;
    real beta_2 = (real)call->beta_2, rest_2 = (real)(1 - call->beta_2), epsilon = (real)call->epsilon;
    real rate = (real)(call->learning_rate / call->first_correction);
    real root = (real)(1 / sqrt(call->second_correction));
    decay_weights(call);
    for (ptrdiff_t i = 0; i < call->n; i++) {
        real gradient = g[i] * scale;
        mean[i] = beta_1 * mean[i] + rest_1 * gradient;
        square[i] = beta_2 * square[i] + rest_2 * gradient * gradient;
        w[i] -= rate * mean[i] / (SQRT(square[i]) * root + epsilon);
    }
}
#endif
