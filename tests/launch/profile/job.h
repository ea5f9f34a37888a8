/* A small job whose figures can be computed by hand. Times in us:
 *
 *   program   0 fork A 10, 10 fork B 20, 20 wait 1000; the marks of A and B at 5, 15 and 1000
 *   worker 1  A runs 100-300 (forks C at 200), is suspended until 600, runs 620-800
 *   worker 2  C runs 350-600, B runs 610-900, in it the kernel k 650-850 */
#ifndef TINE_TESTS_LAUNCH_PROFILE_JOB_H
#define TINE_TESTS_LAUNCH_PROFILE_JOB_H

#define JOB_SLICE(name, cat, pid, begin, dur)                                                      \
    "{\"name\":\"" name "\",\"cat\":\"" cat "\",\"ph\":\"X\",\"ts\":" #begin ".000,\"pid\":" #pid  \
    ",\"tid\":1,\"dur\":" #dur ".000},\n"
#define JOB_FLOW(phase, id, pid, at)                                                               \
    "{\"name\":\"task\",\"cat\":\"task\",\"ph\":\"" phase "\",\"ts\":" #at ".000,\"pid\":" #pid    \
    ",\"tid\":1,\"id\":\"" #id "\"},\n"
#define JOB_PROCESS(pid, name)                                                                     \
    "{\"name\":\"process_name\",\"ph\":\"M\",\"ts\":0,\"pid\":" #pid                               \
    ",\"tid\":0,\"args\":{\"name\":\"" name "\"}},\n"

#define JOB_HEAD                                                                                   \
    "{\"otherData\":{\"program\":\"tine\",\"events "                                               \
    "lost\":\"7\"},\n\"traceEvents\":[\n" JOB_PROCESS(1, "program") JOB_PROCESS(2, "worker 1")     \
        JOB_PROCESS(3, "worker 2")
#define JOB_EVENTS                                                                                 \
    JOB_SLICE("fork A", "fork", 1, 0, 10)                                                          \
    JOB_FLOW("s", 1, 1, 5)                                                                         \
    JOB_SLICE("fork B", "fork", 1, 10, 10)                                                         \
    JOB_FLOW("s", 2, 1, 15)                                                                        \
    JOB_SLICE("wait_all", "wait", 1, 20, 980)                                                      \
    JOB_SLICE("A", "run", 2, 100, 200)                                                             \
    JOB_FLOW("t", 1, 2, 100)                                                                       \
    "{\"name\":\"decode A\",\"cat\":\"decode\",\"ph\":\"X\",\"ts\":101,\"pid\":2,\"tid\":1,"       \
    "\"dur\":9,\"args\":{\"bytes\":5000}},\n" JOB_SLICE("fork C", "fork", 2, 190, 20) JOB_FLOW(    \
        "s", 3, 2,                                                                                 \
        200) "{\"name\":\"A\",\"cat\":\"suspended\",\"ph\":\"b\",\"ts\":300,\"pid\":2,\"tid\":1,"  \
             "\"id\":\"2.1\"},\n" JOB_SLICE("C", "run", 3, 350, 250)                               \
                 JOB_FLOW("t", 3, 3,                                                               \
                          350) "{\"name\":\"A\",\"cat\":\"suspended\",\"ph\":\"e\",\"ts\":600,"    \
                               "\"pid\":2,\"tid\":1,"                                              \
                               "\"id\":\"2.1\"},\n" JOB_SLICE("B", "run", 3, 610, 290)             \
                                   JOB_FLOW("t", 2, 3, 610) JOB_SLICE("A", "run", 2, 620, 180)     \
                                       JOB_FLOW("t", 1, 2, 620) JOB_FLOW("f", 3, 2, 630)           \
                                           JOB_SLICE("k", "kernel", 3, 650, 200)                   \
                                               JOB_FLOW("f", 1, 1, 1000) JOB_FLOW("f", 2, 1, 1000)
#define JOB_END                                                                                    \
    "{\"name\":\"mark <b>\",\"ph\":\"i\",\"ts\":950,\"pid\":2,\"tid\":0,\"s\":\"p\"}\n]}\n"

#endif
