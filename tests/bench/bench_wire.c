/* What values and the wire cost: bytes of a value and of a scalar TASK, nanoseconds to encode,
 * decode and run one. */
#include <malloc.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "runtime/wire/wire.h"

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

enum { ROUNDS = 1000000 };

int main(void) {
    tine_arguments a = {0};
    tine_payload *p = NULL;
    tine_value *v = NULL;
    tine_frame *f = NULL;
    tine_decoded d;
    char why[100];
    double t;
    if (tine_arguments_make(&a, TINE_ARGS_(20)) || tine_payload_of_call(&a, NULL, &p)) return 1;
    tine_message m = {TINE_MSG_TASK, .task = 1000000,           .attempt = 1, .epoch = 1,
                      .depth = 20,   .target = {.name = "neg"}, .payload = p};
    if (!(f = tine_wire_encode(&m))) return 1;
    printf("int value: %zu bytes allocated; scalar TASK: %u bytes, %zu allocated\n",
           malloc_usable_size(a.positional[0]), f->header_size, malloc_usable_size(f));
    tine_frame_free(f);

    t = now();
    for (int i = 0; i < ROUNDS; i++) {
        tine_payload *q;
        tine_payload_of_call(&a, NULL, &q);
        tine_payload_unref(q);
    }
    printf("arguments to payload     %6.0f ns\n", (now() - t) / ROUNDS);
    t = now();
    for (int i = 0; i < ROUNDS; i++) tine_frame_free(tine_wire_encode(&m));
    printf("message to frame         %6.0f ns\n", (now() - t) / ROUNDS);
    if (!(f = tine_wire_encode(&m))) return 1;
    t = now();
    for (int i = 0; i < ROUNDS; i++) {
        tine_frame *came = tine_frame_new(f->header_size, 0);
        memcpy(came->header, f->header, f->header_size);
        tine_wire_decode(came, &d, why, sizeof why);
        tine_decoded_fini(&d);
        tine_frame_free(came);
    }
    printf("bytes to frame to message %5.0f ns\n", (now() - t) / ROUNDS);
    t = now();
    for (int i = 0; i < ROUNDS; i++) {
        tine_arguments b;
        tine_payload_call(p, NULL, &b);
        tine_arguments_fini(&b);
    }
    printf("payload to arguments     %6.0f ns\n", (now() - t) / ROUNDS);
    const tine_callable *neg = tine_registry_function("neg");
    t = now();
    for (int i = 0; i < ROUNDS && neg; i++)
        if (tine_call_run(neg, NULL, 0, &a, NULL, &v) == TINE_OK) tine_release(v);
    printf("bind and run neg(20)     %6.0f ns\n", (now() - t) / ROUNDS);
    tine_frame_free(f);
    tine_payload_unref(p);
    tine_arguments_fini(&a);
    return 0;
}
