/* Encryption and authentication over tcp:// with the key of a job: libzmq's CURVE (RFC 26), in
 * which both sides have the same key pair. Its secret half is the key; a connector that can name
 * the public half and has the secret one belongs to the job. libzmq asks for a decision on each
 * connection through ZAP (RFC 27), on a socket that is answered here.
 *
 * Until it has been decided a connection holds one handshake command, and is a stranger
 * (strangers.c). A connection that is refused is counted, and is an event once per address. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "transport/base/hash.h"
#include "transport/zmq/internal.h"
#include "transport/zmq/key.h"

enum { ZAP_PARTS = 7, ZAP_PART_MAX = 256, KEY_BYTES = 32 };

bool tine_zmq_key_make(char key[TINE_ZMQ_KEY_SIZE]) {
    char public_half[TINE_ZMQ_KEY_SIZE];
    return zmq_has("curve") && zmq_curve_keypair(public_half, key) == 0;
}

bool tine_zmq_key_is_valid(const char *key) {
    char public_half[TINE_ZMQ_KEY_SIZE];
    return strlen(key) == TINE_ZMQ_KEY_SIZE - 1 && zmq_curve_public(public_half, key) == 0;
}

int tine_zmq_key_take(tine_zmq *t, char *why, size_t why_size) {
    const char *key = t->base.config.key;
    t->base.config.key = NULL; /* the caller's */
    bool others = !t->listener || tine_zmq_is_reachable(t) || !t->base.config.key_for_others_only;
    if (!key || !t->tcp || !others) return 0;
    if (!zmq_has("curve")) {
        snprintf(why, why_size, "%.80s: this libzmq has no CURVE, which a key needs", t->url);
        return -EIO;
    }
    if (!tine_zmq_key_is_valid(key)) {
        snprintf(why, why_size, "%.80s: the key is not one that `tine key` makes", t->url);
        return -EINVAL;
    }
    memcpy(t->key, key, sizeof t->key);
    t->encrypted = true;
    return 0;
}

static int zap_open(tine_zmq *t) {
    int zero = 0;
    size_t size = sizeof t->zap_fd;
    t->zap = zmq_socket(t->context, ZMQ_REP);
    return !t->zap || zmq_setsockopt(t->zap, ZMQ_LINGER, &zero, sizeof zero) ||
           zmq_bind(t->zap, "inproc://zeromq.zap.01") ||
           zmq_getsockopt(t->zap, ZMQ_FD, &t->zap_fd, &size);
}

/* The sizes with the NUL say that the keys are text. */
int tine_zmq_secure(tine_zmq *t) {
    char public_half[TINE_ZMQ_KEY_SIZE];
    int yes = 1, size = TINE_ZMQ_KEY_SIZE;
    if (!t->encrypted) return 0;
    if (zmq_curve_public(public_half, t->key)) return -1;
    if (zmq_setsockopt(t->socket, ZMQ_CURVE_PUBLICKEY, public_half, (size_t)size) ||
        zmq_setsockopt(t->socket, ZMQ_CURVE_SECRETKEY, t->key, (size_t)size))
        return -1;
    if (!t->listener)
        return zmq_setsockopt(t->socket, ZMQ_CURVE_SERVERKEY, public_half, (size_t)size);
    return zmq_setsockopt(t->socket, ZMQ_CURVE_SERVER, &yes, sizeof yes) ||
                   zmq_setsockopt(t->socket, ZMQ_ZAP_DOMAIN, "tine", 4) || zap_open(t)
               ? -1
               : 0;
}

void tine_zmq_zap_close(tine_zmq *t) {
    if (t->zap) zmq_close(t->zap);
    t->zap = NULL;
}

typedef struct zap_request {
    int n;
    size_t size[ZAP_PARTS];
    uint8_t part[ZAP_PARTS][ZAP_PART_MAX];
} zap_request;

