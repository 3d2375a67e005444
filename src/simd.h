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
#define UNROLL _Pragma("GCC unroll 8")
#endif

#define ALIGNED _Alignas(64) /* no vector straddles two cache lines */

#ifdef LSTMFAST_F64
typedef double real;
typedef uint64_t real_bits;
#define MANTISSA_BITS 52
/* 1.5 * 2^52 + 1023: adding it rounds to an integer and leaves that integer, biased, in the lowest bits. */
#define ROUND_MAGIC 6755399441056767.0
#define EXP_LIMIT 700.0
#define LN2_HIGH 6.93145751953125e-1
#define LN2_LOW 1.42860682030941723212e-6
/* (e^r - 1 - r) / r^2 on |r| <= ln(2) / 2, least maximum relative error of e^r - 1: 1.9e-17. */
#define EXP_DEGREE 9
#define EXP_COEFFICIENTS                                                                                        \
    0.500000000000000535, 0.16666666666666599488, 0.041666666666575449447, 0.0083333333333827003857,            \
        0.0013888888931882868623, 0.00019841269734322517387, 0.000024801504964995821553,                        \
        2.7557393551927331424e-6, 2.7626141896694898672e-7, 2.5058276738906091972e-8
#else
typedef float real;
typedef uint32_t real_bits;
#define MANTISSA_BITS 23
#define ROUND_MAGIC 12583039.0f /* 1.5 * 2^23 + 127 */
#define EXP_LIMIT 80.0f
#define LN2_HIGH 0.693359375f
#define LN2_LOW -2.12194440054690583e-4f
/* As above, 1.4e-8. */
#define EXP_DEGREE 4
#define EXP_COEFFICIENTS                                                                                        \
    0.49999998151609532898f, 0.16666543586578555676f, 0.041667200748147506052f, 0.0083665238657237476043f,      \
        0.0013882460398337105394f
