/* One vector type for every instruction set and precision: `vec` holds VL lanes of `real`.
 *
 * A source file defines the instruction set (LSTMFAST_AVX512, LSTMFAST_AVX2, or neither: whatever the compiler's
 * baseline is) and the precision (LSTMFAST_F64, or neither: float32) before it includes this header.
 *
 * Intrinsics rather than compiler vector extensions: multiply-add is fused where this file says so and nowhere else
 * (the build sets -ffp-contract=off), so a row's bits cannot depend on which tile variant the compiler contracted how,
 * and MSVC compiles the same source.
 *
 * Accuracy, against 50-digit values over all finite arguments: sigmoid and tanh err by at most 4 ULP in either
 * precision on every instruction set (tests/test_simd.py measures it). NaN in gives NaN out.
 */
#ifndef LSTMFAST_SIMD_H
#define LSTMFAST_SIMD_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(_MSC_VER) && !defined(__clang__)
#define INLINE static __forceinline
#define UNROLL
#else
#define INLINE static inline __attribute__((always_inline, unused))
#define UNROLL _Pragma("GCC unroll 16")
#endif

#define COUNT(array) ((int)(sizeof(array) / sizeof((array)[0])))
#define ALIGNED _Alignas(64) /* no vector straddles two cache lines */

#ifdef LSTMFAST_F64
typedef double real;
#define REAL_SIZE 8
typedef uint64_t real_bits;
#define MANTISSA_BITS 52
/* 1.5 * 2^52 + 1023: adding it rounds to an integer and leaves that integer, biased, in the lowest bits. */
#define ROUND_MAGIC 6755399441056767.0
#define EXP_LIMIT 700.0
#define LARGE 1e300
#define QUOTIENT_LIMIT 350.0 /* (e^350)^2 is finite, and so is its reciprocal */
#define LN2_HIGH 6.93145751953125e-1
#define LN2_LOW 1.42860682030941723212e-6
/* e^-r and (e^2r - 1) / r on |r| <= ln(2) / 2, least maximum relative error: 1.9e-17. */
#define EXP_COEFFICIENTS \
    1.0, -1.0, 0.5000000000000006, -0.166666666666666, 0.04166666666657545, -0.0083333333333827, \
        0.0013888888931882868, -0.00019841269734322518, 2.480150496499582e-05, -2.7557393551927333e-06, \
        2.76261418966949e-07, -2.5058276738906092e-08
#define EXPM1_COEFFICIENTS \
    2.0, 2.000000000000002, 1.333333333333328, 0.6666666666652072, 0.2666666666682464, 0.08888888916405036, \
        0.025396825259932823, 0.00634918527103893, 0.0014109385498586795, 0.0002828916930221558, \
        5.1319350761279676e-05
#else
typedef float real;
#define REAL_SIZE 4
typedef uint32_t real_bits;
#define MANTISSA_BITS 23
#define ROUND_MAGIC 12583039.0f /* 1.5 * 2^23 + 127 */
#define EXP_LIMIT 80.0f
#define LARGE 1e30f
#define QUOTIENT_LIMIT 43.0f
#define LN2_HIGH 0.693359375f
#define LN2_LOW -2.12194440054690583e-4f
/* As above, 7.3e-8 and 1.4e-8. */
#define EXP_COEFFICIENTS \
    1.0f, -1.0000001354942729f, 0.49999012227694628f, -0.16666730090064305f, 0.041910925258212481f, \
        -0.0083375017361181167f
#define EXPM1_COEFFICIENTS \
    2.0f, 1.9999999260643813f, 1.3333234869262844f, 0.6666752119703601f, 0.2677287637031599f, \
        0.08884774654935748f
#endif

#define LOG2_E ((real)1.44269504088896340736)

#define PASTE3_(a, b, c) a##b##c
#define PASTE3(a, b, c) PASTE3_(a, b, c)

/* LSTMFAST_PORTABLE, for tests: what a machine of no known kind gets. */
#if !defined(LSTMFAST_PORTABLE) &&                                                                              \
    (defined(LSTMFAST_AVX512) || defined(LSTMFAST_AVX2) || defined(__SSE2__) || defined(_M_X64))
