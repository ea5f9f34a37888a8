/* Arrays in NumPy's .npy files (numpy.lib.format, versions 1 to 3), as tensors. */
#ifndef TINE_LAUNCH_COMMAND_NPY_H
#define TINE_LAUNCH_COMMAND_NPY_H

#include "runtime/tine.h"

/* Reads a file: little-endian float32, float64, int32, int64, uint8 or bool, row-major or
 * column-major (fortran_order). NULL with a sentence as tine_error_message(); the file must hold
 * exactly what its header says. */
tine_value *tine_npy_load(const char *path);
/* The same from memory. `name` is for the sentence. */
tine_value *tine_npy_parse(const char *name, const void *bytes, size_t size);
/* Writes a tensor; bf16 as float32. A file at the path is replaced when the new one is complete. */
tine_error tine_npy_save(const char *path, const tine_value *tensor);

#endif
