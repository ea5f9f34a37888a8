/* The wire: messages to frames and back, values to payloads and back. WIRE.md is the format's only
 * description; this is its only implementation.
 *
 * A decoder checks everything: types, lengths, depth (at most 64) and counts are checked against
 * the bytes that are left before anything is allocated. A message is accepted or refused as a
 * whole. */
#ifndef TINE_RUNTIME_WIRE_WIRE_H
#define TINE_RUNTIME_WIRE_WIRE_H

#include "runtime/call/call.h"
#include "runtime/wire/message.h"
#include "runtime/value/value.h"

/* A frame for a message; NULL without memory or when it is past a limit of a frame. It shares the
 * payload's allocation where that is free to be sent from, else its buffers. */
tine_frame *tine_wire_encode(const tine_message *m);

/* A decoded frame: `message` lies in it and in the frame, and is valid until one of the two is
 * freed. Not to be moved. The rest is set only where the message has it. */
typedef struct tine_decoded {
    tine_message message;
    tine_hello hello;
    tine_terms terms;
    uint64_t few_ids[8];
    void *memory; /* names of HELLO, or more than a few ids; NULL as a rule */
} tine_decoded;
/* EPROTO with a reason in `why`; ENOMEM. The message's payload is `f` itself: a holder takes a
 * reference. Its body is checked here, so that decoding it later cannot meet anything but a
 * lack of memory or an unknown object. A frame is decoded once. */
tine_error tine_wire_decode(tine_frame *f, tine_decoded *out, char *why, size_t why_size);
void tine_decoded_fini(tine_decoded *d); /* accepts a zeroed one */
/* The type of a message as this library encodes it, without decoding it; 0: not known. */
tine_message_type tine_wire_type(const tine_frame *f);

/* Bytes of max_frame that are left to the header: its names are bounded by TINE_MAX_NAME. */
enum { TINE_WIRE_ALLOWANCE = 4096 };

/* by_reference: whether object `id` may be mentioned by reference (else its value is sent); NULL:
 * always. */
typedef struct tine_encoder {
    bool (*by_reference)(void *ctx, tine_object id);
    void *ctx;
    size_t max_frame; /* of the transport that is to carry the payload; 0: unlimited */
} tine_encoder;
/* How references become values: `value` gives a new reference on the value of a put object or NULL
 * (then EINVAL); `owner` is put into module references. */
typedef struct tine_decoder {
    tine_value *(*value)(void *ctx, tine_object id);
    tine_object_owner *owner;
    void *ctx;
    size_t copy_below; /* bytes; smaller tensors in another process's memory are copied */
} tine_decoder;

/* Errors: EINVAL with a sentence (a future that is not resolved, more than a frame holds: its
 * receiver would have to drop this process), ENOMEM. */
tine_error tine_payload_of_value(const tine_value *v, const tine_encoder *e, tine_payload **out);
tine_error tine_payload_of_call(const tine_arguments *a, const tine_encoder *e, tine_payload **out);
/* Values made are in no pool. Tensors share the payload's buffers, unless they lie unaligned: then
 * they are copied. */
tine_error tine_payload_value(tine_payload *p, const tine_decoder *d, tine_value **out);
tine_error tine_payload_call(tine_payload *p, const tine_decoder *d, tine_arguments *out);

#endif
