/* Files that are mapped as a whole, and sealed segments. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "transport/base/map.h"

TestSuite(map, .timeout = 20);

static void refused(const char *path, int rc, const char *sentence) {
    char why[128] = "";
    void *bytes = why;
    size_t size = 1;
    cr_expect_eq(tine_map_file(path, &bytes, &size, why, sizeof why), rc);
    cr_expect_str_eq(why, sentence);
    cr_expect(!bytes && !size);
}

Test(map, a_file_is_mapped_and_what_is_no_file_is_refused_without_blocking) {
    char dir[] = "/tmp/test-map-XXXXXX", path[64], why[128];
    void *bytes;
    size_t size;
    cr_assert(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/x", dir);
    refused(path, -ENOENT, "cannot be opened: No such file or directory");
    refused(dir, -EINVAL, "it is not a regular file");
    cr_assert_eq(mkfifo(path, 0600), 0);
    refused(path, -EINVAL, "it is not a regular file");
    unlink(path);
    FILE *f = fopen(path, "w");
    cr_assert_eq(tine_map_file(path, &bytes, &size, why, sizeof why), 0);
    cr_expect(!bytes && !size, "it is empty");
    fputs("tine", f);
    fclose(f);
    cr_assert_eq(tine_map_file(path, &bytes, &size, why, sizeof why), 0);
    cr_assert_eq(size, 4);
    cr_expect_arr_eq(bytes, "tine", 4);
    munmap(bytes, size);
    unlink(path);
    rmdir(dir);
}

Test(map, a_segment_has_its_size_and_keeps_it) {
    const char *why;
    struct stat st;
    int fd = tine_map_segment("test-map", 8192, &why);
    cr_assert_geq(fd, 0, "%s", why);
    cr_assert_eq(fstat(fd, &st), 0);
    cr_expect_eq(st.st_size, 8192);
    cr_expect_eq(ftruncate(fd, 4096), -1);
    cr_expect_eq(ftruncate(fd, 16384), -1);
    cr_expect_eq(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), -1, "the seals are final");
    close(fd);
}

/* SIGXFSZ would end the process. */
Test(map, a_segment_larger_than_files_may_be_is_refused) {
    const char *why = "";
    struct rlimit before, lower;
    cr_assert_eq(getrlimit(RLIMIT_FSIZE, &before), 0);
    lower = (struct rlimit){8191, before.rlim_max};
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &lower), 0);
    int fd = tine_map_segment("test-map", 8192, &why);
    setrlimit(RLIMIT_FSIZE, &before);
    cr_expect_eq(fd, -EFBIG);
    cr_expect(strstr(why, "ulimit -f"), "%s", why);
}
