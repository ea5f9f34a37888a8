/* Values: making, reading, references and pools, walks over futures. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/bf16.h"
#include "runtime/api/future.h"
#include "runtime/value/value.h"
#include "transport/base/text.h"

#define test(name) Test(value, name, .timeout = 20)

test(scalars_read_back) {
    tine_value *i = tine_int(-5), *d = tine_float(2.5), *s = tine_string("höhe"),
               *b = tine_bytes("a\0b", 3);
    size_t n;
    cr_assert_eq(tine_as_int(i), -5);
    cr_assert_eq(tine_as_float(i), -5.0);
    cr_assert_eq(tine_as_float(d), 2.5);
    cr_assert_str_eq(tine_as_string(s), "höhe");
    cr_assert_eq(tine_length(s), 5);
    cr_assert(memcmp(tine_as_bytes(b, &n), "a\0b", 4) == 0 && n == 3);
    cr_assert(tine_as_bool(tine_bool(true)) && !tine_as_bool(tine_bool(false)));
    cr_assert_eq(tine_kind_of(tine_none()), TINE_NONE);
    tine_release(i), tine_release(d), tine_release(s), tine_release(b);
}

test(a_wrong_kind_gives_zero_and_says_so) {
    tine_value *i = tine_int(3);
    cr_assert_null(tine_as_string(i));
    cr_assert_eq(tine_last_error(), TINE_EINVAL);
    cr_assert_str_eq(tine_error_message(), "this value is of kind int, not string");
    cr_assert_eq(tine_as_float(tine_none()), 0.0);
    cr_assert_eq(tine_as_int(NULL), 0);
    cr_assert_null(tine_at(i, 0));
    cr_assert_null(tine_shape(i));
    cr_assert_eq(tine_elements(NULL), 0);
    cr_assert_eq(tine_length(i), 0);
    tine_release(i);
}

test(null_passes_the_makers_error_on) {
    tine_value *bad = tine_full(TINE_U8, 0, NULL, 300);
    cr_assert_null(bad);
    cr_assert_null(tine_list_of(&bad, 1));
    cr_assert_null(tine_list(1, bad));
    cr_assert_null(tine_dict_of((const char *[]){"k"}, &bad, 1));
    cr_assert_str_eq(tine_error_message(), "tine_full: 300 does not fit uint8");
    tine_release(bad);
}

test(a_tuple_is_a_list) {
    tine_value *x = tine_ones(TINE_F32, 1, (int64_t[]){1}), *pair = tine_tuple(x, 2);
    tine_value *items[] = {x, tine_int(2)}, *list = tine_list_of(items, 2);
    cr_assert_eq(tine_kind_of(pair), TINE_LIST);
    cr_assert_eq(tine_length(pair), 2);
    cr_assert_eq(tine_at(pair, 0), x);
    cr_assert(tine_equal(pair, list));
    cr_assert_null(tine_tuple(tine_kw("a", 1)));
    cr_assert_eq(tine_last_error(), TINE_EINVAL);
    tine_release(list), tine_release(items[1]), tine_release(pair), tine_release(x);
}

test(a_scalar_is_small) { cr_assert_leq(offsetof(tine_value, i) + sizeof(int64_t), 64); }

test(tensors) {
    const float data[6] = {1, 2, 3, 4, 5, 6};
    tine_value *t = tine_tensor(TINE_F32, 2, (int64_t[]){2, 3}, data);
    cr_assert_eq(tine_rank(t), 2);
    cr_assert_eq(tine_shape(t)[1], 3);
    cr_assert_eq(tine_elements(t), 6);
    cr_assert_eq((uintptr_t)tine_data(t) % 64, 0);
    cr_assert(memcmp(tine_data(t), data, sizeof data) == 0);
    cr_assert_eq(tine_length(t), 2);
    tine_value *o = tine_ones(TINE_BF16, 0, NULL);
    cr_assert_eq(tine_as_float(o), 1.0);
    cr_assert_eq(tine_as_int(o), 1);
    tine_value *e = tine_zeros(TINE_I64, 3, ((int64_t[]){4, 0, INT64_MAX}));
    cr_assert_eq(tine_elements(e), 0);
    tine_release(t), tine_release(o), tine_release(e);
}

test(wrong_shapes_are_refused) {
    cr_assert_null(tine_zeros(TINE_F32, 9, ((int64_t[9]){1, 1, 1, 1, 1, 1, 1, 1, 1})));
    cr_assert_str_eq(tine_error_message(), "a tensor's rank is 0 to 8, not 9");
    cr_assert_null(tine_zeros(TINE_F32, 1, (int64_t[]){-1}));
    cr_assert_null(tine_zeros(TINE_F32, 2, ((int64_t[]){INT64_MAX, 2})));
    cr_assert_null(tine_zeros(TINE_F64, 3, ((int64_t[]){1 << 21, 1 << 21, 1 << 18})));
    cr_assert_null(tine_zeros(0, 0, NULL));
    cr_assert_null(tine_zeros(7, 0, NULL));
    int64_t n;
    size_t bytes;
    cr_assert_eq(tine_shape_count(TINE_U8, 1, (int64_t[]){(int64_t)1 << 62}, &n, &bytes), TINE_OK);
    cr_assert_eq(tine_shape_count(TINE_U8, 2, (int64_t[]){(int64_t)1 << 62, 2}, &n, &bytes),
                 TINE_EINVAL);
}

static void count(void *ctx) { ++*(int *)ctx; }

test(a_wrapped_tensor_is_released_once_and_only_if_taken) {
    static double data[4] = {1, 2, 3, 4};
    int released = 0;
    cr_assert_null(tine_tensor_wrap(TINE_F64, 1, (int64_t[]){-4}, data, count, &released));
    cr_assert_null(
        tine_tensor_wrap(TINE_F64, 1, (int64_t[]){1}, (char *)data + 4, count, &released));
    cr_assert_eq(released, 0);
    tine_value *t = tine_tensor_wrap(TINE_F64, 1, (int64_t[]){4}, data, count, &released),
               *u = tine_ref(t);
    cr_assert_eq(tine_data(t), data);
    tine_release(t);
    cr_assert_eq(released, 0);
    tine_release(u);
    cr_assert_eq(released, 1);
}

test(lists_and_dicts) {
    tine_value *x = tine_int(7), *l = tine_list(x, 2, 2.5, "text", (bool)true);
    cr_assert_eq(tine_length(l), 5);
    cr_assert_eq(tine_at(l, 0), x);
    cr_assert_str_eq(tine_as_string(tine_at(l, 3)), "text");
    cr_assert_null(tine_at(l, 5));
    tine_value *d = tine_dict_of((const char *[]){"b", "a"}, (tine_value *[]){x, l}, 2);
    cr_assert_eq(tine_get(d, "a"), l);
    cr_assert_str_eq(tine_key_at(d, 0), "b");
    cr_assert_null(tine_get(d, "c"));
    cr_assert_str_eq(tine_error_message(), "the dict has no key 'c'");
    cr_assert_null(tine_dict_of((const char *[]){"b", "b"}, (tine_value *[]){x, l}, 2));
    cr_assert_str_eq(tine_error_message(), "the dict has the key 'b' twice");
    tine_value *empty = tine_dict_of(NULL, NULL, 0);
    cr_assert_eq(tine_length(empty), 0);
    tine_release(x), tine_release(l), tine_release(d), tine_release(empty);
}

test(a_large_dict_finds_a_key_that_is_there_twice) {
    enum { N = 1000 };
    char text[N][16];
    const char *keys[N];
    tine_value *items[N];
    for (int i = 0; i < N; i++) {
        snprintf(text[i], sizeof text[i], "k%d", i);
        keys[i] = text[i];
        items[i] = tine_none();
    }
    tine_value *d = tine_dict_of(keys, items, N);
    cr_assert_not_null(d);
    keys[900] = "k17";
    cr_assert_null(tine_dict_of(keys, items, N));
    tine_release(d);
}

test(nesting_is_bounded) {
    tine_value *v = tine_list(1);
    for (int i = 1; i < TINE_MAX_DEPTH; i++) {
        tine_value *w = tine_list(v);
        tine_release(v);
        v = w;
    }
    cr_assert_not_null(v);
    cr_assert_null(tine_list(v));
    cr_assert_str_eq(tine_error_message(), "lists and dicts nest at most 64 deep");
    tine_release(v);
}

test(equal_means_the_same_bits_all_through) {
    tine_value *a = tine_list(1, 2.0, "x"), *b = tine_list(1, 2.0, "x"),
               *c = tine_list(1, 2.0, "y");
    cr_assert(tine_equal(a, b));
    cr_assert_not(tine_equal(a, c));
    tine_value *i = tine_int(1), *d = tine_float(1), *m = tine_float(-0.0), *z = tine_float(0.0);
    cr_assert_not(tine_equal(i, d));
    cr_assert_not(tine_equal(m, z));
    tine_value *p = tine_zeros(TINE_F32, 2, ((int64_t[]){2, 3})),
               *q = tine_zeros(TINE_F32, 2, ((int64_t[]){3, 2}));
    cr_assert_not(tine_equal(p, q));
    cr_assert(tine_equal(p, p));
    cr_assert(tine_equal(NULL, NULL) && !tine_equal(p, NULL));
    tine_value *const all[] = {a, b, c, i, d, m, z, p, q};
    for (size_t k = 0; k < sizeof all / sizeof *all; k++) tine_release(all[k]);
}

test(an_error_is_utf8_though_a_name_in_it_is_cut) {
    for (int n = 1; n < 8; n++) {
        tine_error_set(TINE_EINVAL, "the name \"%.*s\" is long", n, "\xe8\xaa\x9e\xe8\xaa\x9e...");
        const char *m = tine_error_message();
        cr_expect(tine_utf8_valid(m, strlen(m)) && strstr(m, "\" is long"), "%s", m);
    }
}

test(a_string_is_utf8) { cr_assert_null(tine_string("\xff")); }

test(bf16_rounds_to_even_and_keeps_nan) {
    cr_assert_eq(tine_bf16_from_float(1.0f), 0x3f80);
    cr_assert_eq(tine_bf16_from_float(1.00390625f), 0x3f80);
    cr_assert_eq(tine_bf16_from_float(1.01171875f), 0x3f82);
    cr_assert(isnan(tine_bf16_to_float(tine_bf16_from_float(NAN))));
    cr_assert(isinf(tine_bf16_to_float(tine_bf16_from_float(3.4e38f))));
}

test(a_pool_releases_what_is_left) {
    static double data[1];
    int released = 0;
    tine_pool pool = {0};
    tine_current.pool = &pool;
    tine_value *t = tine_tensor_wrap(TINE_F64, 0, NULL, data, count, &released);
    tine_value *l = tine_list(t, t), *kept = tine_int(1), *inner = tine_ref(kept);
    tine_release(l);
    tine_release(kept);
    for (int i = 0; i < 1000; i++) tine_release(tine_int(i));
    cr_assert_leq(pool.room, 16);
    tine_current.pool = NULL;
    cr_assert_eq(released, 0);
    tine_pool_drain(&pool);
    cr_assert_eq(released, 1);
    cr_assert_eq(tine_as_int(inner), 1);
    tine_release(inner);
}

test(a_pool_does_not_forget_what_lies_in_another) {
    tine_pool outer = {0}, inner = {0};
    tine_current.pool = &outer;
    tine_value *v = tine_int(4);
    tine_current.pool = &inner;
    tine_value *other = tine_int(5);
    tine_release(tine_ref(v));
    cr_assert_eq(inner.n, 1);
    (void)other;
    tine_pool_drain(&inner);
    tine_current.pool = NULL;
    cr_assert_eq(tine_as_int(v), 4);
    tine_pool_drain(&outer);
}

/* A call that returns its argument puts the same value into the pool again: released twice, it lay
 * there still and was freed twice. */
