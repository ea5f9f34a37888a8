"""One pool of two workers for all tests of a session; they import functions.py beside this file."""
import os
import subprocess
import sys
import textwrap

import pytest
import tine


@pytest.fixture(scope="session", autouse=True)
def pool():
    with tine.pool(workers=2, modules=["functions"]):
        yield


@pytest.fixture
def program(tmp_path):
    """Runs a script as a user does: its standard output and exit code."""

    def run(text, *, seconds=60, code=0, command=None, **environment):
        path = tmp_path / "program.py"
        path.write_text(textwrap.dedent(text))
        done = subprocess.run(
            command or [sys.executable, str(path)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds,
            cwd=tmp_path,
            env={**os.environ, "TINE_LOG_LEVEL": "error", **environment},
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout

    return run
