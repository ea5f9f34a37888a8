/* Messages that hold several small frames, broken in every way. Run by
 * tests/transport/mpi/test_join.c:   mpirun -n 3 build/mpi/packed ROUNDS
 *
 * Rank 1 connects again and again and sends such a message, which is broken on its way to MPI: in a
 * known way, for which rank 0 refuses it with these words, then ROUNDS times at random, where
 * nothing may happen but the loss of rank 1. Rank 2 sends its own at the end. MPI's own messages
 * order the steps. Exit code 0: all was as it should be. */
#include <mpi.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/conformance.h"
#include "tests/support/random.h"
#include "transport/mpi/internal.h"

enum { FRAMES = 3, HEADER = 40, GOOD = 200, LIMIT = 1 << 20 };

static tine_conf_host host;
static tine_conf_end end = {.host = &host};
static int rank, rounds;
static uint64_t state = 1;

#define REQUIRE(condition)                                                                         \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "rank %d, line %d: %s: %s\n", rank, __LINE__, #condition, end.why);    \
            MPI_Abort(MPI_COMM_WORLD, 1);                                                          \
        }                                                                                          \
    } while (0)

/* ---- what is broken ---- */

/* The second of three frames of one message. */
static tine_mpi_head *second(uint8_t *bytes) {
    return (tine_mpi_head *)(void *)(bytes + sizeof(tine_mpi_head) + HEADER);
}

static int cut_head(uint8_t *bytes, int size) {
    (void)bytes;
    return size - HEADER - 1;
}
static int cut_body(uint8_t *bytes, int size) {
    (void)bytes;
    return size - 1;
}
static int other_kind(uint8_t *bytes, int size) {
    second(bytes)->kind = TINE_MPI_ACK;
    return size;
}
static int other_lane(uint8_t *bytes, int size) {
    second(bytes)->lane = TINE_MPI_LANES;
    return size;
}
static int long_body(uint8_t *bytes, int size) {
    second(bytes)->header_size += TINE_MPI_SLOT;
    second(bytes)->body += TINE_MPI_SLOT;
    return size;
}
static int endless_body(uint8_t *bytes, int size) {
    second(bytes)->body = UINT64_MAX;
    return size;
}
static int short_body(uint8_t *bytes, int size) {
    second(bytes)->body = 0;
    return size;
}
static int announced_in_the_middle(uint8_t *bytes, int size) {
    second(bytes)->inlined = 0;
    return size;
}
static int taken_too_many(uint8_t *bytes, int size) {
    second(bytes)->taken += TINE_MPI_WINDOW;
    return size;
}
static int more_buffers(uint8_t *bytes, int size) {
    second(bytes)->n_buffers = TINE_FRAME_MAX_BUFFERS + 1;
    return size;
}
/* The memory for it would be allocated before it comes. */
static int past_the_limit(uint8_t *bytes, int size) {
    tine_mpi_head *h = second(bytes);
    h->inlined = 0;
    h->n_buffers = TINE_FRAME_MAX_BUFFERS;
    h->body = HEADER + h->n_buffers * (sizeof(uint64_t) + TINE_MPI_SLOT);
    return size - 2 * HEADER - (int)sizeof *h;
}

static int at_random(uint8_t *bytes, int size) {
    for (uint64_t n = 1 + random_below(&state, 4); n > 0; n--)
        bytes[random_below(&state, (uint64_t)size)] = (uint8_t)random_below(&state, 256);
    return random_below(&state, 4) ? size : (int)random_below(&state, (uint64_t)size) + 1;
}

static const struct {
    int (*make)(uint8_t *bytes, int size);
    const char *words;
} known[] = {
    {cut_head, "ends within a head"},         {cut_body, "does not fit its message"},
    {other_kind, "more than frames"},         {other_lane, "lane is unknown"},
    {long_body, "does not fit its message"},  {endless_body, "does not match its frame"},
    {short_body, "does not match its frame"}, {announced_in_the_middle, "does not fit its message"},
    {taken_too_many, "acknowledges more"},    {more_buffers, "too many buffers"},
    {past_the_limit, "past max_frame"}};
enum { KNOWN = sizeof known / sizeof *known };

/* Found by the module in place of MPI's own. */
static int (*armed)(uint8_t *bytes, int size);
static bool sent_broken;

int MPI_Isend(const void *bytes, int size, MPI_Datatype type, int to, int tag, MPI_Comm comm,
              MPI_Request *request) {
    static _Alignas(64) uint8_t broken[TINE_MPI_SLOT];
    if (armed && size == FRAMES * (int)(sizeof(tine_mpi_head) + HEADER)) {
        memcpy(broken, bytes, (size_t)size);
        size = armed(broken, size);
        bytes = broken;
        armed = NULL;
        sent_broken = true;
    }
    return PMPI_Isend(bytes, size, type, to, tag, comm, request);
}