/* A request with a part that is too long, or with too many parts, is invalid. */
static bool zap_receive(void *socket, zap_request *r) {
    zmq_msg_t m;
    *r = (zap_request){0};
    for (bool more = true; more; r->n++) {
        zmq_msg_init(&m);
        if (zmq_msg_recv(&m, socket, ZMQ_DONTWAIT) < 0) return false;
        more = zmq_msg_more(&m);
        size_t size = zmq_msg_size(&m);
        if (r->n < ZAP_PARTS && size <= ZAP_PART_MAX) {
            r->size[r->n] = size;
            memcpy(r->part[r->n], zmq_msg_data(&m), size);
        }
        zmq_msg_close(&m);
    }
    return true;
}

/* The parts: version, request id, domain, address, identity, mechanism, the peer's public key. */
static bool zap_is_good(const tine_zmq *t, const zap_request *r) {
    char public_half[TINE_ZMQ_KEY_SIZE];
    uint8_t ours[KEY_BYTES], different = 0;
    if (r->n != ZAP_PARTS || r->size[5] != 5 || memcmp(r->part[5], "CURVE", 5) != 0) return false;
    if (r->size[6] != KEY_BYTES || zmq_curve_public(public_half, t->key) != 0) return false;
    if (!zmq_z85_decode(ours, public_half)) return false;
    for (int i = 0; i < KEY_BYTES; i++) different |= (uint8_t)(ours[i] ^ r->part[6][i]);
    return !different;
}

void tine_zmq_zap(tine_zmq *t) {
    zap_request r;
    while (t->zap && zap_receive(t->zap, &r)) {
        /* Who asks, while its connection is open: it is closed with the answer. */
        tine_zmq_monitor_read(t);
        bool good = zap_is_good(t, &r);
        zmq_send(t->zap, "1.0", 3, ZMQ_SNDMORE | ZMQ_DONTWAIT);
        zmq_send(t->zap, r.part[1], r.size[1], ZMQ_SNDMORE | ZMQ_DONTWAIT);
        zmq_send(t->zap, good ? "200" : "400", 3, ZMQ_SNDMORE | ZMQ_DONTWAIT);
        zmq_send(t->zap, "", 0, ZMQ_SNDMORE | ZMQ_DONTWAIT);
        zmq_send(t->zap, "", 0, ZMQ_SNDMORE | ZMQ_DONTWAIT);
        zmq_send(t->zap, "", 0, ZMQ_DONTWAIT);
    }
}

/* If only one side has a key, either side may notice it first. The other finds its connection
 * closed. */
static const char *hung_up_error(const tine_zmq *t) {
    if (t->listener) return NULL;
    if (!t->tcp) return "it closed the connection at once: see the coordinator's log";
    return t->encrypted ? "it hung up: it may have no key, or another than this one"
                        : "it hung up: it may need the job's key (TINE_KEY_FILE)";
}

const char *tine_zmq_handshake_error(const tine_zmq *t, int event, uint32_t value) {
    if (event == ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL) return hung_up_error(t);
    if (event == ZMQ_EVENT_HANDSHAKE_FAILED_AUTH || value == ZMQ_PROTOCOL_ERROR_ZMTP_CRYPTOGRAPHIC)
        return "it has another key than this job";
    if (value != ZMQ_PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH) return NULL;
    if (t->listener)
        return t->encrypted ? "it has no key, and the job has one" : "it has a key, the job none";
    return t->encrypted ? "it has no key, and this worker has one"
                        : "it needs the job's key (TINE_KEY_FILE)";
}

/* Different addresses may share a slot: the earlier one is then reported again. */
bool tine_zmq_refused_before(tine_zmq *t, const void *address, size_t size) {
    uint64_t h = tine_hash(TINE_HASH_START, address, size) | 1,
             *slot = &t->refused[h / 2 % TINE_ZMQ_REFUSED];
    if (*slot == h) return true;
    *slot = h;
    return false;
}
