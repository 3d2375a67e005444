#define LSTMFAST_AVX512
#define KERNEL_TABLE lstmfast_f32_avx512
#include "kernel_table.h"
