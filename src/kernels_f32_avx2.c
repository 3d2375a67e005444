#define LSTMFAST_AVX2
#define KERNEL_TABLE lstmfast_f32_avx2
#include "kernel_table.h"
