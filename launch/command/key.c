/* `tine key`: makes the key that the coordinator and the workers of a job share over tcp://. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "launch/cli/arguments.h"
#include "launch/cli/commands.h"
#include "transport/zmq/key.h"

/* An existing file is not replaced: its key may be in use. */
static int key_file_write(const char *path, const char *key) {
    char line[TINE_ZMQ_KEY_SIZE + 1];
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    snprintf(line, sizeof line, "%s\n", key);
    bool written = fd >= 0 && write(fd, line, strlen(line)) == (ssize_t)strlen(line);
    int e = errno;
    if (fd >= 0 && (close(fd) != 0 || !written)) unlink(path);
    if (written) return 0;
    fprintf(stderr, "tine key: %s cannot be made: %s\n", path, strerror(e));
    return 1;
}

int tine_command_key(int argc, char **argv) {
    static const tine_option options[] = {{0}};
    static const tine_usage usage = {
        "key",
        "[FILE]",
        "Makes a key and writes it to FILE, which only its owner can read, or prints it. Who has "
        "the\n"
        "key may join the job over tcp://: give the file to the coordinator (TINE_KEY_FILE=FILE) "
        "and\n"
        "to each worker (`tine worker --key FILE ENDPOINT`), or the key itself in TINE_KEY.",
        options,
        0,
        1};
    char key[TINE_ZMQ_KEY_SIZE];
    int code = tine_arguments_parse(&usage, &argc, argv);
    if (code >= 0) return code;
    if (!tine_zmq_key_make(key)) {
        fprintf(stderr, "tine key: this libzmq has no CURVE\n");
        return 1;
    }
    if (argc > 1) return key_file_write(argv[1], key);
    return puts(key) < 0;
}
