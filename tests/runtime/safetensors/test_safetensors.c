/* The safetensors reader: valid files are read, invalid ones are refused with a sentence that names
 * the fault. */
#include <criterion/criterion.h>
#include <dirent.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runtime/safetensors/safetensors.h"

/* A file's bytes: length, header, and `data` bytes counting up. */
static uint8_t *file_of(const char *header, size_t data, size_t *size) {
    size_t n = strlen(header);
    uint8_t *p = malloc(8 + n + data + 1);
    for (int i = 0; i < 8; i++) p[i] = (uint8_t)((uint64_t)n >> 8 * i);
    memcpy(p + 8, header, n);
    for (size_t i = 0; i < data; i++) p[8 + n + i] = (uint8_t)i;
    *size = 8 + n + data;
    return p;
}

static void refused(const char *header, size_t data, const char *with) {
    size_t size;
    uint8_t *p = file_of(header, data, &size);
    tine_safetensors *s = NULL;
    char why[200] = "";
    cr_expect_eq(tine_safetensors_parse(&s, p, size, why, sizeof why), TINE_EINVAL, "accepted: %s",
                 header);
    cr_expect(!s);
    cr_expect(strstr(why, with), "\"%s\" does not say \"%s\"", why, with);
    free(p);
}

#define T(shape, begin, end)                                                                       \
    "{\"dtype\":\"F32\",\"shape\":" shape ",\"data_offsets\":[" #begin "," #end "]}"

Test(safetensors, reads_tensors_and_metadata, .timeout = 10) {
    size_t size;
    uint8_t *p = file_of(
        "{\"__metadata__\":{\"kind\":\"x\"},\"b\":" T("[2,1]", 4, 12) ",\"a\":" T("[]", 0, 4) "}  ",
        12, &size);
    tine_safetensors *s;
    char why[200] = "";
    cr_assert_eq(tine_safetensors_parse(&s, p, size, why, sizeof why), TINE_OK, "%s", why);
    cr_assert_eq(tine_safetensors_count(s), 2);
    cr_expect_str_eq(tine_safetensors_at(s, 0)->name, "a");
    const tine_safetensor *b = tine_safetensors_find(s, "b");
    cr_assert(b);
    cr_expect_eq(b->rank, 2);
    cr_expect_eq(b->shape[0], 2);
    cr_expect_eq(b->elements, 2);
    cr_expect_eq(b->dtype, TINE_F32);
    cr_expect_eq(*(const uint8_t *)b->data, 4);
    cr_expect_str_eq(tine_safetensors_meta(s, "kind"), "x");
    cr_expect(!tine_safetensors_meta(s, "y"));
    cr_expect(!tine_safetensors_find(s, "c"));
    tine_safetensors_close(s);
    free(p);
}

Test(safetensors, reads_empty_files_of_the_format, .timeout = 10) {
    size_t size;
    uint8_t *p = file_of("{}", 0, &size);
    tine_safetensors *s;
    char why[200] = "";
    cr_assert_eq(tine_safetensors_parse(&s, p, size, why, sizeof why), TINE_OK, "%s", why);
    cr_expect_eq(tine_safetensors_count(s), 0);
    tine_safetensors_close(s);
    free(p);
    p = file_of("{\"z\":" T("[0,7]", 0, 0) "}", 0, &size);
    cr_assert_eq(tine_safetensors_parse(&s, p, size, why, sizeof why), TINE_OK, "%s", why);
    cr_expect_eq(tine_safetensors_at(s, 0)->elements, 0);
    tine_safetensors_close(s);
    free(p);
}

Test(safetensors, refuses_bad_offsets, .timeout = 10) {
    refused("{\"a\":" T("[1]", 0, 4) ",\"b\":" T("[1]", 2, 6) "}", 6, "overlaps");
    refused("{\"a\":" T("[1]", 0, 4) ",\"b\":" T("[1]", 0, 4) "}", 4, "overlaps");
    refused("{\"a\":" T("[1]", 0, 4) ",\"b\":" T("[1]", 8, 12) "}", 12, "belong to no tensor");
    refused("{\"a\":" T("[1]", 4, 8) "}", 8, "belong to no tensor");
    refused("{\"a\":" T("[1]", 0, 4) "}", 5, "at the end");
    refused("{\"a\":" T("[2]", 0, 8) "}", 4, "of 4");
    refused("{\"a\":" T("[1]", 4, 0) "}", 4, "4 to 0");
    refused("{\"a\":" T("[1]", -4, 0) "}", 4, "data_offsets");
    refused("{\"a\":" T("[1]", 0, 18446744073709551615) "}", 4, "lies at");
    refused("{\"a\":" T("[1]", 0, 4.0) "}", 4, "data_offsets");
    refused("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4,8]}}", 4,
            "data_offsets");
    refused("{\"a\":{\"dtype\":\"F32\",\"shape\":[1]}}", 4, "data_offsets");
}