/* ---- the ranks ---- */

static tine_event next(void) { return tine_conf_next(&end); }

static tine_event await(tine_event_kind kind, tine_peer peer) {
    tine_event ev = next();
    REQUIRE(ev.kind == kind && (!peer || ev.peer == peer));
    return ev;
}

static void begin(void) {
    tine_transport_config config = {.max_frame = LIMIT};
    int err = rank ? end.ops->connect(&end.t, "mpi://", &config, end.why, sizeof end.why)
                   : end.ops->listen(&end.t, "mpi://", &config, end.why, sizeof end.why);
    REQUIRE(!err);
    if (rank) await(TINE_EVENT_UP, 1);
}

static void finish(void) {
    end.ops->close(end.t);
    end.ops->stop(end.t);
    end.ops->fini(end.t);
}

static void send_together(uint32_t n) {
    end.ops->hold(end.t, true);
    for (uint32_t i = 0; i < n; i++)
        REQUIRE(tine_conf_send(&end, 1, tine_conf_frame(HEADER, SIZE_MAX, i)));
    end.ops->hold(end.t, false);
}

static void token_send(int to) { MPI_Send("t", 1, MPI_CHAR, to, 1, MPI_COMM_WORLD); }

static void token_await(int from) {
    char byte;
    MPI_Recv(&byte, 1, MPI_CHAR, from, 1, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
}

/* The frames before the broken one may have come. */
static void listener_known(int i, tine_peer peer) {
    tine_event ev;
    for (ev = next(); ev.kind == TINE_EVENT_FRAME; ev = next()) tine_frame_free(ev.frame);
    snprintf(end.why, sizeof end.why, "case %d: %.128s", i, ev.reason);
    REQUIRE(ev.kind == TINE_EVENT_LOST && ev.peer == peer && ev.bad);
    REQUIRE(strstr(ev.reason, known[i].words));
    token_send(1);
}

/* A frame whose rest never comes keeps a connection open: it is dropped when all was sent. */
static void listener_random(tine_peer peer) {
    int over = 0;
    for (bool lost = false; !lost;) {
        tine_event ev;
        REQUIRE(!end.ops->recv(end.t, &ev));
        if (ev.kind == TINE_EVENT_FRAME) tine_frame_free(ev.frame);
        lost = ev.kind == TINE_EVENT_LOST && ev.peer == peer;
        if (ev.kind == TINE_EVENT_NONE && !over)
            MPI_Iprobe(1, 1, MPI_COMM_WORLD, &over, MPI_STATUS_IGNORE);
        if (ev.kind == TINE_EVENT_NONE && over) end.ops->drop(end.t, peer, false, "it is over");
    }
    token_await(1);
    token_send(1);
}

static void listener(void) {
    tine_peer peers[2] = {await(TINE_EVENT_UP, 0).peer, await(TINE_EVENT_UP, 0).peer};
    bool in_order = peers[0] < peers[1];
    tine_peer bad = peers[!in_order], good = peers[in_order];
    token_send(1);
    for (int i = 0; i < KNOWN + rounds; i++) {
        if (i) bad = await(TINE_EVENT_UP, 0).peer;
        if (i < KNOWN)
            listener_known(i, bad);
        else
            listener_random(bad);
    }
    token_send(2);
    for (uint32_t i = 0; i < GOOD; i++) {
        tine_event ev = await(TINE_EVENT_FRAME, good);
        REQUIRE(tine_conf_check(ev.frame, HEADER, SIZE_MAX, i));
        tine_frame_free(ev.frame);
    }
    tine_transport_stats s;
    end.ops->stats(end.t, &s);
    REQUIRE(s.peers_bad >= KNOWN);
    token_send(2);
    await(TINE_EVENT_LOST, good);
}

static void broken(int i) {
    if (i) begin();
    sent_broken = false;
    armed = i < KNOWN ? known[i].make : at_random;
    send_together(FRAMES);
    REQUIRE(sent_broken);
    if (i < KNOWN) await(TINE_EVENT_LOST, 1);
    if (i >= KNOWN) token_send(0);
    token_await(0);
    finish();
}

static void breaker(void) {
    token_await(0);
    for (int i = 0; i < KNOWN + rounds; i++) broken(i);
}

static void good(void) {
    token_await(0);
    send_together(GOOD);
    token_await(0);
    finish();
}

int main(int argc, char **argv) {
    static void (*const play[])(void) = {listener, breaker, good};
    int provided, size;
    MPI_Init_thread(&argc, &argv, MPI_THREAD_MULTIPLE, &provided);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    rounds = argc > 1 ? atoi(argv[1]) : 0;
    REQUIRE(size == 3);
    end.ops = tine_transport_for("mpi://", end.why, sizeof end.why);
    REQUIRE(end.ops);
    begin();
    play[rank]();
    if (!rank) finish();
    MPI_Finalize();
    return 0;
}
