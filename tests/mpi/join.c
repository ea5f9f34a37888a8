/* Connections between ranks other than 0 (transport/mpi/cross.c). Run by
 * tests/transport/mpi/test_join.c:   mpirun -n 4 build/mpi/join
 *
 * Rank 0 makes a pair of ranks 1 and 2; 1 and 3 connect to each other at the same time, and 3 ends
 * that; 2 asks 3 for a connection and ends before it is answered; 2 opens the transport anew, and 1
 * connects to it. Rank 3 has another host name, if it may, and so counts as a rank of another host:
 * it is no part of a pair, and small frames to it leave together, also past the window. MPI's own
 * messages order the steps. Exit code 0: all was as it should be. */
#include <errno.h>
#include <mpi.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/support/conformance.h"

enum {
    RANKS = 4,
    URL = 64,
    AHEAD = 32,
    HELD = 1000,
    SMALL = 50,
    LAST = 2 * SMALL,
    BYTES = 20 << 20
};

static tine_conf_host host;
static tine_conf_end end = {.host = &host};
static int rank, elsewhere;
static char urls[RANKS][URL];

#define REQUIRE(condition)                                                                         \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "rank %d, line %d: %s: %s\n", rank, __LINE__, #condition, end.why);    \
            MPI_Abort(MPI_COMM_WORLD, 1);                                                          \
        }                                                                                          \
    } while (0)

static tine_peer number_of(const char *url) { return strtoull(url + strlen("mpi://"), NULL, 10); }

static tine_peer other(int r) { return tine_peer_other(number_of(urls[r])); }

static tine_event await(tine_event_kind kind, tine_peer peer) {
    tine_event ev = tine_conf_next(&end);
    REQUIRE(ev.kind == kind && (!peer || ev.peer == peer));
    return ev;
}

static void begin(void) {
    int err = rank ? end.ops->connect(&end.t, "mpi://", NULL, end.why, sizeof end.why)
                   : end.ops->listen(&end.t, "mpi://", NULL, end.why, sizeof end.why);
    REQUIRE(!err);
    if (!rank) return;
    await(TINE_EVENT_UP, 1);
    REQUIRE(end.ops->own_url(end.t, urls[rank], URL) == 1);
}

static void finish(void) {
    end.ops->close(end.t);
    end.ops->stop(end.t);
    end.ops->fini(end.t);
}

static int join(const char *url, tine_peer *peer) { return end.ops->join(end.t, url, peer); }

static void send(tine_peer peer, size_t buffer, uint32_t seed) {
    REQUIRE(tine_conf_send(&end, peer, tine_conf_frame(40, buffer, seed)));
}

/* Small frames arrive in order, and may overtake the large one. The last of them is sent when all
 * others have come. */
static void exchange(tine_peer peer) {
    uint32_t small = 0, large = 0;
    for (uint32_t i = 0; i < SMALL; i++) send(peer, SIZE_MAX, i);
    send(peer, BYTES, 7);
    for (uint32_t i = SMALL; i < LAST; i++) send(peer, SIZE_MAX, i);
    for (bool sent = false; small <= LAST || !large;) {
        tine_event ev = await(TINE_EVENT_FRAME, peer);
        if (ev.frame->n_buffers)
            REQUIRE(tine_conf_check(ev.frame, 40, BYTES, 7) && !large++);
        else
            REQUIRE(tine_conf_check(ev.frame, 40, SIZE_MAX, small++));
        tine_frame_free(ev.frame);
        if (small >= LAST && large && !sent) {
            send(peer, SIZE_MAX, LAST);
            sent = true;
        }
    }
}

