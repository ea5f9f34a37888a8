"""Whole programs: how their workers start, Ctrl-C, and what is left when they end."""
import os
import shutil
import signal
import subprocess
import sys
import textwrap

import pytest

TUTORIAL = """
    import numpy as np, tine

    @tine.function
    def foo(x):
        return -x

    def example(x):
        future = tine.fork(foo, x)
        x_normal = foo(x)
        x_parallel = tine.wait(future)
        return x_normal, x_parallel

    tine.init(workers=2)
    print(example(np.ones(1)))
    """
FIRST = "(array([-1.]), array([-1.]))\n"


def test_a_script_is_its_workers(program):
    assert program(TUTORIAL) == FIRST


def test_main_guard_and_pool(program):
    text = TUTORIAL.replace("tine.init(workers=2)", "if __name__ == '__main__':\n      with tine.pool(workers=1):")
    assert program(text.replace("print(", "    print(")) == FIRST


def test_threads_and_remote_workers(program):
    for endpoint in ("inproc://python", "tcp://127.0.0.1:0"):
        assert program(TUTORIAL.replace("workers=2", f"workers=2, endpoint='{endpoint}'")) == FIRST


def test_an_executor_over_tcp_has_to_be_allowed(program):
    text = """
        import tine
        ALLOW
        tine.init(1, endpoint="tcp://127.0.0.1:0")
        try:
            with tine.Executor() as executor:
                print(executor.submit(pow, 2, 5).result())
        except PermissionError as error:
            print("refused")
        try:
            tine.wait(tine.fork("python.call", None, b"", []))
        except tine.TaskError as error:
            print(error.cause.splitlines()[-1][:15])
        """
    assert program(text.replace("ALLOW", "")) == "refused\nPermissionError\n"
    assert program(text.replace("ALLOW", "tine.allow_pickle()")) == "32\n"


def test_command_lines(program, tmp_path):
    text = textwrap.dedent(TUTORIAL)
    assert program("", command=[sys.executable, "-c", text]) == FIRST
    (tmp_path / "as_module.py").write_text(text)
    assert program("", command=[sys.executable, "-m", "as_module"]) == FIRST
    # what is read from standard input cannot be read again: built-in functions, and those of modules
    assert program("", command=["sh", "-c", f"echo 'import tine; tine.init(1); print(tine.fork(\"neg\", 1).result())' | {sys.executable}"]) == "-1\n"
    (tmp_path / "mine.py").write_text("import tine\n@tine.function\ndef twice(x): return 2 * x\n")
    assert program("", command=["sh", "-c", f"echo 'import mine, tine; tine.init(1); print(tine.fork(mine.twice, 4).result())' | {sys.executable}"]) == "8\n"


def test_printed_by_tasks_and_the_program_is_not_lost(program):
    out = program(
        """
        import tine
        print("imported")

        @tine.function
        def say(text):
            print("task", text)

        tine.init(workers=1)
        tine.wait(tine.fork(say, 1))
        print("done")
        """
    )
    assert sorted(out.split("\n")) == ["", "done", "imported", "imported", "task 1"]


def test_an_exception_ends_the_program(program):
    program("import tine\ntine.init(workers=1)\nf = tine.fork('neg', 1)\nraise SystemExit(7)\n", code=7)
    program("import tine\ntine.init(workers=1)\nf = tine.fork('neg', 1)\ntine.wait(tine.fork('no'))\n", code=1)


def test_settings(program):
    assert program("import tine\ntry: tine.init(workers=1, endpoint='nonsense')\nexcept tine.Error as e: print(e.code)\n") == "EINVAL\n"
    assert program("import tine\ntine.init(workers=5)\nprint(tine.worker_count())\n", TINE_WORKERS="1") == "1\n"
    assert program("import tine\ntine.init(workers=0, await_workers=0)\nprint(tine.worker_count())\ntine.shutdown(); tine.shutdown()\n") == "0\n"
    out = program("import tine\nfor i in range(2):\n  with tine.pool(workers=1):\n    print(tine.wait(tine.fork('neg', i)))\n")
    assert out == "0\n-1\n"


def test_interrupt(tmp_path):
    script = tmp_path / "program.py"
    script.write_text(
        """
import threading, tine

@tine.function
def endless():
    threading.Event().wait()

tine.init(workers=1, log_level="error")
f = tine.fork(endless)
waits = [lambda: tine.wait(f), lambda: tine.wait(f, 1000), lambda: tine.wait_any([f]), lambda: tine.wait_all([f])]
for wait in waits + [lambda: list(tine.as_completed([f]))]:
    try:
        print("ready", flush=True)
        wait()
    except KeyboardInterrupt:
        print("interrupted", f.done(), flush=True)
"""
    )
    child = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True, start_new_session=True)
    for _ in range(5):
        assert child.stdout.readline() == "ready\n"
        os.killpg(child.pid, signal.SIGINT)  # as a terminal does, to the workers too
        assert child.stdout.readline() == "interrupted False\n"
    assert child.wait(60) == 0


def test_workers_of_other_shells(program, tmp_path):
    (tmp_path / "mine.py").write_text("import tine\n@tine.function\ndef twice(x): return 2 * x\n")
    tine_command = os.path.join(os.environ["TINE_BUILD"], "tine") if "TINE_BUILD" in os.environ else shutil.which("tine")
    if not tine_command:
        pytest.skip("the tine command is not known: TINE_BUILD")
    text = f"""
        import os, subprocess, sys, tine

        url = "ipc://" + os.path.abspath("socket")
        environment = dict(os.environ, PATH=os.path.dirname(sys.executable) + ":" + os.environ["PATH"])
        command = [{os.path.abspath(tine_command)!r}, "worker", "--python", "mine", url, "--tine-stack-size=1M"]
        workers = [subprocess.Popen(command, env=environment), subprocess.Popen([sys.executable, "-m", "tine", "worker", url, "mine"])]
        tine.init(workers=0, endpoint=url, await_workers=2, connect_timeout=60)
        print(tine.wait_all([tine.fork("twice", i) for i in range(10)]))
        tine.shutdown()
        print([w.wait() for w in workers])
        """
    assert program(text) == f"{[2 * i for i in range(10)]}\n[0, 0]\n"


def test_mpirun(program):
    if not shutil.which("mpirun"):
        pytest.skip("mpirun is not installed")
    command = ["mpirun", "--oversubscribe", "-n", "3", sys.executable, "-c", textwrap.dedent(TUTORIAL)]
    assert program("", command=command, OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1") == FIRST


def test_processes_forked_by_the_program(program):
    out = program(
        """
        import multiprocessing, tine

        def child(f):
            try:
                tine.fork("neg", 1)
                f.result()
            except tine.Error as error:
                print(error.code, flush=True)

        if __name__ == "__main__":
            tine.init(workers=1)
            f = tine.fork("neg", 2)
            p = multiprocessing.get_context("fork").Process(target=child, args=(f,))
            p.start(), p.join()
            print(p.exitcode, f.result())
        """
    )
    assert out == "ESTATE\n0 -2\n"