/* ---- x86-64: the names of its intrinsics differ only in width and suffix ---- */
#include <immintrin.h>
#if defined(LSTMFAST_AVX512)
#define X86_WIDTH 512
#define X86_PREFIX _mm512_
#elif defined(LSTMFAST_AVX2)
#define X86_WIDTH 256
#define X86_PREFIX _mm256_
#else
#define X86_WIDTH 128
#define X86_PREFIX _mm_
#endif
#ifdef LSTMFAST_F64
#define X86(op) PASTE3(X86_PREFIX, op, _pd)
#define X86_SHIFT(a, n) PASTE3(X86_PREFIX, slli, _epi64)(a, n)
#define X86_TO_BITS(a) PASTE3(X86_PREFIX, PASTE3(castpd, _si, X86_WIDTH), )(a)
#define X86_FROM_BITS(a) PASTE3(X86_PREFIX, PASTE3(castsi, X86_WIDTH, _pd), )(a)
typedef PASTE3(__m, X86_WIDTH, d) vec;
#define X86_MASK __mmask8
#define X86_SUFFIX _pd
#else
#define X86(op) PASTE3(X86_PREFIX, op, _ps)
#define X86_SHIFT(a, n) PASTE3(X86_PREFIX, slli, _epi32)(a, n)
#define X86_TO_BITS(a) PASTE3(X86_PREFIX, PASTE3(castps, _si, X86_WIDTH), )(a)
#define X86_FROM_BITS(a) PASTE3(X86_PREFIX, PASTE3(castsi, X86_WIDTH, _ps), )(a)
typedef PASTE3(__m, X86_WIDTH, ) vec;
#define X86_MASK __mmask16
#define X86_SUFFIX _ps
#endif
#define VL (X86_WIDTH / 8 / REAL_SIZE)
#if defined(LSTMFAST_AVX512)
#define REGISTERS 32
#else
#define REGISTERS 16
#endif

INLINE vec v_load(const real *p) { return X86(loadu)(p); }
INLINE void v_store(real *p, vec a) { X86(storeu)(p, a); }
INLINE vec v_set(real a) { return X86(set1)(a); }
INLINE vec v_add(vec a, vec b) { return X86(add)(a, b); }
INLINE vec v_sub(vec a, vec b) { return X86(sub)(a, b); }
INLINE vec v_mul(vec a, vec b) { return X86(mul)(a, b); }
/* a * b + c */
INLINE vec v_fma(vec a, vec b, vec c) {
#if X86_WIDTH == 128
    return v_add(v_mul(a, b), c);
#else
    return X86(fmadd)(a, b, c);
#endif
}
/* Where either is NaN, x86 returns b. */
INLINE vec v_max(vec a, vec b) { return X86(max)(a, b); }
INLINE vec v_min(vec a, vec b) { return X86(min)(a, b); }
/* 1 where a > 0, else 0. */
INLINE vec v_positive(vec a) {
#if defined(LSTMFAST_AVX512)
    return X86(maskz_mov)(PASTE3(_mm512_cmp, X86_SUFFIX, _mask)(a, v_set(0), _CMP_GT_OQ), v_set(1));
#elif defined(LSTMFAST_AVX2)
    return X86(and)(X86(cmp)(a, v_set(0), _CMP_GT_OQ), v_set(1));
#else
    return X86(and)(X86(cmpgt)(a, v_set(0)), v_set(1));
#endif
}
/* AVX-512's division blocks its port for 16 cycles; one Newton step on the 14-bit reciprocal, then one on the quotient,
 * are instructions that pipeline. */
