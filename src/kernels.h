/* What the compiled kernels offer, and what a call must fill in. The same for every instruction set and precision:
 * arrays travel as void pointers, and the table that is called knows what they hold.
 *
 * N sequences (rows), T steps, F inputs, H units, S = sum of the lengths; VL lanes in a vector, Hp = H rounded up to VL.
 * Rows are sorted by length, longest first, so the rows alive at time t are a prefix.
 * "Time-major" arrays hold one slot a step, all rows of t = 0 first: slot(t, r) = step_base[t] + r.
 */
#ifndef LSTMFAST_KERNELS_H
#define LSTMFAST_KERNELS_H

#include <stddef.h>
#include <stdint.h>

#include "meeting.h"
#include "teams.h"

#define BLOCK_ROWS 96 /* rows that advance together: their pointers live on the stack (6 kB) */

/* What cells.h computes; lstmfast/layers/cells.py knows them by name. */
enum {
    CELL_LSTM,
    CELL_LSTM_COUPLED,
    CELL_LSTM_FULL_PEEPHOLE,
    CELL_LSTM_GATED_RECURRENCE,
    CELL_LSTM_CELL_RECURRENT,
    CELL_GRU,
    CELL_GRU_RESET_BEFORE,
    CELL_RNN,
    N_CELLS
};
enum {
    ACTIVATION_SIGMOID,
    ACTIVATION_TANH,
    ACTIVATION_RELU,
    ACTIVATION_IDENTITY,
    ACTIVATION_SOFTSIGN,
    ACTIVATION_HARD_TANH,
    ACTIVATION_ELU,
    ACTIVATION_HARD_SIGMOID,
    N_ACTIVATIONS
};

/* One direction of one recurrent layer over one batch. Sequence r's step t is row first[r] + t of its array
 * (reverse: first[r] + lengths[r] - 1 - t). Optional pointers may be NULL.
 *
 * G H columns of kernel, recurrent_kernel and bias: G as the cell has it. "Gates" are what a cell computes from the
 * products: blocks of V vectors (cells.h). c is a cell's second state; the GRU keeps its h there, unmasked. */
typedef struct {
    interruption *stop;       /* looked at now and then; the results are worthless after it; optional */
    ptrdiff_t n_rows, n_inputs, n_units, n_steps;
    int cell, activation, recurrent_activation;
    double clip;              /* of what goes into an activation but the one of c; 0: none */
    const int64_t *lengths;   /* (N,) descending, each >= 1 */
    const int64_t *step_base; /* (T + 1,) */
    int reverse;
    /* forward */
    int keep;                 /* keep every step for backward: S slots; else one for each row */
    const void *x;            /* rows of F, x_stride apart */
    ptrdiff_t x_stride;
    const int64_t *x_first;   /* (N,) */
    const int64_t *x_rows;    /* optional: step s is row x_rows[s] of the n_x of x, and x_first counts such steps; only */
    ptrdiff_t n_x;            /* for a cell that shares_inputs */
    void *x_sums;             /* (blocks, n_x, V, VL): input_sums */
    const void *weights;      /* pack_gates */
    const void *peephole;     /* (3, H) for i, f, o; optional */
    const void *h0, *c0;      /* (N, H); optional: zeros */
    const void *h_mask;       /* (N, H); optional: recurrent dropout, multiplies h_prev in products */
    void *y;                  /* rows of H, y_stride apart; optional */
    ptrdiff_t y_stride;
    const int64_t *y_first;   /* (N,) also for dy and dx */
    void *h, *c;              /* (N, H) after each row's last step; c optional */
    void *h_steps;            /* h_prev as the product sees it: keep: (S, H) time-major; else (2 N, H) */
    ptrdiff_t h_stride;       /* from row to row of h_steps and gated_steps */
    void *c_steps;            /* keep: (N + S, Hp): c0, then c time-major; else (N, Hp), or (2 N, Hp) if products read c */
    void *gates;              /* (blocks, slots, V, VL); backward overwrites them with their gradients; optional */
    void *gated_steps;        /* (slots, H): a gate times h_prev; for the cells with two phases */
    /* backward; a gradient has the layout of what it belongs to */
    const void *dy;           /* optional */
    ptrdiff_t dy_stride;
    const void *dh, *dc;      /* optional */
    const void *weights_x_t, *weights_h_t, *weights_extra_t; /* pack_gates_transposed */
    void *dc_carry, *dh_carry; /* (N, Hp); dh_carry for the cells with two phases */
    void *dx_sums;            /* with x_rows (n_x, G H), added to: from them the caller has dx and dkernel */
    void *dx;
    ptrdiff_t dx_stride;
    int dx_accumulate;
    void *dh0, *dc0;          /* optional */
    void *dkernel, *drecurrent_kernel, *dbias; /* (F, G H) (H, G H) (G H,): added to */
    void *drecurrent_bias, *dpeephole, *dpeephole_kernel; /* (H,) (3, H) (H, 4 H): of the cells that have them */
} recurrent_call;

