#define LSTMFAST_F64
#define KERNEL_TABLE lstmfast_f64_baseline
#include "kernel_table.h"
