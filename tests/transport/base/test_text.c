/* Texts: formatting, UTF-8, the nearest name; and the hash of names. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "transport/base/hash.h"
#include "transport/base/text.h"

TestSuite(text, .timeout = 10);

Test(text, is_formatted_into_memory) {
    char *text = tine_text_format("%s %d", "worker", 3);
    cr_assert_str_eq(text, "worker 3");
    free(text);
}

Test(text, utf8_is_what_rfc_3629_says) {
    static const char good[] = "plain text of some length, a\xc2\xa2\xe2\x82\xac\xf0\x9f\x98\x80";
    cr_assert(tine_utf8_valid(good, sizeof good));
    cr_assert(tine_utf8_valid("", 0));
    const char *const bad[] = {"\xff",         "\xc0\x80",    "\xed\xa0\x80",    "\xf4\x90\x80\x80",
                               "\xe2\x82",     "\x80",        "\xe0\x80\x80",    "\xf0\x80\x80\x80",
                               "12345678\xff", "1234567\xc3", "\xf5\x80\x80\x80"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        cr_assert_not(tine_utf8_valid(bad[i], strlen(bad[i])), "number %zu", i);
}

Test(text, utf8_sequences_have_their_length) {
    cr_assert_eq(tine_utf8_sequence("a", 1), 1);
    cr_assert_eq(tine_utf8_sequence("\xc2\xa2", 2), 2);
    cr_assert_eq(tine_utf8_sequence("\xe2\x82\xac", 3), 3);
    cr_assert_eq(tine_utf8_sequence("\xf0\x9f\x98\x80", 4), 4);
    cr_assert_eq(tine_utf8_sequence("\xf0\x9f\x98\x80", 3), 0, "cut off");
    cr_assert_eq(tine_utf8_sequence("\xc2", 1), 0);
}

/* Every code point, encoded by hand, and every sequence of two bytes. */
Test(text, utf8_accepts_all_code_points_but_surrogates) {
    for (uint32_t c = 0; c <= 0x110000; c++) {
        char s[4];
        size_t n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
        static const unsigned char lead[] = {0, 0, 0xc0, 0xe0, 0xf0};
        for (size_t i = 0; i < n; i++) {
            uint32_t part = c >> 6 * (n - 1 - i);
            s[i] = (char)(i ? 0x80 | (part & 0x3f) : lead[n] | part);
        }
        bool valid = c < 0x110000 && (c < 0xd800 || c > 0xdfff);
        cr_assert_eq(tine_utf8_sequence(s, n), valid ? n : 0, "U+%04X", c);
    }
}

Test(text, a_character_that_was_cut_is_taken_out) {
    static const char *const mended[][2] = {{"all \xe2\x82\xac of it", "all \xe2\x82\xac of it"},
                                            {"the end \xe2\x82", "the end "},
                                            {"\"in \xf0\x9f\x98\" quotes", "\"in \" quotes"},
                                            {"\xe2\xe2\x82\xac", "\xe2\x82\xac"},
                                            {"latin \xff \x80", "latin ? ?"},
                                            {"\xed\xa0\x80", "???"},
                                            {"", ""}};
    for (size_t i = 0; i < sizeof mended / sizeof *mended; i++) {
        char text[32];
        strcpy(text, mended[i][0]);
        tine_text_mend(text);
        cr_expect_str_eq(text, mended[i][1], "number %zu", i);
    }
}

static const char *nearest(const char *name, size_t limit) {
    tine_nearest best = {.name = name, .size = strlen(name), .limit = limit};
    const char *const names[] = {"neg", "matmul", "stack", "matmul2"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) tine_nearest_try(&best, names[i]);
    return best.found;
}

Test(text, nearest_name) {
    cr_assert_str_eq(nearest("matmul", 3), "matmul");
    cr_assert_str_eq(nearest("matmull", 3), "matmul", "of equally near ones the first");
    cr_assert_str_eq(nearest("ngg", 3), "neg");
    cr_assert_str_eq(nearest("tsack", 3), "stack");
    cr_assert_null(nearest("convolution", 3));
    char wide[200];
    memset(wide, 'x', sizeof wide - 1);
    wide[sizeof wide - 1] = 0;
    cr_assert_null(nearest(wide, 3));
    tine_nearest best = {.name = wide, .size = sizeof wide - 1, .limit = 1};
    tine_nearest_try(&best, wide);
    cr_assert_eq(best.found, wide);
}

/* Values from the reference: draft-eastlake-fnv, section 6. */
Test(text, hash_is_fnv_1a) {
    cr_assert_eq(tine_hash(TINE_HASH_START, "", 0), UINT64_C(0xcbf29ce484222325));
    cr_assert_eq(tine_hash(TINE_HASH_START, "a", 1), UINT64_C(0xaf63dc4c8601ec8c));
    cr_assert_eq(tine_hash(TINE_HASH_START, "foobar", 6), UINT64_C(0x85944171f73967e8));
    cr_assert_eq(tine_hash(tine_hash(TINE_HASH_START, "foo", 3), "bar", 3),
                 UINT64_C(0x85944171f73967e8));
}

Test(text, long_ones_are_cut_in_the_middle_between_characters) {
    char text[6001] = "", *cut;
    for (int i = 0; i < 2000; i++) strcat(text, "\xe8\xaa\x9e");
    for (size_t most = 64; most < 300; most++) {
        cut = tine_text_cut(text, most);
        cr_assert_leq(strlen(cut), most);
        cr_assert(tine_utf8_valid(cut, strlen(cut)), "%s", cut);
        cr_assert(strstr(cut, " bytes left out] "));
        free(cut);
    }
    cut =
        tine_text_cut("begins with this, goes on and on and on and on and on and on, ends so", 64);
    cr_assert_eq(strncmp(cut, "begins", 6), 0);
    cr_assert_str_eq(cut + strlen(cut) - 2, "so");
    free(cut);
    cut = tine_text_cut("short", 64);
    cr_assert_str_eq(cut, "short");
    free(cut);
}

Test(text, what_acts_on_a_terminal_is_shown_as_a_number) {
    char *shown =
        tine_text_printable("a\x1b[31m\r\n\t\x07\xc2\x9b\xe2\x80\xae\xff\x7f\xc3\xa4", false);
    cr_assert_str_eq(shown, "a\\x1b[31m\\x0d\\x0a\\x09\\x07\\u009b\\u202e\\xff\\x7f\xc3\xa4");
    free(shown);
    shown = tine_text_printable("two\nlines\tand a \x1b", true);
    cr_assert_str_eq(shown, "two\nlines\tand a \\x1b");
    free(shown);
}