Test(safetensors, refuses_bad_shapes, .timeout = 10) {
    refused("{\"a\":" T("[3]", 0, 8) "}", 8, "need 12");
    refused("{\"a\":" T("[4294967296,4294967296]", 0, 8) "}", 8, "overflows");
    refused("{\"a\":" T("[4611686018427387904]", 0, 8) "}", 8, "overflows");
    refused("{\"a\":" T("[-1]", 0, 4) "}", 4, "whole number");
    refused("{\"a\":" T("[1.5]", 0, 4) "}", 4, "whole number");
    refused("{\"a\":" T("[\"1\"]", 0, 4) "}", 4, "whole number");
    refused("{\"a\":" T("[1,1,1,1,1,1,1,1,1]", 0, 4) "}", 4, "9 dimensions");
    refused("{\"a\":" T("3", 0, 4) "}", 4, "shape");
    refused("{\"a\":" T("[[1]]", 0, 4) "}", 4, "whole number");
    refused("{\"a\":" T("[01]", 0, 4) "}", 4, "whole number");
    refused("{\"a\":" T("[1e0]", 0, 4) "}", 4, "whole number");
    refused("{\"a\":" T("[-0]", 0, 0) "}", 0, "whole number");
    refused("{\"a\":" T("[0]", -0, 0) "}", 0, "data_offsets");
    refused("{\"a\":" T("[18446744073709551616]", 0, 4) "}", 4, "whole number");
    refused("{\"a\":" T("[0,9223372036854775808]", 0, 0) "}", 0, "overflows");
}

