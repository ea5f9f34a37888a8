/* Printing: what PyTorch 2 and Python 3 print for the same values, taken from their output. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>

#include "runtime/value/value.h"

static void expect(tine_value *v, const char *wanted) {
    char *text = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&text, &n);
    tine_value_write(f, v);
    fclose(f);
    cr_expect_str_eq(text, wanted);
    free(text);
    tine_release(v);
}
static tine_value *vector(const float *x, int64_t n) { return tine_tensor(TINE_F32, 1, &n, x); }
#define VECTOR(...) vector((const float[]){__VA_ARGS__}, sizeof((const float[]){__VA_ARGS__}) / 4)

Test(value_print, tensors, .timeout = 20) {
    expect(VECTOR(-1), "tensor([-1.])");
    expect(tine_full(TINE_F32, 0, NULL, -100), "tensor(-100.)");
    expect(VECTOR(0.5f, -1.25f, 100), "tensor([  0.5000,  -1.2500, 100.0000])");
    expect(VECTOR(0, 0), "tensor([0., 0.])");
    expect(VECTOR(1, NAN, INFINITY, -INFINITY), "tensor([1., nan, inf, -inf])");
    expect(VECTOR(1, 2000), "tensor([1.0000e+00, 2.0000e+03])");
    expect(VECTOR(1e-5f), "tensor([1.0000e-05])");
    expect(tine_ones(TINE_F32, 2, ((int64_t[]){2, 3})),
           "tensor([[1., 1., 1.],\n        [1., 1., 1.]])");
    expect(tine_ones(TINE_I64, 3, ((int64_t[]){2, 1, 2})),
           "tensor([[[1, 1]],\n\n        [[1, 1]]])");
    expect(tine_ones(TINE_F64, 1, (int64_t[]){2}), "tensor([1., 1.], dtype=torch.float64)");
    expect(tine_ones(TINE_BF16, 0, NULL), "tensor(1., dtype=torch.bfloat16)");
    expect(tine_tensor(TINE_U8, 1, (int64_t[]){3}, (uint8_t[]){1, 20, 255}),
           "tensor([  1,  20, 255], dtype=torch.uint8)");
    expect(tine_zeros(TINE_F32, 1, (int64_t[]){0}), "tensor([])");
    expect(tine_zeros(TINE_F32, 2, ((int64_t[]){0, 3})), "tensor([], size=(0, 3))");
}

Test(value_print, long_rows_wrap_and_large_tensors_are_summarised, .timeout = 20) {
    expect(tine_ones(TINE_F32, 1, (int64_t[]){20}),
           "tensor([1., 1., 1., 1., 1., 1., 1., 1., 1., 1., 1., 1., 1., 1., 1., 1., 1., 1.,\n      "
           "  1., 1.])");
    expect(tine_ones(TINE_F32, 1, (int64_t[]){1001}), "tensor([1., 1., 1.,  ..., 1., 1., 1.])");
    expect(tine_ones(TINE_F32, 2, ((int64_t[]){40, 30})),
           "tensor([[1., 1., 1.,  ..., 1., 1., 1.],\n        [1., 1., 1.,  ..., 1., 1., 1.],\n"
           "        [1., 1., 1.,  ..., 1., 1., 1.],\n        ...,\n        [1., 1., 1.,  ..., 1., "
           "1., 1.],\n"
           "        [1., 1., 1.,  ..., 1., 1., 1.],\n        [1., 1., 1.,  ..., 1., 1., 1.]])");
}

Test(value_print, scalars_as_python, .timeout = 20) {
    expect(tine_none(), "None");
    expect(tine_bool(true), "True");
    expect(tine_int(INT64_MIN), "-9223372036854775808");
    expect(tine_float(1), "1.0");
    expect(tine_float(0.1), "0.1");
    expect(tine_float(1e16), "1e+16");
    expect(tine_float(123456789012345.0), "123456789012345.0");
    expect(tine_float(1e-5), "1e-05");
    expect(tine_float(0.0001), "0.0001");
    expect(tine_float(1.0 / 3), "0.3333333333333333");
    expect(tine_float(-0.0), "-0.0");
    expect(tine_float(NAN), "nan");
    expect(tine_string("as is"), "as is");
}

Test(value_print, containers_as_python, .timeout = 20) {
    tine_value *inner = tine_list(1, 2.5, "it's", tine_none(), tine_bool(false));
    tine_value *b = tine_bytes("\x01 a\xff", 4);
    expect(tine_list(inner, b), "[[1, 2.5, \"it's\", None, False], b'\\x01 a\\xff']");
    expect(tine_dict_of((const char *[]){"a", "b"}, (tine_value *[]){inner, b}, 2),
           "{'a': [1, 2.5, \"it's\", None, False], 'b': b'\\x01 a\\xff'}");
    tine_release(inner), tine_release(b);
}
