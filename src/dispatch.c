/* Which kernel tables this machine can run. */
#include "kernels.h"

#if LSTMFAST_X86 && defined(_MSC_VER) && !defined(__clang__)
#include <intrin.h>
/* Bits of CPUID leaves 1 and 7; the operating system must save the registers too (XGETBV). */
static int has_avx2(void) {
    int leaf_1[4], leaf_7[4];
    __cpuid(leaf_1, 1);
    if (!(leaf_1[2] & (1 << 12)) || !(leaf_1[2] & (1 << 27)) || (_xgetbv(0) & 0x6) != 0x6) return 0;
    __cpuidex(leaf_7, 7, 0);
    return (leaf_7[1] & (1 << 5)) != 0;
}
static int has_avx512(void) {
    const int needed = (1 << 16) | (1 << 17) | (1 << 30) | (int)(1u << 31); /* F, DQ, BW, VL */
    int leaf_7[4];
    if (!has_avx2() || (_xgetbv(0) & 0xe6) != 0xe6) return 0;
    __cpuidex(leaf_7, 7, 0);
    return (leaf_7[1] & needed) == needed;
}
#elif LSTMFAST_X86
static int has_avx2(void) { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }
static int has_avx512(void) {
    return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
}
#endif

/* tables[i] are the float32 and float64 kernels of names[i]. */
static const char *names[4];
static const kernel_table *tables[4][2];

const char *const *lstmfast_instruction_sets(void) {
    int n = 0;
#if LSTMFAST_X86
#ifndef _MSC_VER
    __builtin_cpu_init();
#endif
    if (has_avx512()) tables[n][0] = &lstmfast_f32_avx512, tables[n][1] = &lstmfast_f64_avx512, n++;
    if (has_avx2()) tables[n][0] = &lstmfast_f32_avx2, tables[n][1] = &lstmfast_f64_avx2, n++;
#endif
    tables[n][0] = &lstmfast_f32_baseline, tables[n][1] = &lstmfast_f64_baseline, n++;
    for (int i = 0; i < n; i++) names[i] = tables[i][0]->name;
    names[n] = NULL;
    return names;
}

const kernel_table *lstmfast_kernels(const char *name, int float64) {
    lstmfast_instruction_sets();
    for (int i = 0; names[i]; i++) {
        const char *a = names[i], *b = name;
        while (*a && *a == *b) a++, b++;
        if (*a == *b) return tables[i][float64 != 0];
    }
    return NULL;
}
