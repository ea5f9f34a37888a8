"""Spack's recipe (Spack 1.0 or newer), in a repository of its own:

    spack repo add launch/install/spack/spack_repo/tine
    spack install tine
"""

import os

from spack_repo.builtin.build_systems.makefile import MakefilePackage

from spack.package import *


class Tine(MakefilePackage):
    """Fork and wait across processes: tasks on worker processes over ZeroMQ or Open MPI."""

    # The clone that this recipe is a part of.
    git = "file://" + os.path.abspath(os.path.join(os.path.dirname(__file__), *[".."] * 7))

    license("Apache-2.0")

    version("main", branch="main")

    variant("mpi", default=True, description="Ranks of Open MPI as workers")
    variant("onnx", default=True, description="tine predict MODEL.onnx")

    depends_on("c", type="build")
    depends_on("gmake", type="build")
    depends_on("pkgconfig", type="build")
    depends_on("libzmq")
    depends_on("msgpack-c")
    depends_on("openblas")
    depends_on("json-c")
    depends_on("hwloc@2:")
    depends_on("openmpi@4.1", when="+mpi")
    depends_on("protobuf-c", when="+onnx")

    def build(self, spec, prefix):
        make("all", "man")

    def install(self, spec, prefix):
        make("PREFIX=" + prefix, "install")
