#define LSTMFAST_F64
#define LSTMFAST_AVX512
#define KERNEL_TABLE lstmfast_f64_avx512
#include "kernel_table.h"