INLINE vec v_reciprocal(vec b) {
#if defined(LSTMFAST_AVX512) && !defined(LSTMFAST_F64)
    vec r = _mm512_rcp14_ps(b);
    return _mm512_fmadd_ps(_mm512_fnmadd_ps(b, r, v_set(1)), r, r);
#else
    return X86(div)(v_set(1), b);
#endif
}
INLINE vec v_divide(vec a, vec b) {
#if defined(LSTMFAST_AVX512) && !defined(LSTMFAST_F64)
    vec r = v_reciprocal(b), q = v_mul(a, r);
    return _mm512_fmadd_ps(_mm512_fnmadd_ps(b, q, a), r, q);
#else
    return X86(div)(a, b);
#endif
}
/* The lowest bits of a, moved up to be a floating-point exponent. */
INLINE vec v_to_exponent(vec a) { return X86_FROM_BITS(X86_SHIFT(X86_TO_BITS(a), MANTISSA_BITS)); }

#elif !defined(LSTMFAST_PORTABLE) && defined(__aarch64__)
/* ---- NEON ---- */
#include <arm_neon.h>
#ifdef LSTMFAST_F64
#define NEON(op) PASTE3(v, op, q_f64)
#define NEON_SET vdupq_n_f64
#define NEON_FROM_BITS vreinterpretq_f64_u64
#define NEON_TO_BITS vreinterpretq_u64_f64
#define NEON_AND vandq_u64
#define NEON_SHIFT(a) vreinterpretq_f64_u64(vshlq_n_u64(vreinterpretq_u64_f64(a), MANTISSA_BITS))
typedef float64x2_t vec;
#else
#define NEON(op) PASTE3(v, op, q_f32)
#define NEON_SET vdupq_n_f32
#define NEON_FROM_BITS vreinterpretq_f32_u32
#define NEON_TO_BITS vreinterpretq_u32_f32
#define NEON_AND vandq_u32
#define NEON_SHIFT(a) vreinterpretq_f32_u32(vshlq_n_u32(vreinterpretq_u32_f32(a), MANTISSA_BITS))
typedef float32x4_t vec;
#endif
#define VL (16 / REAL_SIZE)
#define REGISTERS 32

INLINE vec v_load(const real *p) { return NEON(ld1)(p); }
INLINE void v_store(real *p, vec a) { NEON(st1)(p, a); }
INLINE vec v_set(real a) { return NEON_SET(a); }
INLINE vec v_add(vec a, vec b) { return NEON(add)(a, b); }
INLINE vec v_sub(vec a, vec b) { return NEON(sub)(a, b); }
INLINE vec v_mul(vec a, vec b) { return NEON(mul)(a, b); }
INLINE vec v_fma(vec a, vec b, vec c) { return NEON(fma)(c, a, b); }
INLINE vec v_max(vec a, vec b) { return NEON(max)(a, b); }
INLINE vec v_min(vec a, vec b) { return NEON(min)(a, b); }
INLINE vec v_positive(vec a) { return NEON_FROM_BITS(NEON_AND(NEON(cgt)(a, v_set(0)), NEON_TO_BITS(v_set(1)))); }
INLINE vec v_reciprocal(vec b) { return NEON(div)(v_set(1), b); }
INLINE vec v_divide(vec a, vec b) { return NEON(div)(a, b); }
INLINE vec v_to_exponent(vec a) { return NEON_SHIFT(a); }

#else
/* ---- any other machine: lanes in an array, which compilers vectorise as they can ---- */
#define VL (16 / REAL_SIZE)
#define REGISTERS 16
typedef struct {
    real lane[VL];
} vec;
#define EACH_LANE(expression)                                                                                   \
    vec out;                                                                                                    \
    for (int j = 0; j < VL; j++) out.lane[j] = (expression);                                                    \
    return out

