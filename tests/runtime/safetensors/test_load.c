/* tine_load and tine_save: tensors of files as dicts, and back. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runtime/tine.h"

TestSuite(load, .timeout = 20);

static char path[64];

static void path_make(void) {
    snprintf(path, sizeof path, "/tmp/tine-load-XXXXXX");
    int fd = mkstemp(path);
    cr_assert_geq(fd, 0);
    close(fd);
}

static void path_remove(void) { cr_assert_eq(unlink(path), 0); }

/* A file of a header and bytes; each byte has the value of its index. */
static void file_write(const char *header, size_t data) {
    FILE *f = fopen(path, "we");
    cr_assert_not_null(f);
    for (int i = 0; i < 8; i++) fputc((int)(strlen(header) >> 8 * i & 255), f);
    fputs(header, f);
    for (size_t i = 0; i < data; i++) fputc((int)i, f);
    cr_assert_eq(fclose(f), 0);
}

static void refused(const char *prefix, tine_error code, const char *with) {
    cr_expect_null(tine_load(path, prefix));
    cr_expect_eq(tine_last_error(), code);
    cr_expect(strstr(tine_error_message(), with), "\"%s\" does not say \"%s\"",
              tine_error_message(), with);
}

static tine_value *dict_of_all_dtypes(void) {
    const char *keys[7] = {"u8",  "f32", "a.f64", "a.bf16", "a.b.i64", "i32 \"\\\n\x01\xc3\xa4",
                           "none"};
    tine_value *items[7];
    const int64_t shape[] = {3, 1};
    for (int i = 0; i < 6; i++)
        items[i] =
            tine_full((tine_dtype[]){TINE_U8, TINE_F32, TINE_F64, TINE_BF16, TINE_I64, TINE_I32}[i],
                      i % 3, shape, i + 1);
    items[6] = tine_zeros(TINE_F32, 2, (int64_t[]){0, 5});
    tine_value *dict = tine_dict_of(keys, items, 7);
    for (int i = 0; i < 7; i++) tine_release(items[i]);
    return dict;
}

Test(load, what_is_saved_is_loaded) {
    path_make();
    tine_value *dict = dict_of_all_dtypes();
    cr_assert_eq(tine_save(path, dict), TINE_OK, "%s", tine_error_message());
    tine_value *loaded = tine_load(path, NULL);
    cr_assert_not_null(loaded, "%s", tine_error_message());
    cr_assert_eq(tine_length(loaded), tine_length(dict));
    for (size_t i = 0; i < tine_length(dict); i++)
        cr_expect(tine_equal(tine_get(loaded, tine_key_at(dict, i)), tine_at(dict, i)), "%s",
                  tine_key_at(dict, i));
    tine_release(loaded);
    tine_release(dict);
    path_remove();
}

Test(load, a_prefix_selects_a_submodule) {
    path_make();
    tine_value *dict = dict_of_all_dtypes(), *a, *b;
    cr_assert_eq(tine_save(path, dict), TINE_OK);
    cr_assert_not_null(a = tine_load(path, "a"));
    cr_expect_eq(tine_length(a), 3);
    cr_expect_eq(tine_dtype_of(tine_get(a, "b.i64")), TINE_I64);
    cr_assert_not_null(b = tine_load(path, "a.b."));
    cr_expect_eq(tine_length(b), 1);
    cr_expect_str_eq(tine_key_at(b, 0), "i64");
    refused("a.b.i", TINE_EINVAL, "no tensor's name begins with \"a.b.i\"; there are 7, such as");
    tine_release(a);
    tine_release(b);
    tine_release(dict);
    path_remove();
}

/* The value outlives the file's name, and the file's replacement. */
Test(load, tensors_stay_when_the_file_is_replaced) {
    path_make();
    tine_value *ones = tine_ones(TINE_F32, 1, (int64_t[]){100000}),
               *zeros = tine_zeros(TINE_F32, 1, (int64_t[]){10});
    tine_value *first = tine_dict_of((const char *[]){"x"}, &ones, 1),
               *second = tine_dict_of((const char *[]){"x"}, &zeros, 1);
    cr_assert_eq(tine_save(path, first), TINE_OK);
    tine_value *loaded = tine_load(path, NULL);
    tine_value *x = tine_ref((tine_value *)tine_get(loaded, "x"));
    tine_release(loaded);
    cr_assert_eq(tine_save(path, second), TINE_OK);
    path_remove();
    cr_expect(tine_equal(x, ones));
    tine_release(x);
    tine_release(first);
    tine_release(second);
    tine_release(ones);
    tine_release(zeros);
}