test(a_value_that_lies_in_pools_several_times_is_released_as_often) {
    tine_pool one = {0}, two = {0};
    tine_current.pool = &one;
    tine_value *v = tine_int(4), *again = tine_value_ref(v), *other = tine_value_ref(v);
    tine_pool_adopt(&again->handle);
    tine_current.pool = &two;
    tine_pool_adopt(&other->handle);
    tine_current.pool = &one;
    tine_release(v);
    tine_release(again);
    cr_assert_eq(one.n, 0);
    cr_assert_eq(v->handle.refs, 1);
    tine_current.pool = NULL;
    tine_pool_drain(&one);
    tine_pool_drain(&two);
}

/* Futures that nobody will complete: enough for values, which count references on them. */
static tine_future *futures[3];
static void make_futures(void) {
    for (int i = 0; i < 3; i++) futures[i] = tine_future_new(NULL);
}
static void release_futures(void) {
    for (int i = 0; i < 3; i++) {
        cr_assert_eq(futures[i]->handle.refs, 1, "future %d", i);
        tine_release(futures[i]);
    }
}
static int index_of(const tine_future *f) { return f == futures[0] ? 0 : f == futures[1] ? 1 : 2; }

static int note(tine_future *f, void *ctx) {
    char *to = ctx;
    to[strlen(to)] = (char)('0' + index_of(f));
    return 0;
}
static const tine_value *result(tine_future *f, void *ctx) {
    return ((tine_value **)ctx)[index_of(f)];
}