Test(safetensors, refuses_bad_entries, .timeout = 10) {
    refused("{\"a\":{\"dtype\":3,\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "dtype");
    refused("{\"a\":{\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "dtype");
    refused("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4],\"x\":1}}", 4,
            "other than");
    refused("{\"a\":null}", 0, "not an object");
    refused("{\"a\":[]}", 0, "not an object");
    refused("{\"__metadata__\":[]}", 0, "__metadata__");
    refused("{\"__metadata__\":{\"a\":1}}", 0, "not a string");
}

Test(safetensors, refuses_what_is_not_json, .timeout = 10) {
    refused("", 0, "begin with {");
    refused("    ", 0, "begin with {");
    refused("[]", 0, "begin with {");
    refused("{", 0, "JSON");
    refused("{}{}", 0, "JSON");
    refused("{} x", 0, "JSON");
    refused("{'a':1}", 0, "JSON");
    refused("{\"a\":" T("[1]", 0, 4) ",}", 4, "JSON");
    refused("{\"a\xff\":" T("[1]", 0, 4) "}", 4, "JSON");
    refused("{\"a\":[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]}", 0, "not an object");
    refused("{\"\\ud800\":1}", 0, "JSON: lone surrogate");
    refused("{\"\\udc00\":1}", 0, "JSON: lone surrogate");
    refused("{\"\\ud800\\u0041\":1}", 0, "JSON: lone surrogate");
    refused("{\"\\ud800x\":1}", 0, "JSON: lone surrogate");
    refused("{\"\\u12g4\":1}", 0, "JSON: invalid \\u escape");
    refused("{\"\\x\":1}", 0, "JSON: invalid escape");
    refused("{\"a\nb\":1}", 0, "JSON: control character");
    refused("{\"\xed\xa0\x80\":1}", 0, "JSON: invalid UTF-8");
    refused("{\"\xc0\x80\":1}", 0, "JSON: invalid UTF-8");
    refused("{/*x*/}", 0, "JSON");
    refused("{,}", 0, "JSON");
    refused("{\"a\" " T("[1]", 0, 4) "}", 4, "JSON");
    refused("{\"a\":" T("[1,]", 0, 4) "}", 4, "whole number");
    refused("{\"a\":" T("[1]", 0, 4) " \"b\":" T("[0]", 4, 4) "}", 4, "JSON");
    refused("{\"__metadata__\":nul}", 0, "__metadata__");
    refused("\xef\xbb\xbf{}", 0, "begin with {");
}

/* The reference implementation keeps the last of them and warns nobody. */
Test(safetensors, refuses_what_is_there_twice, .timeout = 10) {
    refused("{\"a\":" T("[0]", 0, 0) ",\"a\":" T("[0]", 0, 0) "}", 0, "\"a\" occurs twice");
    refused("{\"a\":" T("[1]", 0, 4) ",\"\\u0061\":" T("[1]", 4, 8) "}", 8, "\"a\" occurs twice");
    refused("{\"__metadata__\":{\"k\":\"1\",\"l\":\"\",\"k\":\"1\"}}", 0, "\"k\" occurs twice");
    refused("{\"__metadata__\":{},\"__metadata__\":null}", 0, "__metadata__ occurs twice");
    refused("{\"a\":{\"dtype\":\"F32\",\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4,
            "\"dtype\" twice");
    refused("{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"\\u0073hape\":[1],\"data_offsets\":[0,4]}}",
            4, "\"shape\" twice");
    refused(
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4],\"data_offsets\":[0,4]}}",
        4, "\"data_offsets\" twice");
}

Test(safetensors, refuses_nul_in_names, .timeout = 10) {
    refused("{\"a\\u0000b\":" T("[1]", 0, 4) "}", 4, "holds \\u0000");
    refused("{\"__metadata__\":{\"a\\u0000\":\"\"}}", 0, "holds \\u0000");
    refused("{\"a\":{\"dtype\":\"F32\\u0000\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4,
            "holds \\u0000");
}

/* An error's sentence is for a terminal. */
Test(safetensors, errors_hold_no_control_characters, .timeout = 10) {
    refused("{\"a\\u001b[2J\\u0085\\n\":1}", 0, "the entry \"a?[2J???\" is not an object");
}

Test(safetensors, reads_what_json_allows, .timeout = 10) {
    size_t size;
    uint8_t *p =
        file_of("\r\n\t {\"__metadata__\" : null , \"\\u00e4\\ud83d\\ude00\\\"\\/\\n\": "
                "{\"data_offsets\":[0,\t4] ,\"shape\":[ ],\"\\u0064type\":\"F\\u00332\"}}\n ",
                4, &size);
    tine_safetensors *s;
    char why[200] = "";
    cr_assert_eq(tine_safetensors_parse(&s, p, size, why, sizeof why), TINE_OK, "%s", why);
    const tine_safetensor *t = tine_safetensors_find(s, "ä😀\"/\n");
    cr_assert(t);
    cr_expect_eq(t->dtype, TINE_F32);
    cr_expect(!tine_safetensors_meta(s, "a"));
    tine_safetensors_close(s);
    free(p);
    p = file_of("{\"__metadata__\":{\"b\":\"x\\u0000y\",\"a\":\"\"}}", 0, &size);
    cr_assert_eq(tine_safetensors_parse(&s, p, size, why, sizeof why), TINE_OK, "%s", why);
    cr_expect_str_eq(tine_safetensors_meta(s, "b"), "x\uFFFDy");
    cr_expect_str_eq(tine_safetensors_meta(s, "a"), "");
    tine_safetensors_close(s);
    free(p);
}

/* Its size is not checked, but its bytes must be its own. */
Test(safetensors, accepts_tensors_of_unknown_dtypes, .timeout = 10) {
    size_t size;
    uint8_t *p =
        file_of("{\"x\":{\"dtype\":\"F4\",\"shape\":[8],\"data_offsets\":[0,4]}}", 4, &size);
    tine_safetensors *s;
    char why[200] = "";
    cr_assert_eq(tine_safetensors_parse(&s, p, size, why, sizeof why), TINE_OK, "%s", why);
    cr_expect_eq(tine_safetensors_at(s, 0)->dtype, 0);
    cr_expect_str_eq(tine_safetensors_at(s, 0)->dtype_name, "F4");
    tine_safetensors_close(s);
    free(p);
    refused("{\"x\":{\"dtype\":\"F4\",\"shape\":[8],\"data_offsets\":[0,5]}}", 4, "of 4");
}

/* The heap that a header costs is at most twice its size, and the mapped header is once. */
static size_t heap_in_use(void) {
    struct mallinfo2 m = mallinfo2();
    return m.uordblks + m.hblkhd;
}
static void check_cost(const char *entry, size_t count) {
    size_t size, room = count * (strlen(entry) + 24) + 3, n = 1;
    char *header = malloc(room);
    strcpy(header, "{");
    for (size_t i = 0; i < count; i++) {
        n += (size_t)snprintf(header + n, room - n, "%s\"%zx\"", i ? "," : "", i);
        n += (size_t)snprintf(header + n, room - n, ":%s", entry);
    }
    strcpy(header + n, "}");
    uint8_t *p = file_of(header, 0, &size);
    free(header);
    tine_safetensors *s;
    char why[200] = "";
    size_t before = heap_in_use();
    cr_assert_eq(tine_safetensors_parse(&s, p, size, why, sizeof why), TINE_OK, "%s", why);
    cr_expect_leq(heap_in_use() - before, 2 * size, "%zu of %zu", heap_in_use() - before, size);
    tine_safetensors_close(s);
    free(p);
}
Test(safetensors, a_header_costs_a_small_multiple_of_its_size, .timeout = 20) {
    check_cost("{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}", 200000);
    check_cost("{\"dtype\":\"U8\",\"shape\":[0,0,0,0,0,0,0,0],\"data_offsets\":[0,0]}", 200000);
}

Test(safetensors, refuses_headers_that_do_not_fit, .timeout = 10) {
    tine_safetensors *s = NULL;
    char why[200];
    const uint8_t claims[12] = {5, 0, 0, 0, 0, 0, 0, 0, '{', '}', ' ', ' '};
    const uint8_t huge[10] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, '{', '}'};
    for (size_t n = 0; n < 8; n++)
        cr_expect_eq(tine_safetensors_parse(&s, claims, n, why, sizeof why), TINE_EINVAL);
    cr_expect_eq(tine_safetensors_parse(&s, claims, sizeof claims, why, sizeof why), TINE_EINVAL);
    cr_expect(strstr(why, "claims 5 bytes"), "%s", why);
    cr_expect_eq(tine_safetensors_parse(&s, huge, sizeof huge, why, sizeof why), TINE_EINVAL);
    cr_expect(strstr(why, "claims 18446744073709551615 bytes"), "%s", why);
}

