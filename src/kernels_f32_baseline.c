#define KERNEL_TABLE lstmfast_f32_baseline
#include "kernel_table.h"