static void pass_token(int to, int from) {
    char token = 0;
    if (to) MPI_Send(&token, 1, MPI_CHAR, to, 1, MPI_COMM_WORLD);
    if (from) MPI_Recv(&token, 1, MPI_CHAR, from, 1, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
}

/* Either sends its HELLO before it can have seen the other's. */
static void join_at_once(int with) {
    tine_peer peer;
    pass_token(with, with);
    REQUIRE(join(urls[with], &peer) == 0 && peer == other(with));
    REQUIRE(join(urls[with], &peer) == 0);
    await(TINE_EVENT_UP, peer);
    REQUIRE(join(urls[with], &peer) == 1);
    exchange(peer);
}

static void refuses(const char *url) {
    tine_peer peer;
    REQUIRE(join(url, &peer) == -EINVAL);
}

static uint64_t messages_out(void) {
    tine_transport_stats s;
    end.ops->stats(end.t, &s);
    return s.messages_out;
}

static void listener(void) {
    tine_peer one = number_of(urls[1]), two = number_of(urls[2]), three = number_of(urls[3]);
    REQUIRE(end.ops->pair(end.t, one, one) == -EINVAL);
    REQUIRE(end.ops->pair(end.t, one, 77) == -EINVAL);
    REQUIRE(!elsewhere || end.ops->pair(end.t, one, three) == -EINVAL);
    REQUIRE(end.ops->pair(end.t, one, two) == 0);
    uint64_t before = messages_out();
    for (uint32_t i = 0; i < HELD; i++) send(three, SIZE_MAX, i);
    pass_token(3, 3);
    await(TINE_EVENT_LOST, two); /* rank 3 has received them */
    REQUIRE(!elsewhere || messages_out() - before < HELD / 8);
    REQUIRE(await(TINE_EVENT_UP, 0).peer != two);
    for (int i = 1; i < RANKS; i++) await(TINE_EVENT_LOST, 0);
}

static void first(void) {
    tine_peer peer;
    await(TINE_EVENT_UP, other(2));
    REQUIRE(join(urls[2], &peer) == 1 && peer == other(2));
    exchange(peer);
    join_at_once(3);
    REQUIRE(strstr(await(TINE_EVENT_LOST, other(3)).reason, "closed the connection"));
    REQUIRE(join(urls[3], &peer) == -EPIPE);
    pass_token(2, 0);
    await(TINE_EVENT_LOST, other(2));
    REQUIRE(join(urls[2], &peer) == -EPIPE);
    char before[URL];
    memcpy(before, urls[2], URL);
    MPI_Recv(urls[2], URL, MPI_CHAR, 2, 2, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
    REQUIRE(join(urls[2], &peer) == 0);
    await(TINE_EVENT_UP, other(2));
    REQUIRE(join(before, &peer) == -EPIPE);
    exchange(other(2));
    pass_token(3, 0); /* rank 0 expects rank 2 before it loses any other */
}

static void second(void) {
    tine_peer peer = other(1);
    await(TINE_EVENT_UP, peer);
    exchange(peer);
    pass_token(0, 1);
    REQUIRE(join(urls[3], &peer) == 0 && peer == other(3));
    finish();
    begin();
    peer = other(1);
    MPI_Send(urls[2], URL, MPI_CHAR, 1, 2, MPI_COMM_WORLD);
    await(TINE_EVENT_UP, peer);
    exchange(peer);
}

static void receive(uint32_t seed) {
    tine_event ev = await(TINE_EVENT_FRAME, 1);
    REQUIRE(tine_conf_check(ev.frame, 40, SIZE_MAX, seed));
    tine_frame_free(ev.frame);
}

/* The first frames come at once, the others when rank 0 polls. */
static void receive_what_was_held(void) {
    uint32_t n = 0;
    char token;
    MPI_Recv(&token, 1, MPI_CHAR, 0, 1, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
    for (tine_event ev; !end.ops->recv(end.t, &ev) && ev.kind == TINE_EVENT_FRAME; n++) {
        REQUIRE(tine_conf_check(ev.frame, 40, SIZE_MAX, n));
        tine_frame_free(ev.frame);
    }
    REQUIRE(elsewhere ? n <= AHEAD : n <= HELD);
    MPI_Send(&token, 1, MPI_CHAR, 0, 1, MPI_COMM_WORLD);
    while (n < HELD) receive(n++);
}

static void third(void) {
    static const char *const wrong[] = {"mpi://",           "mpi://0",  "mpi://1",
                                        "mpi://-2",         "mpi://2 ", "mpi://9999999999999999999",
                                        "tcp://127.0.0.1:5"};
    tine_peer peer;
    receive_what_was_held();
    join_at_once(1);
    end.ops->drop(end.t, other(1), false, "the test drops it");
    REQUIRE(strstr(await(TINE_EVENT_LOST, other(1)).reason, "the test"));
    REQUIRE(join(urls[1], &peer) == -EPIPE);
    REQUIRE(end.ops->send(end.t, other(1), NULL) == -EPIPE);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) refuses(wrong[i]);
    refuses(urls[3]);
    pass_token(0, 1);
    await(TINE_EVENT_UP, other(2)); /* it has asked for this, and ended before it was answered */
    REQUIRE(strstr(await(TINE_EVENT_LOST, other(2)).reason, "closed the connection"));
}

int main(int argc, char **argv) {
    static void (*const play[RANKS])(void) = {listener, first, second, third};
    char mine[URL];
    int provided, size;
    MPI_Init_thread(&argc, &argv, MPI_THREAD_MULTIPLE, &provided);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    REQUIRE(size == RANKS);
    end.ops = tine_transport_for("mpi://", end.why, sizeof end.why);
    REQUIRE(end.ops);
    char name[] = "elsewhere";
    if (rank == 3) elsewhere = !unshare(CLONE_NEWUTS) && !sethostname(name, strlen(name));
    MPI_Bcast(&elsewhere, 1, MPI_INT, 3, MPI_COMM_WORLD);
    begin();
    if (!rank) /* before it waits in MPI */
        for (int i = 1; i < RANKS; i++) await(TINE_EVENT_UP, 0);
    memcpy(mine, urls[rank], URL);
    MPI_Allgather(mine, URL, MPI_CHAR, urls, URL, MPI_CHAR, MPI_COMM_WORLD);
    play[rank]();
    finish();
    MPI_Finalize();
    return 0;
}
