/* All kernels for one instruction set and precision, as one table. Included by the kernels_*.c files, which name them. */
#include "kernels.h"

#if LSTMFAST_X86 || !(defined(LSTMFAST_AVX2) || defined(LSTMFAST_AVX512))

/* System headers first: what follows them is compiled for the instruction set, they are not. */
#include <math.h>
#include <string.h>
#if LSTMFAST_X86
#include <immintrin.h>
#endif

#if defined(LSTMFAST_AVX512)
#define ISA_NAME "avx512"
#define ISA_TARGET "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma"
#elif defined(LSTMFAST_AVX2)
#define ISA_NAME "avx2"
#define ISA_TARGET "avx2,fma"
#elif defined(__aarch64__)
#define ISA_NAME "neon"
#else
#define ISA_NAME "baseline"
#endif

/* MSVC needs no target: it compiles any intrinsic. */
#if defined(ISA_TARGET) && defined(__clang__)
#pragma clang attribute push(__attribute__((target(ISA_TARGET))), apply_to = function)
#elif defined(LSTMFAST_AVX512) && defined(__GNUC__)
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma") /* GCC expands no macro here */
#elif defined(LSTMFAST_AVX2) && defined(__GNUC__)
#pragma GCC target("avx2,fma")
#endif

#include "attention.h"
#include "dense.h"
#include "optimizers.h"
#include "recurrent_forward.h"
#include "recurrent_backward.h"

static void shifted_exp(const void *x, double shift, void *y, ptrdiff_t n) {
    for (ptrdiff_t j = 0; j < n; j += VL) {
        vec value = v_sub(v_load_lanes((const real *)x + j, n - j), v_set((real)shift));
        v_store_lanes((real *)y + j, v_exp(value), n - j);
    }
}

static void evaluate(int function, const void *x, void *y, ptrdiff_t n) {
    for (ptrdiff_t i = 0; i < n; i += VL) {
        vec value = v_load_lanes((const real *)x + i, n - i);
        activate(1, function, &value);
        v_store_lanes((real *)y + i, value, n - i);
    }
}

/* The same without subnormal numbers (simd.h). */
#define FLUSHED(name, parameters, arguments)                                                                    \
    static void flushed_##name parameters {                                                                     \
        float_mode before = flush_subnormals();                                                                 \
        name arguments;                                                                                         \
        restore_mode(before);                                                                                   \
    }
FLUSHED(input_sums, (const recurrent_call *call, ptrdiff_t part, ptrdiff_t parts), (call, part, parts))
FLUSHED(recurrent_forward, (const recurrent_call *call, ptrdiff_t begin, ptrdiff_t end), (call, begin, end))
FLUSHED(recurrent_forward_shared, (const recurrent_call *call, meeting *place, int thread, int parties),
        (call, place, thread, parties))
FLUSHED(recurrent_step,
        (const recurrent_call *call, int now, ptrdiff_t begin, ptrdiff_t end, ptrdiff_t part, ptrdiff_t parts),
        (call, now, begin, end, part, parts))
FLUSHED(recurrent_backward, (const recurrent_call *call, ptrdiff_t begin, ptrdiff_t end), (call, begin, end))
FLUSHED(input_gradient, (const recurrent_call *call, ptrdiff_t begin, ptrdiff_t end), (call, begin, end))
FLUSHED(weight_gradient, (const recurrent_call *call, ptrdiff_t begin, ptrdiff_t end), (call, begin, end))
FLUSHED(dense_forward, (const dense_call *call, ptrdiff_t begin, ptrdiff_t end), (call, begin, end))
FLUSHED(dense_weight_gradient, (const dense_call *call, ptrdiff_t begin, ptrdiff_t end), (call, begin, end))
FLUSHED(softmax_cross_entropy, (const cross_entropy_call *call, ptrdiff_t begin, ptrdiff_t end), (call, begin, end))
FLUSHED(attention_odds, (const void *x, ptrdiff_t n_units, void *odds, ptrdiff_t begin, ptrdiff_t end),
        (x, n_units, odds, begin, end))
FLUSHED(attention_forward, (const attention_call *call, ptrdiff_t begin, ptrdiff_t end), (call, begin, end))
FLUSHED(attention_backward, (const attention_call *call, ptrdiff_t begin, ptrdiff_t end), (call, begin, end))
FLUSHED(sgd, (const optimizer_call *call), (call))
FLUSHED(rmsprop, (const optimizer_call *call), (call))
FLUSHED(adam, (const optimizer_call *call), (call))

const kernel_table KERNEL_TABLE = {
    .name = ISA_NAME,
    .lanes = (int)sizeof(vec) / (int)sizeof(real),
    .tile_rows = TILE_ROWS,
    .traits = traits,
    .packed_gates_size = packed_gates_size,
    .packed_gates_transposed_size = packed_gates_transposed_size,
    .packed_columns_size = packed_columns_size,
    .gates_size = gates_size,
    .pack_gates = pack_gates,
    .pack_gates_transposed = pack_gates_transposed,
    .pack_columns = pack_columns,
    .input_sums = flushed_input_sums,
    .recurrent_forward = flushed_recurrent_forward,
    .recurrent_forward_shared = flushed_recurrent_forward_shared,
    .recurrent_backward = flushed_recurrent_backward,
    .input_gradient = flushed_input_gradient,
    .weight_gradient_tasks = weight_gradient_tasks,
    .weight_gradient = flushed_weight_gradient,
    .dense_forward = flushed_dense_forward,
    .dense_weight_gradient_task = dense_weight_gradient_task,
    .dense_weight_gradient = flushed_dense_weight_gradient,
    .penalised_gradient = penalised_gradient,
    .sgd = flushed_sgd,
    .rmsprop = flushed_rmsprop,
    .adam = flushed_adam,
    .output_probabilities = output_probabilities,
    .softmax_cross_entropy = flushed_softmax_cross_entropy,
    .attention_odds = flushed_attention_odds,
    .attention_forward = flushed_attention_forward,
    .attention_backward = flushed_attention_backward,
    .shifted_exp = shifted_exp,
    .recurrent_step = flushed_recurrent_step,
    .evaluate = evaluate,
};

#if defined(ISA_TARGET) && defined(__clang__)
#pragma clang attribute pop
#endif
#endif