INLINE vec v_load(const real *p) { EACH_LANE(p[j]); }
INLINE void v_store(real *p, vec a) { memcpy(p, a.lane, sizeof a.lane); }
INLINE vec v_set(real a) { EACH_LANE(a); }
INLINE vec v_add(vec a, vec b) { EACH_LANE(a.lane[j] + b.lane[j]); }
INLINE vec v_sub(vec a, vec b) { EACH_LANE(a.lane[j] - b.lane[j]); }
INLINE vec v_mul(vec a, vec b) { EACH_LANE(a.lane[j] * b.lane[j]); }
INLINE vec v_fma(vec a, vec b, vec c) { return v_add(v_mul(a, b), c); }
INLINE vec v_max(vec a, vec b) { EACH_LANE(a.lane[j] > b.lane[j] ? a.lane[j] : b.lane[j]); }
INLINE vec v_min(vec a, vec b) { EACH_LANE(a.lane[j] < b.lane[j] ? a.lane[j] : b.lane[j]); }
INLINE vec v_positive(vec a) { EACH_LANE(a.lane[j] > 0 ? (real)1 : (real)0); }
INLINE vec v_reciprocal(vec b) { EACH_LANE(1 / b.lane[j]); }
INLINE vec v_divide(vec a, vec b) { EACH_LANE(a.lane[j] / b.lane[j]); }
INLINE vec v_to_exponent(vec a) {
    vec out;
    for (int j = 0; j < VL; j++) {
        real_bits bits;
        memcpy(&bits, &a.lane[j], sizeof bits);
        bits <<= MANTISSA_BITS;
        memcpy(&out.lane[j], &bits, sizeof bits);
    }
    return out;
}
#endif

/* ---- from here on, one source for all ---- */

/* Numbers below 1e-38 (float32) take a hundred cycles an operation, and vanishing gradients are full of them: a backward
 * pass of 200 steps through relu units took 55 ms instead of 8. Kernels take them for 0, and leave the thread's mode as
 * they found it. */
#if defined(X86_WIDTH)
typedef unsigned int float_mode;
INLINE float_mode flush_subnormals(void) {
    float_mode before = _mm_getcsr();
    _mm_setcsr(before | 0x8040); /* results, operands */
    return before;
}
INLINE void restore_mode(float_mode before) { _mm_setcsr(before); }
#elif defined(NEON) && defined(__GNUC__)
typedef uint64_t float_mode;
INLINE float_mode flush_subnormals(void) {
    float_mode before;
    __asm__ volatile("mrs %0, fpcr" : "=r"(before));
    __asm__ volatile("msr fpcr, %0" : : "r"(before | (1u << 24)));
    return before;
}
INLINE void restore_mode(float_mode before) { __asm__ volatile("msr fpcr, %0" : : "r"(before)); }
#else
typedef int float_mode;
INLINE float_mode flush_subnormals(void) { return 0; }
INLINE void restore_mode(float_mode before) { (void)before; }
#endif

#if REGISTERS == 32
#define TILE_ROWS 6  /* rows of the product: 6 x 4 vectors = 24 accumulators */
#define CELL_CHAINS 3 /* cells that run side by side: 9 sigmoids at once; a cell took 57 cycles so, 70 alone (AVX-512) */
#else
#define TILE_ROWS 3
#define CELL_CHAINS 2
#endif

/* NaN passes through: the limit comes first. */
INLINE vec v_clamp(vec a, real low, real high) { return v_max(v_set(low), v_min(v_set(high), a)); }

/* The first n lanes of a vector, when an array ends before the vector does; the others are 0. */
INLINE vec v_load_lanes(const real *p, ptrdiff_t n) {
    if (n >= VL) return v_load(p);
#ifdef LSTMFAST_AVX512
    return X86(maskz_loadu)((X86_MASK)((1u << n) - 1), p);
#else
    real lanes[VL] = {0};
    for (ptrdiff_t j = 0; j < n; j++) lanes[j] = p[j];
    return v_load(lanes);
#endif
}
INLINE void v_store_lanes(real *p, vec a, ptrdiff_t n) {
    if (n >= VL) {
        v_store(p, a);
        return;
    }
#ifdef LSTMFAST_AVX512
    X86(mask_storeu)(p, (X86_MASK)((1u << n) - 1), a);
#else
    real lanes[VL];
    v_store(lanes, a);
    for (ptrdiff_t j = 0; j < n; j++) p[j] = lanes[j];
#endif
}

