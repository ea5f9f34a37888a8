/* Gives each file named on the command line to a fuzz target once: how `make test` replays the
 * committed corpora, with any compiler. A crash ends the process; the file in hand is printed
 * first. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int replay(const char *path) {
    FILE *f = fopen(path, "rb");
    uint8_t *bytes = NULL;
    long size = -1;
    int failed = 1;
    if (!f || fseek(f, 0, SEEK_END) != 0 || (size = ftell(f)) < 0 || fseek(f, 0, SEEK_SET) != 0)
        goto out;
    /* Exactly as large as the input, so that the address sanitizer sees a read past its end. */
    bytes = malloc(size > 0 ? (size_t)size : 1);
    if (!bytes || fread(bytes, 1, (size_t)size, f) != (size_t)size) goto out;
    printf("%s\n", path);
    fflush(stdout);
    LLVMFuzzerTestOneInput(bytes, (size_t)size);
    failed = 0;
out:
    if (failed) perror(path);
    free(bytes);
    if (f) fclose(f);
    return failed;
}

int main(int argc, char **argv) {
    int failed = 0;
    for (int i = 1; i < argc; i++) failed |= replay(argv[i]);
    printf("%d inputs\n", argc - 1);
    return failed || argc < 2;
}