test(futures_are_found_in_order_and_replaced) {
    make_futures();
    tine_value *results[3] = {tine_int(10), tine_int(11), tine_int(12)};
    tine_value *in = tine_list(futures[2], 5), *d = tine_dict_of((const char *[]){"k"}, &in, 1);
    tine_value *v = tine_list(futures[1], d, futures[0]);
    char seen[8] = "";
    tine_value_futures(v, note, seen);
    cr_assert_str_eq(seen, "120");
    tine_value *r = tine_value_resolve(v, result, results);
    cr_assert_eq(tine_at(r, 0), results[1]);
    cr_assert_eq(tine_at(tine_get(tine_at(r, 1), "k"), 0), results[2]);
    cr_assert_eq(tine_as_int(tine_at(tine_get(tine_at(r, 1), "k"), 1)), 5);
    tine_value *same = tine_value_resolve(r, result, NULL);
    cr_assert_eq(same, r);
    tine_release(r), tine_release(same), tine_release(v), tine_release(d), tine_release(in);
    for (int i = 0; i < 3; i++) tine_release(results[i]);
    release_futures();
}

test(a_list_that_goes_leaves_its_future_in_the_pool) {
    tine_pool pool = {0};
    make_futures();
    tine_current.pool = &pool;
    tine_pool_adopt(&tine_ref(futures[0])->handle);
    tine_value *l = tine_list(futures[0]);
    tine_release(l);
    cr_assert_eq(futures[0]->handle.refs, 2);
    tine_current.pool = NULL;
    tine_pool_drain(&pool);
    release_futures();
}