/* y = x W + b over rows, and its gradients. M inputs, N outputs. */
typedef struct {
    ptrdiff_t n_rows, n_inputs, n_outputs;
    const void *x;         /* (n_rows, M), rows x_stride apart */
    ptrdiff_t x_stride;
    const void *weights;   /* pack_columns; for the gradient of x that of W^T */
    void *y;               /* (n_rows, N) */
    const void *dy;        /* (n_rows, N), rows dy_stride apart */
    ptrdiff_t dy_stride;
    void *dweight, *dbias; /* (M, N) (N,): added to */
} dense_call;

/* Softmax cross-entropy of rows. K outputs. */
typedef struct {
    ptrdiff_t n_outputs;
    void *z;                /* (n, K); becomes the gradient */
    const int64_t *targets; /* (n,) in [0, K) */
    const void *weights;    /* (n,) */
    void *losses;           /* (n,) */
} cross_entropy_call;

/* Additive attention over pairs of sequences (attention.h). D units, Dp = D rounded up to VL, E values. Pair r has the
 * query rows q_first[r] ... + q_lengths[r] and the key rows k_first[r] ... + k_lengths[r]. */
typedef struct {
    ptrdiff_t n_units, n_padded, n_values;
    const int64_t *q_first, *q_lengths, *k_first, *k_lengths, *w_first; /* (n,) */
    const void *queries, *keys;  /* projected: (N_q, D), (N_k, D) */
    const void *q_odds, *k_odds; /* attention_odds of them: (N_q, Dp), (N_k, Dp) */
    const void *scale;           /* (Dp,) -2 times the scale, zeros behind D */
    const void *values;          /* (N_k, E) */
    void *weights;               /* the (T_q, T_k) of pair r from w_first[r] on */
    void *context;               /* (N_q, E), rows context_stride apart */
    ptrdiff_t context_stride;    /* of dcontext too */
    /* backward; no key row may stand in two pairs */
    const void *dcontext;
    void *dscores;               /* like weights; scratch */
    void *dqueries, *dkeys;      /* (N_q, Dp), (N_k, Dp); of the projected ones */
    void *dvalues;               /* (N_k, E) */
    void *dscale;                /* (n, Dp) each pair's share of the gradient of what `scale` points to */
} attention_call;

/* One optimiser step over n parameters; the first n_penalised are weights, the rest biases. */
typedef struct {
    ptrdiff_t n, n_penalised;
    void *parameters, *gradients; /* (n,) */
    void *first, *second;         /* (n,) moments, or velocity */
    double scale;                 /* gradients are multiplied by it: clipping */
    double learning_rate, momentum, beta_1, beta_2, epsilon;
    double first_correction, second_correction; /* 1 - beta^step */
    double decay;                 /* decoupled weight decay */
    int nesterov;
} optimizer_call;

/* What callers must know of a cell: whether it has a second state, whether products read that, whether it runs in two
 * phases; G of each parameter. */
typedef struct {
    int has_c, reads_c, two_phases;
    int shares_inputs; /* whether steps may be rows of a few x */
    int kernel_groups, recurrent_groups, bias_groups, recurrent_bias_groups;
} cell_traits;

