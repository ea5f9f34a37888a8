/* Named amounts: "gpu=2,disk=1". */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "runtime/wire/resources.h"

#define test(name) Test(resources, name, .timeout = 20)

static tine_resources read_all(const char *text) {
    tine_resources r;
    const char *wrong = tine_resources_parse(text, &r);
    cr_assert_null(wrong, "%s: %s", text, wrong);
    return r;
}

test(names_and_amounts_are_read) {
    tine_resources r = read_all(" gpu=2 , disk.0-a_B , x=1000000000");
    cr_assert_eq(r.n, 3);
    cr_assert_str_eq(r.of[0].name, "disk.0-a_B", "they are sorted");
    cr_assert_eq(r.of[0].amount, 1);
    cr_assert_str_eq(r.of[1].name, "gpu");
    cr_assert_eq(r.of[1].amount, 2);
    cr_assert_eq(r.of[2].amount, 1000000000);
    cr_assert_eq(tine_resources_find(&r, "x"), 2);
    cr_assert_eq(tine_resources_find(&r, "y"), -1);
    cr_assert_eq(read_all("").n, 0);
    cr_assert_eq(read_all("  ").n, 0);
    cr_assert_eq(read_all(NULL).n, 0);
}

test(the_same_ones_are_written_the_same) {
    char a[TINE_RESOURCES_TEXT_MAX + 1], b[TINE_RESOURCES_TEXT_MAX + 1];
    tine_resources one = read_all("gpu,disk=2"), other = read_all(" disk=2, gpu=01"),
                   none = read_all("");
    tine_resources_write(&one, a);
    tine_resources_write(&other, b);
    cr_assert_str_eq(a, "disk=2,gpu=1");
    cr_assert_str_eq(b, a);
    tine_resources_write(&none, a);
    cr_assert_str_eq(a, "");
}

test(the_longest_ones_are_written_and_a_longer_text_is_refused) {
    char a[TINE_RESOURCES_TEXT_MAX + 2] = "";
    tine_resources r;
    for (int i = 0; i < TINE_RESOURCES_MAX; i++)
        sprintf(a + strlen(a), "%sabcdefghijklmnopqrstuvwxyz0123%c=1000000000", i ? "," : "",
                'a' + i);
    r = read_all(a);
    tine_resources_write(&r, a);
    read_all(a);
    cr_assert_eq(r.n, 16);
    memset(a, ' ', sizeof a - 1);
    a[sizeof a - 1] = '\0';
    const char *wrong = tine_resources_parse(a, &r);
    cr_assert(wrong && strstr(wrong, "more than 1,024 bytes"));
    cr_assert_eq(r.n, 0);
    a[sizeof a - 2] = '\0';
    cr_assert_eq(read_all(a).n, 0);
}

test(what_is_wrong_is_said) {
    static const struct {
        const char *text, *wrong;
    } cases[] = {
        {"=2", "has no name"},
        {",a", "has no name"},
        {"a,,b", "has no name"},
        {"a,", "separated by commas"},
        {"a b", "separated by commas"},
        {"a=1=2", "separated by commas"},
        {"a=", "not a number"},
        {"a=0", "not a number"},
        {"a=-1", "not a number"},
        {"a=1000000001", "not a number"},
        {"a=99999999999999999999999", "not a number"},
        {"a,b,a=2", "named twice"},
        {"caf\xc3\xa9", "separated by commas"},
        {"abcdefghijklmnopqrstuvwxyz012345", "more than 31"},
        {"a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p,q", "more than 16"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        tine_resources r;
        const char *wrong = tine_resources_parse(cases[i].text, &r);
        cr_expect(wrong && strstr(wrong, cases[i].wrong), "%s: %s", cases[i].text, wrong);
    }
    cr_assert_eq(read_all("abcdefghijklmnopqrstuvwxyz01234").n, 1);
    cr_assert_eq(read_all("a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p").n, 16);
}

test(an_offer_covers_what_it_has_as_much_of) {
    tine_resources offer = read_all("gpu=2,disk=1"), one = read_all("gpu"),
                   all = read_all("disk,gpu=2"), more = read_all("gpu=3"),
                   other = read_all("gpu,net"), none = read_all("");
    cr_assert(tine_resources_cover(&offer, &one) && tine_resources_cover(&offer, &all));
    cr_assert(!tine_resources_cover(&offer, &more) && !tine_resources_cover(&offer, &other));
    cr_assert(tine_resources_cover(&none, &none) && !tine_resources_cover(&none, &one));
}