/* Sum of the lanes: halves are added to halves. */
INLINE real v_sum(vec a) {
#ifdef LSTMFAST_AVX512
    return PASTE3(_mm512_reduce_add, X86_SUFFIX, )(a);
#else
    ALIGNED real lanes[VL];
    v_store(lanes, a);
    UNROLL for (int half = VL / 2; half > 0; half /= 2)
        UNROLL for (int j = 0; j < half; j++) lanes[j] += lanes[j + half];
    return lanes[0];
#endif
}

/* The functions below work on n vectors at a time, statement by statement: a chain of dependent instructions leaves most
 * of a core idle, and its window is too short to find the next chain by itself. */

/* x becomes sum_k coefficients[k] x^k. */
INLINE void v_polynomials(const int n, vec *x, const real *coefficients, const int degree) {
    vec sum[3 * CELL_CHAINS];
    UNROLL for (int j = 0; j < n; j++) sum[j] = v_set(coefficients[degree]);
    UNROLL for (int k = degree - 1; k >= 0; k--)
        UNROLL for (int j = 0; j < n; j++) sum[j] = v_fma(sum[j], x[j], v_set(coefficients[k]));
    UNROLL for (int j = 0; j < n; j++) x[j] = sum[j];
}

/* x = r + m ln(2) / scale for the integer m nearest to x scale / ln 2; x becomes r and power 2^m. x is clamped to
 * +-limit first, where 2^m is still a normal number (Cody & Waite 1980). */
INLINE void v_reduce(const int n, vec *x, real scale, real limit, vec *power) {
    UNROLL for (int j = 0; j < n; j++) x[j] = v_clamp(x[j], -limit, limit);
    UNROLL for (int j = 0; j < n; j++) power[j] = v_fma(x[j], v_set(scale * LOG2_E), v_set(ROUND_MAGIC));
    UNROLL for (int j = 0; j < n; j++) {
        vec m = v_sub(power[j], v_set(ROUND_MAGIC));
        x[j] = v_fma(m, v_set(-LN2_LOW / scale), v_fma(m, v_set(-LN2_HIGH / scale), x[j]));
    }
    UNROLL for (int j = 0; j < n; j++) power[j] = v_to_exponent(power[j]);
}

/* x becomes e^-x + plus. */
INLINE void v_exp_minus(const int n, vec *x, real limit, real plus) {
    static const real coefficients[] = {EXP_COEFFICIENTS};
    vec power[3 * CELL_CHAINS];
    v_reduce(n, x, -1, limit, power);
    v_polynomials(n, x, coefficients, COUNT(coefficients) - 1);
    UNROLL for (int j = 0; j < n; j++) x[j] = v_fma(power[j], x[j], v_set(plus));
}

/* x becomes e^2x - 1, which with 2 more is e^2x + 1: tanh x is their quotient. From e^2r - 1 it is
 * 2^m (e^2r - 1) + (2^m - 1): nothing cancels, so tanh keeps its relative accuracy near 0. */
INLINE void v_tanh_numerator(const int n, vec *x, real limit) {
    static const real coefficients[] = {EXPM1_COEFFICIENTS};
    vec power[3 * CELL_CHAINS], r[3 * CELL_CHAINS];
    v_reduce(n, x, 2, limit / 2, power);
    UNROLL for (int j = 0; j < n; j++) r[j] = x[j];
    v_polynomials(n, x, coefficients, COUNT(coefficients) - 1);
    UNROLL for (int j = 0; j < n; j++) x[j] = v_fma(power[j], v_mul(x[j], r[j]), v_sub(power[j], v_set(1)));
}

INLINE vec v_exp(vec x) {
    x = v_sub(v_set(0), x);
    v_exp_minus(1, &x, EXP_LIMIT, 0);
    return x;
}
/* 1 / (1 + e^-x) */
INLINE vec v_sigmoid(vec x) {
    v_exp_minus(1, &x, EXP_LIMIT, 1);
    return v_divide(v_set(1), x);
}
INLINE vec v_tanh(vec x) {
    v_tanh_numerator(1, &x, EXP_LIMIT);
    return v_divide(x, v_add(x, v_set(2)));
}
#endif
