/* What tine.h gives a C++ program; tests/check_cplusplus builds it with g++ and clang++ and runs it.
 * It prints each check that fails, and at its end how many there were. */
#include <cstdio>
#include <cstring>
#include <stdexcept>

#include "runtime/tine.h"

static int checks, failures;
static void check(bool ok, const char *what) {
    checks++;
    if (!ok) failures++, std::printf("failed: %s: %s\n", what, tine_error_message());
}
#define CHECK(x) check(x, #x)

TINE_FUNCTION(thrower, "what") { throw std::runtime_error(tine_arg_string(task, 0)); }

TINE_FUNCTION(number_thrower, "") { throw 7; }

/* A suspended task is inside a handler of its own exception, while others throw and catch theirs on
 * the same thread, and end in another order. */
TINE_FUNCTION(rethrower, "n") {
    int64_t n = tine_arg_int(task, 0);
    try {
        throw std::out_of_range("level " + std::to_string(n));
    } catch (const std::exception &e) {
        tine_value *below = nullptr;
        if (n > 0 && tine_wait(tine_fork("rethrower", n - 1), &below)) return nullptr;
        if (n > 0 && n % 2) throw;
        std::string text = below ? std::string(tine_as_string(below)) + ", " : "";
        return tine_string((text + e.what()).c_str());
    }
}

/* Catches what the level below throws, and tells that its own exception is the one it threw. */
TINE_FUNCTION(catcher, "n") {
    int64_t n = tine_arg_int(task, 0);
    try {
        throw std::out_of_range(std::to_string(n));
    } catch (const std::exception &e) {
        tine_future *first = n ? tine_fork("catcher", n - 1) : nullptr;
        tine_future *second = n ? tine_fork("catcher", n - 1) : nullptr;
        tine_value *x = nullptr, *y = nullptr;
        if (n && (tine_wait(first, &x) || tine_wait(second, &y))) return nullptr;
        if (std::to_string(n) != e.what()) return tine_fail(task, "caught %s", e.what());
        return tine_int(n ? tine_as_int(x) + tine_as_int(y) : 1);
    }
}

TINE_FUNCTION(count, "*items, **options") {
    return tine_list(tine_length(tine_arg(task, 0)), tine_length(tine_arg(task, 1)));
}

struct counter {
    int64_t start;
};
static void *counter_init(tine_task *task) {
    if (tine_arg_int(task, 0) < 0) throw std::domain_error("a negative start");
    return new counter{tine_arg_int(task, 0)};
}
static void counter_fini(void *self) { delete static_cast<counter *>(self); }
static tine_value *counter_add(tine_task *task) {
    return tine_int(static_cast<counter *>(tine_self(task))->start + tine_arg_int(task, 0));
}
static tine_value *counter_fail(tine_task *) { throw std::logic_error("a method that fails"); }
static const tine_method counter_methods[] = {{"forward", "x", TINE_CATCH(counter_add), 0},
                                              {"fail", "", TINE_CATCH(counter_fail), 0},
                                              {}};
static const tine_class counter_class = {"counter", "start=0", TINE_CATCH(counter_init),
                                         counter_fini, counter_methods};
TINE_CLASS(counter_class)

static bool fails_with(tine_future *f, tine_error code, const char *text) {
    tine::future future(f);
    tine_error e = tine_wait(future.get(), nullptr);
    return e == code && std::strstr(tine_error_message(), text);
}

static void arguments() {
    enum { ENUMERATOR = 9 };
    tine::value x(tine_ones(TINE_F32, 2, TINE_SHAPE(2, 3))), y, z;
    tine::future pending(tine_fork("neg", x)), sum(tine_fork("sum", pending, tine_kw("dim", 0)));
    CHECK(tine_wait(sum.get(), y.out()) == TINE_OK && tine_length(y.get()) == 3);
    z = tine::value(tine_call("count", 1, 2u, 3l, 4ul, 5ll, 6ull, 7.0f, 8.0, true, "ten", x, sum,
                              std::string("thirteen"), ENUMERATOR, 'c', (short)16, 17, 18,
                              tine_kw("key", std::string("value")), tine_kw("other", x)));
    CHECK(z && tine_as_int(tine_at(z.get(), 0)) == 18 && tine_as_int(tine_at(z.get(), 1)) == 2);
    tine::value empty(tine_list()), pair(tine_tuple(1, "b"));
    CHECK(tine_length(empty.get()) == 0 && tine_length(pair.get()) == 2);
    tine_argument array[] = {TINE_ARGUMENT("neg"), TINE_ARGUMENT(x)};
    CHECK(fails_with(tine_fork_args(nullptr, array, 1), TINE_EINVAL, "neg()"));
}

static void handles() {
    tine::value a(tine_int(1)), b = a, c = std::move(a);
    CHECK(!a && b.get() == c.get() && tine_as_int(c.get()) == 1);
    b = c;
    c = tine::value(tine_ref(b.get()));
    tine_release(b.detach());
    CHECK(!b && c);
}

static void promises() {
    tine::future f;
    tine::promise p(tine_promise_new(f.out())), q = p;
    tine::future all[] = {f, tine::future(tine_fork("neg", f))};
    tine_future *both[] = {all[0].get(), all[1].get()};
    tine::completer c(tine_as_completed(both, 2)), d = c;
    tine::value v(tine_int(5)), list;
    size_t index = 9;
    CHECK(tine_promise_set(p.get(), v.get()) == TINE_OK);
    CHECK(tine_completer_next(d.get(), 10, &index) == TINE_OK && index == 0);
    tine::future every(tine_when_all(both, 2));
    CHECK(tine_wait(every.get(), list.out()) == TINE_OK);
    CHECK(tine_as_int(tine_at(list.get(), 1)) == -5);
}

static void exceptions() {
    CHECK(fails_with(tine_fork("thrower", "the reason, 100 %s"), TINE_EFAILED, "the reason, 100 %s"));
    CHECK(fails_with(tine_fork("number_thrower"), TINE_EFAILED, "no std::exception"));
    CHECK(!tine_call("thrower", "here") && tine_last_error() == TINE_EFAILED);
    CHECK(fails_with(tine_fork("rethrower", 5), TINE_EFAILED, "level 1"));
    tine::value leaves;
    tine::future f(tine_fork("catcher", 6));
    CHECK(tine_wait(f.get(), leaves.out()) == TINE_OK && tine_as_int(leaves.get()) == 64);
}

static void modules() {
    tine::value good(tine_module("counter", tine_kw("start", 40))), bad(tine_module("counter", -1));
    tine::value sum;
    CHECK(tine_wait(tine_fork(good, 2), sum.out()) == TINE_OK && tine_as_int(sum.get()) == 42);
    CHECK(fails_with(tine_fork_method(good, "fail"), TINE_EFAILED, "a method that fails"));
    CHECK(fails_with(tine_fork(bad, 1), TINE_EFAILED, "a negative start"));
}

int main(int argc, char **argv) {
    tine_options options = {};
    options.workers = 1;
    if (tine_init(&argc, argv, &options)) {
        std::printf("%s\n", tine_error_message());
        return 1;
    }
    arguments();
    handles();
    promises();
    exceptions();
    modules();
    std::printf("%d checks, %d failed\n", checks, failures);
    return tine_shutdown() || failures;
}