typedef struct {
    const char *name;
    int lanes, tile_rows;
    cell_traits (*traits)(int cell);
    ptrdiff_t (*packed_gates_size)(int cell, ptrdiff_t n_inputs, ptrdiff_t n_units);
    ptrdiff_t (*packed_gates_transposed_size)(int cell, int operand, ptrdiff_t n_units, ptrdiff_t n_columns);
    ptrdiff_t (*packed_columns_size)(ptrdiff_t n_inputs, ptrdiff_t n_outputs);
    ptrdiff_t (*gates_size)(int cell, ptrdiff_t n_units); /* of one slot */
    /* extra: the peephole kernel or NULL; recurrent_bias or NULL */
    void (*pack_gates)(int cell, const void *kernel, const void *recurrent_kernel, const void *bias, const void *extra,
                       const void *recurrent_bias, ptrdiff_t n_inputs, ptrdiff_t n_units, void *packed, ptrdiff_t part,
                       ptrdiff_t parts);
    /* operand: 0 x, 1 h, 2 the third one */
    void (*pack_gates_transposed)(int cell, int operand, const void *matrix, ptrdiff_t n_columns, ptrdiff_t n_units,
                                  void *packed, ptrdiff_t part, ptrdiff_t parts);
    void (*pack_columns)(const void *matrix, ptrdiff_t row_stride, ptrdiff_t column_stride, const void *bias,
                         ptrdiff_t n_inputs, ptrdiff_t n_outputs, void *packed);
    void (*input_sums)(const recurrent_call *, ptrdiff_t part, ptrdiff_t parts); /* with x_rows, before the forward pass */
    void (*recurrent_forward)(const recurrent_call *, ptrdiff_t row_begin, ptrdiff_t row_end);
    void (*recurrent_forward_shared)(const recurrent_call *, meeting *, int thread, int parties);
    void (*recurrent_backward)(const recurrent_call *, ptrdiff_t row_begin, ptrdiff_t row_end);
    void (*input_gradient)(const recurrent_call *, ptrdiff_t row_begin, ptrdiff_t row_end);
    ptrdiff_t (*weight_gradient_tasks)(const recurrent_call *);
    void (*weight_gradient)(const recurrent_call *, ptrdiff_t task_begin, ptrdiff_t task_end);
    void (*dense_forward)(const dense_call *, ptrdiff_t row_begin, ptrdiff_t row_end);
    ptrdiff_t (*dense_weight_gradient_task)(const dense_call *, ptrdiff_t part, ptrdiff_t parts); /* its first */
    void (*dense_weight_gradient)(const dense_call *, ptrdiff_t task_begin, ptrdiff_t task_end);
    double (*penalised_gradient)(const optimizer_call *, double l1, double l2, double *penalty);
    void (*sgd)(const optimizer_call *);
    void (*rmsprop)(const optimizer_call *);
    void (*adam)(const optimizer_call *);
    void (*output_probabilities)(int multilabel, const void *z, void *probabilities, ptrdiff_t n_rows, ptrdiff_t n_outputs);
    void (*softmax_cross_entropy)(const cross_entropy_call *, ptrdiff_t row_begin, ptrdiff_t row_end);
    void (*attention_odds)(const void *x, ptrdiff_t n_units, void *odds, ptrdiff_t row_begin, ptrdiff_t row_end);
    void (*attention_forward)(const attention_call *, ptrdiff_t pair_begin, ptrdiff_t pair_end);
    void (*attention_backward)(const attention_call *, ptrdiff_t pair_begin, ptrdiff_t pair_end);
    void (*shifted_exp)(const void *x, double shift, void *y, ptrdiff_t n); /* y = exp(x - shift), x <= shift */
    void (*recurrent_step)(const recurrent_call *, int now, ptrdiff_t row_begin, ptrdiff_t row_end, ptrdiff_t part,
                           ptrdiff_t parts);
    void (*evaluate)(int function, const void *x, void *y, ptrdiff_t n); /* for tests: an activation */
} kernel_table;

extern const kernel_table lstmfast_f32_baseline, lstmfast_f64_baseline;
#if defined(__x86_64__) || defined(_M_X64)
#define LSTMFAST_X86 1
extern const kernel_table lstmfast_f32_avx2, lstmfast_f64_avx2, lstmfast_f32_avx512, lstmfast_f64_avx512;
#else
#define LSTMFAST_X86 0
#endif

/* Names of the instruction sets this machine can run, best first; NULL-terminated. */
const char *const *lstmfast_instruction_sets(void);
/* NULL for a name that this machine cannot run. */
const kernel_table *lstmfast_kernels(const char *name, int float64);

#endif