Test(load, what_is_not_aligned_is_copied) {
    path_make();
    file_write("{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},"
               "\"b\":{\"dtype\":\"I32\",\"shape\":[],\"data_offsets\":[1,5]}}",
               5);
    tine_value *d = tine_load(path, "");
    cr_assert_not_null(d, "%s", tine_error_message());
    cr_expect_eq(tine_as_int(tine_get(d, "b")), 0x04030201);
    tine_release(d);
    path_remove();
}

Test(load, dtypes_that_tine_lacks_are_widened) {
    path_make();
    file_write("{\"h\":{\"dtype\":\"F16\",\"shape\":[4],\"data_offsets\":[0,8]},"
               "\"c\":{\"dtype\":\"I8\",\"shape\":[1],\"data_offsets\":[8,9]},"
               "\"t\":{\"dtype\":\"BOOL\",\"shape\":[1],\"data_offsets\":[9,10]}}",
               0);
    FILE *f = fopen(path, "ae");
    const uint16_t halves[] = {0x3c00, 0x8001, 0xfc00, 0x7bff};
    fwrite(halves, sizeof halves, 1, f);
    fputs("\xfe\x07", f);
    fclose(f);
    tine_value *d = tine_load(path, NULL);
    cr_assert_not_null(d, "%s", tine_error_message());
    const float *h = tine_data(tine_get(d, "h"));
    cr_expect_eq(h[0], 1);
    cr_expect_eq(h[1], -0x1p-24f);
    cr_expect(h[2] < -1e38f);
    cr_expect_eq(h[3], 65504);
    cr_expect_eq(tine_as_int(tine_get(d, "c")), -2);
    cr_expect_eq(tine_as_int(tine_get(d, "t")), 1);
    tine_release(d);
    file_write("{\"z\":{\"dtype\":\"C64\",\"shape\":[1],\"data_offsets\":[0,8]}}", 8);
    refused(NULL, TINE_EINVAL, "tensor \"z\" has the dtype C64");
    path_remove();
}

Test(load, what_is_no_file_of_tensors_is_refused) {
    cr_expect_null(tine_load(NULL, NULL));
    snprintf(path, sizeof path, "/nonexistent/x");
    refused(NULL, TINE_EIO, "/nonexistent/x: cannot be opened");
    snprintf(path, sizeof path, "/dev/null");
    refused(NULL, TINE_EINVAL, "not a regular file");
    path_make();
    refused(NULL, TINE_EINVAL, "a safetensors file has at least 8");
    file_write("{", 0);
    refused(NULL, TINE_EINVAL, "not JSON");
    file_write("{}", 0);
    refused("x", TINE_EINVAL, "has no tensors");
    tine_value *one = tine_int(1), *x = tine_ones(TINE_F32, 0, NULL);
    tine_value *d = tine_dict_of((const char *[]){"n"}, &one, 1),
               *m = tine_dict_of((const char *[]){"__metadata__"}, &x, 1);
    cr_expect_eq(tine_save(path, d), TINE_EINVAL);
    cr_expect(strstr(tine_error_message(), "\"n\" must be a tensor, not int"));
    cr_expect_eq(tine_save(path, m), TINE_EINVAL);
    cr_expect_eq(tine_save(path, one), TINE_EINVAL);
    cr_expect_eq(tine_save("/nonexistent/x", d), TINE_EINVAL);
    tine_release(d);
    d = tine_dict_of(NULL, NULL, 0);
    cr_expect_eq(tine_save("/nonexistent/x", d), TINE_EIO);
    cr_expect_eq(tine_save(path, d), TINE_OK);
    tine_release(d);
    tine_release(m);
    tine_release(one);
    tine_release(x);
    path_remove();
}