struct owner {
    tine_object_owner base;
    tine_object last;
    int n, made;
};
static void retained(tine_object_owner *o, tine_object id) {
    (void)id;
    ((struct owner *)o)->made++;
}
static void released(tine_object_owner *o, tine_object id) {
    struct owner *w = (struct owner *)o;
    w->last = id;
    w->n++;
}

test(an_object_shares_contents_and_tells_its_owner_when_it_goes) {
    struct owner owner = {.base = {retained, released}};
    tine_value *const all[] = {tine_none(), tine_int(3), tine_string("abc"), tine_list(1, "x"),
                               tine_ones(TINE_F32, 1, (int64_t[]){3})};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        tine_value *o = tine_value_as_object(all[i], 2 * i + 2, &owner.base);
        cr_assert(tine_equal(o, all[i]));
        tine_release(all[i]);
        cr_assert_eq(owner.n, (int)i);
        tine_release(o);
        cr_assert_eq(owner.n, (int)i + 1);
        cr_assert_eq(owner.last, 2 * i + 2);
    }
    tine_value *m = tine_module_ref(7, "lstm", &owner.base);
    tine_release(m);
    cr_assert_eq(owner.last, 7);
    cr_assert_eq(owner.made, owner.n);
}

test(arguments_become_values) {
    make_futures();
    const tine_argument args[] = {TINE_ARG_(1), TINE_ARG_(2.0f), TINE_ARG_("s"),
                                  TINE_ARG_((bool)true), TINE_ARG_(futures[0])};
    const tine_kind kinds[] = {TINE_INT, TINE_FLOAT, TINE_STRING, TINE_BOOL, TINE_FUTURE};
    for (int i = 0; i < 5; i++) {
        tine_value *v = tine_argument_value(&args[i]);
        cr_assert_eq(tine_kind_of(v), kinds[i]);
        tine_release(v);
    }
    release_futures();
    const tine_argument null = TINE_ARG_((tine_value *)NULL);
    cr_assert_null(tine_argument_value(&null));
    cr_assert_eq(tine_last_error(), TINE_EINVAL);
}
