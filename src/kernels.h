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

#define BLOCK_ROWS 96 /* rows that advance together: their pointers live on the stack (6 kB) */

/* One direction of one recurrent layer over one batch. Sequence r's step t is row first[r] + t of its array
 * (reverse: first[r] + lengths[r] - 1 - t). Optional pointers may be NULL. */
typedef struct {
    ptrdiff_t n_rows, n_inputs, n_units, n_steps;
    const int64_t *lengths;   /* (N,) descending, each >= 1 */
    const int64_t *step_base; /* (T + 1,) */
    int reverse;
    /* forward */
    const void *x; /* rows of F, x_stride apart */
    ptrdiff_t x_stride;
    const int64_t *x_first;   /* (N,) */
    const void *weights;      /* pack_gates */
    const void *h0, *c0;      /* (N, H); optional: zeros */
    const void *h_mask;       /* (N, H); optional: recurrent dropout, multiplies h_prev in the product */
    void *y;                  /* rows of H, y_stride apart; optional */
    ptrdiff_t y_stride;
    const int64_t *y_first;   /* (N,) also for dy and dx */
    void *h, *c;              /* (N, H) after each row's last step */
    void *h_steps;            /* h_prev as the product sees it: (S, H) time-major; without gates (2 N, H) */
    ptrdiff_t h_stride;       /* from row to row of h_steps */
    void *c_steps;            /* (N + S, Hp): c0, then c time-major; without gates (N, Hp) */
    void *gates;              /* (Hp / VL, S, 4, VL) i f g o; backward overwrites it with their gradients; optional */
    /* backward; a gradient has the layout of what it belongs to */
    const void *dy;           /* optional */
    ptrdiff_t dy_stride;
    const void *dh, *dc;      /* optional */
    const void *weights_h_t, *weights_x_t; /* pack_gates_transposed */
    void *dc_carry;           /* (N, Hp) */
    void *dx;
    ptrdiff_t dx_stride;
    int dx_accumulate;
    void *dh0, *dc0;          /* optional */
    void *dkernel, *drecurrent_kernel, *dbias; /* (F, 4H) (H, 4H) (4H,): added to */
} recurrent_call;

/* y = x W + b over rows, and its gradients. M inputs, N outputs. */
typedef struct {
    ptrdiff_t n_rows, n_inputs, n_outputs;
    const void *x; /* (n_rows, M) */
    const void *weights; /* pack_columns; for the gradient of x that of W^T */
    void *y; /* (n_rows, N) */
    const void *dy_padded; /* (n_rows, N rounded up to VL), zeros behind N */
    void *dweight, *dbias; /* (M, N) (N,): added to */
} dense_call;

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

typedef struct {
    const char *name;
    int lanes, tile_rows;
    ptrdiff_t (*packed_gates_size)(ptrdiff_t n_inputs, ptrdiff_t n_units);
    ptrdiff_t (*packed_gates_transposed_size)(ptrdiff_t n_units, ptrdiff_t n_columns);
    ptrdiff_t (*packed_columns_size)(ptrdiff_t n_inputs, ptrdiff_t n_outputs);
    void (*pack_gates)(const void *kernel, const void *recurrent_kernel, const void *bias, ptrdiff_t n_inputs,
                       ptrdiff_t n_units, void *packed);
    void (*pack_gates_transposed)(const void *matrix, ptrdiff_t n_columns, ptrdiff_t n_units, void *packed);
    void (*pack_columns)(const void *matrix, ptrdiff_t row_stride, ptrdiff_t column_stride, const void *bias,
                         ptrdiff_t n_inputs, ptrdiff_t n_outputs, void *packed);
    void (*lstm_forward)(const recurrent_call *, ptrdiff_t row_begin, ptrdiff_t row_end);
    void (*lstm_forward_shared)(const recurrent_call *, meeting *, int thread, int parties);
    void (*lstm_backward)(const recurrent_call *, ptrdiff_t row_begin, ptrdiff_t row_end);
    void (*input_gradient)(const recurrent_call *, ptrdiff_t row_begin, ptrdiff_t row_end);
    ptrdiff_t (*weight_gradient_tasks)(const recurrent_call *);
    void (*weight_gradient)(const recurrent_call *, ptrdiff_t task_begin, ptrdiff_t task_end);
    void (*dense_forward)(const dense_call *, ptrdiff_t row_begin, ptrdiff_t row_end);
    ptrdiff_t (*dense_weight_gradient_tasks)(const dense_call *);
    void (*dense_weight_gradient)(const dense_call *, ptrdiff_t task_begin, ptrdiff_t task_end);
    double (*penalised_gradient)(const optimizer_call *, double l1, double l2, double *penalty);
    void (*sgd)(const optimizer_call *);
    void (*rmsprop)(const optimizer_call *);
    void (*adam)(const optimizer_call *);
    void (*output_probabilities)(int multilabel, const void *z, void *probabilities, ptrdiff_t n_rows, ptrdiff_t n_outputs);
    void (*lstm_step)(const recurrent_call *, int now, ptrdiff_t row_begin, ptrdiff_t row_end, ptrdiff_t unit_begin,
                      ptrdiff_t unit_end);
    void (*evaluate)(int function, const void *x, void *y, ptrdiff_t n); /* for tests: 0 sigmoid, 1 tanh */
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
