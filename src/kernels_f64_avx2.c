#define LSTMFAST_F64
#define LSTMFAST_AVX2
#define KERNEL_TABLE lstmfast_f64_avx2
#include "kernel_table.h"