/* Every truncation of a valid file is refused, and nothing is read past the end (AddressSanitizer
 * checks that). */
Test(safetensors, refuses_every_truncation, .timeout = 20) {
    size_t size;
    uint8_t *p = file_of("{\"a\":" T("[3]", 0, 12) ",\"b\":" T("[1]", 12, 16) "}", 16, &size);
    for (size_t n = 0; n < size; n++) {
        uint8_t *copy = malloc(n + 1);
        memcpy(copy, p, n);
        tine_safetensors *s = NULL;
        char why[200];
        cr_expect_eq(tine_safetensors_parse(&s, copy, n, why, sizeof why), TINE_EINVAL, "%zu bytes",
                     n);
        free(copy);
    }
    free(p);
}

Test(safetensors, opens_the_golden_files, .timeout = 20) {
    DIR *d = opendir("tests/golden");
    cr_assert(d);
    int seen = 0;
    for (struct dirent *e; (e = readdir(d));) {
        if (!strstr(e->d_name, ".safetensors")) continue;
        char path[300], why[200] = "";
        snprintf(path, sizeof path, "tests/golden/%.250s", e->d_name);
        tine_safetensors *s;
        cr_assert_eq(tine_safetensors_open(&s, path, why, sizeof why), TINE_OK, "%s: %s", path,
                     why);
        cr_expect(tine_safetensors_find(s, "output"));
        cr_expect(tine_safetensors_meta(s, "kind"));
        tine_safetensors_close(s);
        seen++;
    }
    closedir(d);
    cr_expect_geq(seen, 12);
}

Test(safetensors, says_why_a_file_cannot_be_opened, .timeout = 10) {
    tine_safetensors *s = NULL;
    char why[200];
    cr_expect_eq(tine_safetensors_open(&s, "tests/golden/none", why, sizeof why), TINE_EIO);
    cr_expect(strstr(why, "No such file"), "%s", why);
    cr_expect_eq(tine_safetensors_open(&s, "tests/golden", why, sizeof why), TINE_EINVAL);
    cr_expect(strstr(why, "regular file"), "%s", why);
    cr_expect_eq(tine_safetensors_open(&s, "/dev/null", why, sizeof why), TINE_EINVAL);
    char path[] = "/tmp/tine-empty-XXXXXX";
    int fd = mkstemp(path);
    cr_assert_geq(fd, 0);
    close(fd);
    cr_expect_eq(tine_safetensors_open(&s, path, why, sizeof why), TINE_EINVAL);
    cr_expect(strstr(why, "0 bytes"), "%s", why);
    unlink(path);
    cr_assert_eq(mkfifo(path, 0600), 0);
    cr_expect_eq(tine_safetensors_open(&s, path, why, sizeof why), TINE_EINVAL);
    cr_expect(strstr(why, "regular file"), "%s", why);
    unlink(path);
}
