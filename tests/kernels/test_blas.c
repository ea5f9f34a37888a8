/* OpenBLAS is loaded by what computes with it, and by nothing else. */
#include <criterion/criterion.h>
#include <dlfcn.h>
#include <sys/resource.h>

#include "kernels/blas.h"

enum { PRESENT = RTLD_NOW | RTLD_NOLOAD };

static bool is_loaded(void) {
    void *library = dlopen("libopenblas.so.0", PRESENT);
    if (library) dlclose(library);
    return library != NULL;
}

/* NULL where it is not loaded. */
static int (*threads_of_library(void))(void) {
    int (*threads)(void) = NULL;
    void *library = dlopen("libopenblas.so.0", PRESENT);
    if (library) *(void **)&threads = dlsym(library, "openblas_get_num_threads");
    return threads;
}

Test(blas, is_loaded_on_first_use) {
    const float a[] = {1, 2}, b[] = {3, 4};
    float c[] = {0};
    cr_expect(!is_loaded());
    tine_blas_threads(1);
    cr_expect(!is_loaded());
    const struct tine_blas *blas = tine_blas();
    cr_assert_not_null(blas);
    cr_expect(is_loaded());
    blas->cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, 1, 1, 2, 1, a, 2, b, 1, 0, c, 1);
    cr_expect_eq(c[0], 11);
    cr_expect_eq(tine_blas(), blas);
}

Test(blas, threads_are_set_before_and_after_it_is_loaded) {
    tine_blas_threads(1);
    cr_assert_not_null(tine_blas());
    int (*threads)(void) = threads_of_library();
    cr_assert_not_null(threads);
    cr_expect_eq(threads(), 1);
    tine_blas_threads(2);
    cr_expect_eq(threads(), 2);
}

Test(blas, is_loaded_once_there_is_a_descriptor_for_it) {
    struct rlimit before, none;
    cr_assert_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
    none = (struct rlimit){0, before.rlim_max};
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
    const struct tine_blas *without = tine_blas();
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
    cr_expect_null(without);
    cr_expect_not_null(tine_blas());
}