#endif

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
#else
#define X86(op) PASTE3(X86_PREFIX, op, _ps)
#define X86_SHIFT(a, n) PASTE3(X86_PREFIX, slli, _epi32)(a, n)
#define X86_TO_BITS(a) PASTE3(X86_PREFIX, PASTE3(castps, _si, X86_WIDTH), )(a)
#define X86_FROM_BITS(a) PASTE3(X86_PREFIX, PASTE3(castsi, X86_WIDTH, _ps), )(a)
typedef PASTE3(__m, X86_WIDTH, ) vec;
#endif
#define VL ((int)(X86_WIDTH / 8 / sizeof(real)))
#if defined(LSTMFAST_AVX512)
#define TILE_ROWS 6 /* 6 rows x 4 vectors = 24 accumulators of 32 registers */
#else
#define TILE_ROWS 3 /* 12 accumulators of 16 registers */
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
/* The hardware returns its second operand where either is NaN: with the limit first, NaN passes through. */
INLINE vec v_clamp(vec a, real low, real high) { return X86(max)(v_set(low), X86(min)(v_set(high), a)); }
INLINE vec v_divide(vec a, vec b) {
#if defined(LSTMFAST_AVX512) && !defined(LSTMFAST_F64)
    /* One Newton step on the 14-bit reciprocal, then one on the quotient: 5 instructions that pipeline, where
     * dividing 16 lanes blocks its port for 16 cycles (8 of every 10 cycles of a cell's pointwise step). */
    vec r = _mm512_rcp14_ps(b);
    r = _mm512_fmadd_ps(_mm512_fnmadd_ps(b, r, v_set(1)), r, r);
    vec q = v_mul(a, r);
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
#define NEON_SHIFT(a) vreinterpretq_f64_u64(vshlq_n_u64(vreinterpretq_u64_f64(a), MANTISSA_BITS))
typedef float64x2_t vec;
#else
#define NEON(op) PASTE3(v, op, q_f32)
#define NEON_SET vdupq_n_f32
#define NEON_SHIFT(a) vreinterpretq_f32_u32(vshlq_n_u32(vreinterpretq_u32_f32(a), MANTISSA_BITS))
typedef float32x4_t vec;
#endif
#define VL ((int)(16 / sizeof(real)))
#define TILE_ROWS 6

INLINE vec v_load(const real *p) { return NEON(ld1)(p); }
INLINE void v_store(real *p, vec a) { NEON(st1)(p, a); }
INLINE vec v_set(real a) { return NEON_SET(a); }
INLINE vec v_add(vec a, vec b) { return NEON(add)(a, b); }
INLINE vec v_sub(vec a, vec b) { return NEON(sub)(a, b); }
INLINE vec v_mul(vec a, vec b) { return NEON(mul)(a, b); }
INLINE vec v_fma(vec a, vec b, vec c) { return NEON(fma)(c, a, b); }
INLINE vec v_clamp(vec a, real low, real high) { return NEON(max)(v_set(low), NEON(min)(v_set(high), a)); }
INLINE vec v_divide(vec a, vec b) { return NEON(div)(a, b); }
INLINE vec v_to_exponent(vec a) { return NEON_SHIFT(a); }

#else
/* ---- any other machine: lanes in an array, which compilers vectorise as they can ---- */
#define VL ((int)(16 / sizeof(real)))
#define TILE_ROWS 3
typedef struct {
    real lane[16 / sizeof(real)];
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
INLINE vec v_clamp(vec a, real low, real high) {
    EACH_LANE(a.lane[j] < low ? low : a.lane[j] > high ? high : a.lane[j]);
}
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

/* The first n lanes of a vector, when an array ends before the vector does. */
INLINE vec v_load_lanes(const real *p, ptrdiff_t n) {
    if (n >= VL) return v_load(p);
    real lanes[64 / sizeof(real)] = {0};
    for (ptrdiff_t j = 0; j < n; j++) lanes[j] = p[j];
    return v_load(lanes);
}
INLINE void v_store_lanes(real *p, vec a, ptrdiff_t n) {
    if (n >= VL) {
        v_store(p, a);
        return;
    }
    real lanes[64 / sizeof(real)];
    v_store(lanes, a);
    for (ptrdiff_t j = 0; j < n; j++) p[j] = lanes[j];
}

/* e^x - 1 = (e^r - 1) 2^n + (2^n - 1) with x = n ln 2 + r, |r| <= ln(2) / 2 (Cody & Waite 1980). No step cancels, so
 * tanh keeps its relative accuracy near 0. Arguments are clamped to +-EXP_LIMIT, where 2^n is still a normal number. */
INLINE void v_exp_parts(vec x, vec *power, vec *small) {
    static const real coefficients[EXP_DEGREE + 1] = {EXP_COEFFICIENTS};
    x = v_clamp(x, -EXP_LIMIT, EXP_LIMIT);
    vec shifted = v_fma(x, v_set((real)1.44269504088896340736), v_set(ROUND_MAGIC));
    vec n = v_sub(shifted, v_set(ROUND_MAGIC));
    vec r = v_fma(n, v_set(-LN2_LOW), v_fma(n, v_set(-LN2_HIGH), x));
    vec q = v_set(coefficients[EXP_DEGREE]);
    UNROLL for (int k = EXP_DEGREE - 1; k >= 0; k--) q = v_fma(q, r, v_set(coefficients[k]));
    *power = v_to_exponent(shifted);
    *small = v_fma(q, v_mul(r, r), r);
}
INLINE vec v_exp(vec x) {
    vec power, small;
    v_exp_parts(x, &power, &small);
    return v_fma(power, small, power);
}
/* 1 / (1 + e^-x) */
INLINE vec v_sigmoid(vec x) {
    vec power, small;
    v_exp_parts(v_sub(v_set(0), x), &power, &small);
    return v_divide(v_set(1), v_add(v_fma(power, small, power), v_set(1)));
}
/* (e^2x - 1) / (e^2x + 1) */
INLINE vec v_tanh(vec x) {
    vec power, small;
    v_exp_parts(v_add(x, x), &power, &small);
    vec e = v_fma(power, small, v_sub(power, v_set(1)));
    return v_divide(e, v_add(e, v_set(2)));
}
#endif
