/* Errors of the kernels. This folder includes no other, so it has an enum of its own; 0 is
 * success. */
#ifndef TINE_KERNELS_ERROR_H
#define TINE_KERNELS_ERROR_H

enum tine_kernel_error {
    TINE_KERNEL_OK = 0,
    TINE_KERNEL_ARGUMENT,    /* a size or option outside its range */
    TINE_KERNEL_OVERFLOW,    /* a product of sizes does not fit in size_t */
    TINE_KERNEL_MEMORY,      /* an allocation failed */
    TINE_KERNEL_UNSUPPORTED, /* the kernel asked for cannot run here */
};

/* A constant clause, for any value. */
const char *tine_kernel_strerror(enum tine_kernel_error error);

#endif
