# Tine's build. `make run` and `make test` work on a bare Debian 12: .ci/deps installs missing packages first.
#
# Sources are found by wildcard: a new file or folder needs no line here. A kernel file carries its ISA in its name
# (kernels/gemm_avx512_bf16.c); it alone is compiled with that ISA's flags. Every configuration (plain, asan, tsan, fuzz)
# has its own directory under build/. Objects depend on a record of their flags, and archives on a record of their
# sources, so that old and new ones are never mixed.
#
# Goals that install packages call make again, so that pkg-config is asked after the installation.

BUILD   ?= build
CC      := $(if $(filter default,$(origin CC)),gcc,$(CC))
PREFIX  ?= /usr/local
VERSION := $(shell sed -n 's/^\#define TINE_VERSION_M[A-Z]* \([0-9]*\).*/\1./p; s/^\#define TINE_VERSION_PATCH \([0-9]*\).*/\1/p' \
             runtime/tine.h | tr -d '\n')
CONFIG_FLAGS ?= -O2 -g
WERROR  ?= -Werror
SEEDS   ?= 20000
FUZZ_SECONDS ?= 60

MSGPACK  := $(if $(shell pkg-config --exists msgpack 2>/dev/null || echo no),msgpack-c,msgpack)
# What the library links, what it needs only headers of (OpenBLAS is loaded on first use), and what only the command needs.
PKGS     := libzmq
HDR_PKGS := $(MSGPACK) openblas
# ONNX models need protobuf-c; without it `tine predict` refuses them.
ONNX     := $(if $(shell pkg-config --exists libprotobuf-c 2>/dev/null && command -v protoc-c),launch/onnx)
CMD_PKGS := json-c $(if $(ONNX),libprotobuf-c)
# With stack clash protection a large stack frame touches every page, so an overflow hits a task's guard page.
accepted = $(shell $(CC) -Werror $(1) -x c -S /dev/null -o - >/dev/null 2>&1 && echo $(1))
CLASH    := $(call accepted,-fstack-clash-protection)
# Clear and copy structures by memset and memcpy: GCC's choice for the size of a message, rep stos and rep movs, takes
# tens of cycles to start (bench_scheduler: 10 to 20 % of a fork).
COPIES   := $(call accepted,-mmemset-strategy=libcall:-1:noalign -mmemcpy-strategy=libcall:-1:noalign)
CFLAGS   += -std=c11 -D_GNU_SOURCE -fPIC -fvisibility=hidden -pthread $(CLASH) $(COPIES) $(CONFIG_FLAGS) \
            -Wall -Wextra $(WERROR) -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith -Wvla
PKG_CFLAGS := $(shell pkg-config --cflags $(PKGS) $(HDR_PKGS) $(CMD_PKGS) 2>/dev/null)
CPPFLAGS += -I. -MMD -MP $(PKG_CFLAGS) $(if $(ONNX),-DTINE_ONNX -I$(BUILD)/generated)
PKG_LIBS := $(shell pkg-config --libs $(PKGS) 2>/dev/null)
LIBS      = $(PKG_LIBS) -pthread -ldl -lm
CMD_LIBS := $(shell pkg-config --libs $(CMD_PKGS) 2>/dev/null)

# The library is all rooms but the mpi module, the command and the examples.
ROOMS    := kernels transport runtime workers launch
files     = $(sort $(wildcard $(foreach p,$(2),$(addsuffix /$(p),$(1)) $(addsuffix /*/$(p),$(1)))))
PRODUCT  := $(call files,$(ROOMS),*.c)
HEADERS  := $(call files,$(ROOMS),*.h)

MAIN_SRC := launch/command/main.c
CMD_ROOMS := launch/cli launch/profile launch/bench launch/top $(ONNX) launch/command
CMD_SRC  := $(filter-out $(MAIN_SRC),$(wildcard $(addsuffix /*.c,$(CMD_ROOMS))))
LIB_SRC  := $(filter-out transport/mpi/% $(addsuffix /%,$(CMD_ROOMS)) launch/onnx/% launch/examples/%,$(PRODUCT))
EXAMPLES := $(patsubst launch/examples/%.c,$(BUILD)/%,$(wildcard launch/examples/*.c))
BENCHES  := $(patsubst tests/%.c,$(BUILD)/%,$(wildcard tests/bench/bench_*.c))
FUZZERS  := $(filter-out $(if $(ONNX),,onnx),$(patsubst tests/fuzz/fuzz_%.c,%,$(wildcard tests/fuzz/fuzz_*.c)))
TESTS    := $(patsubst %.c,$(BUILD)/%,$(wildcard tests/*/test_*.c tests/*/*/test_*.c)) \
            $(FUZZERS:%=$(BUILD)/tests/fuzz_%)
SIM_SRC  := $(wildcard tests/sim/*.c)
# The mpi transport is a module, loaded on first use: programs start where Open MPI is missing. It carries its own copies
# of what it needs of the library, whose symbols are hidden; the log, which has a state, is not for modules.
MPI_SRC  := $(wildcard transport/mpi/*.c) transport/daemon.c transport/launcher.c \
            $(filter-out %/log.c,$(wildcard transport/base/*.c))
MPI_MODULE := $(if $(shell pkg-config --exists ompi-c 2>/dev/null && echo yes),$(BUILD)/libtine-mpi.so)
obj       = $(patsubst %.c,$(BUILD)/%.o,$(1))
LIB_OBJ  := $(call obj,$(LIB_SRC))
CMD_OBJ  := $(call obj,$(CMD_SRC)) $(if $(ONNX),$(BUILD)/generated/onnx.pb-c.o)
MPI_TESTS := $(if $(MPI_MODULE),$(patsubst tests/%.c,$(BUILD)/%,$(wildcard tests/mpi/*.c)))
TEST_SUPPORT := $(call obj,$(wildcard tests/support/*.c))

TARGET := $(shell $(CC) -dumpmachine)
ifneq ($(filter x86_64-%,$(TARGET)),)
ISA_avx2        := -mavx2 -mfma
ISA_avx512      := -mavx512f -mavx512bw -mavx512dq -mavx512vl -mfma
ISA_avx512_bf16 := $(ISA_avx512) -mavx512bf16
ISA_avx_vnni    := $(ISA_avx2) -mavxvnni
ISA_avx512_vnni := $(ISA_avx512) -mavx512vnni
endif
ifneq ($(filter aarch64-%,$(TARGET)),)
# Else GCC 12 moves loads ahead and spills two of the micro-kernel's 24 sums.
ISA_neon        := $(call accepted,-fno-schedule-insns)
endif
# kernels/OPERATION_ISA.c is compiled with the flags ISA_isa, see kernels/isa.h. The stem of the pattern rule is the source.
ISA_ALL := $(foreach v,$(sort $(filter ISA_%,$(.VARIABLES))),$(v)=$($(v)))
empty :=
ISA = $(if $(filter kernels/%,$*),$(ISA_$(subst $(empty) ,_,$(wordlist 2,9,$(subst _, ,$(notdir $*))))))
Q := $(if $(V),,@) # V=1 shows the commands
AGAIN = $(MAKE) --no-print-directory $(if $(findstring j,$(filter -j% --jobserver% j%,$(MAKEFLAGS))),,-j$(shell nproc))

.PHONY: help run test check all lib tests asan tsan fuzz sim bench lint format-check source-check cppcheck tidy \
        header-check reference docs format python clean deps FORCE
all: lib $(MPI_MODULE) $(if $(MAIN_SRC),$(BUILD)/tine) $(EXAMPLES) ## build the library, the command and the examples (the default)

help: ## this list
	@sed -nE 's/^([a-z]+):.*## (.*)/  make \1\t\2/p' $(filter-out %.d,$(MAKEFILE_LIST)) | expand -t 20

run: ## install what is missing, build, and run the tutorial's ensemble on local workers
	@.ci/deps build
	@$(AGAIN) all
	$(BUILD)/tine ensemble

test: ## install what is missing, build, and run the tests
	@.ci/deps test
	@$(AGAIN) check

check: all tests # the tests, where everything is installed
	@tests/run $(BUILD) $(ONLY)

lib: $(BUILD)/libtine.a $(BUILD)/libtine.so
tests: $(TESTS) $(MPI_TESTS)

# ---- objects, libraries, programs ----

$(BUILD)/.flags: FORCE
	@mkdir -p $(@D)
	@echo '$(subst ','\'',$(CC) $(CPPFLAGS) $(CFLAGS) $(ISA_ALL) $(LDFLAGS) $(LIBS) $(CMD_LIBS))' | cmp -s - $@ || \
	  echo '$(subst ','\'',$(CC) $(CPPFLAGS) $(CFLAGS) $(ISA_ALL) $(LDFLAGS) $(LIBS) $(CMD_LIBS))' > $@
# Archives and modules depend on the list of sources: else an object whose source was removed would stay in them.
$(BUILD)/.sources: FORCE
	@mkdir -p $(@D)
	@echo '$(LIB_SRC) / $(CMD_SRC) / $(TEST_SUPPORT) / $(SIM_SRC) / $(MPI_SRC)' | cmp -s - $@ || \
	  echo '$(LIB_SRC) / $(CMD_SRC) / $(TEST_SUPPORT) / $(SIM_SRC) / $(MPI_SRC)' > $@

$(BUILD)/%.o: %.c $(BUILD)/.flags
	@mkdir -p $(@D)
	@echo "  CC $@"
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) $(ISA) -c $< -o $@

$(BUILD)/launch/profile/html.o: launch/profile/viewer.html
# Where Debian's package has the modules.
$(BUILD)/transport/plugin.o: CPPFLAGS += -DTINE_MULTIARCH='"$(shell $(CC) -print-multiarch 2>/dev/null)"'

# private: $(BUILD)/.flags, a prerequisite, keeps its own.
$(BUILD)/kernels/%.o:             private CONFIG_FLAGS := $(subst -O2,-O3,$(CONFIG_FLAGS))
$(BUILD)/workers/builtin/%.o:     private CONFIG_FLAGS := $(subst -O2,-O3,$(CONFIG_FLAGS))

# The archive's only member is one relocatable object. Functions and classes register themselves in constructors that
# nothing refers to by name; as a part of this member they are always linked, without --whole-archive.
$(BUILD)/libtine.o: $(LIB_OBJ) $(BUILD)/.sources
	$(Q)$(LD) -r $(LIB_OBJ) -o $@
$(BUILD)/libtine.a: $(BUILD)/libtine.o
	@rm -f $@
	$(Q)$(AR) rcs $@ $<

# -z defs: an undefined symbol fails here and not when a program is linked. Sanitizers leave theirs undefined.
$(BUILD)/libtine.so: $(LIB_OBJ) $(BUILD)/.sources
	@echo "  LD $@"
	$(Q)$(CC) -shared -Wl,-soname,libtine.so.0 $(if $(findstring -fsanitize,$(CFLAGS)),,-Wl,-z,defs) $(CFLAGS) $(LDFLAGS) \
	  $(LIB_OBJ) $(LIBS) -o $@
	@ln -sf libtine.so $(BUILD)/libtine.so.0

$(call obj,$(wildcard transport/mpi/*.c)): CPPFLAGS += $(shell pkg-config --cflags ompi-c 2>/dev/null) \
  $(shell pkg-config --cflags-only-I pmix 2>/dev/null)
$(BUILD)/libtine-mpi.so: $(call obj,$(MPI_SRC)) $(BUILD)/.sources
	@echo "  LD $@"
	$(Q)$(CC) -shared -Wl,-z,nodelete $(CFLAGS) $(LDFLAGS) $(filter %.o,$^) $(shell pkg-config --libs ompi-c) -pthread -o $@

# The reader of ONNX's messages, from their schema.
$(BUILD)/generated/onnx.pb-c.c $(BUILD)/generated/onnx.pb-c.h &: launch/onnx/onnx.proto
	@mkdir -p $(@D)
	$(Q)protoc-c --proto_path=launch/onnx --c_out=$(BUILD)/generated onnx.proto
$(BUILD)/generated/onnx.pb-c.o: $(BUILD)/generated/onnx.pb-c.c $(BUILD)/.flags
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) -c $< -o $@
$(call obj,$(wildcard launch/onnx/*.c)): $(BUILD)/generated/onnx.pb-c.h

# The command without its main, for the tests of its parts.
$(BUILD)/libcommand.a: $(CMD_OBJ) $(BUILD)/.sources
	@rm -f $@
	$(Q)$(AR) rcs $@ $(CMD_OBJ)

LINK = $(CC) $(CFLAGS) $(LDFLAGS) $(filter %.o,$^) $(filter %/libcommand.a,$^) $(BUILD)/libtine.a $(LIBS) \
  $(if $(filter %/libcommand.a,$^),$(CMD_LIBS))
$(BUILD)/tine: $(call obj,$(MAIN_SRC)) $(BUILD)/libcommand.a $(BUILD)/libtine.a
	@echo "  LD $@"
	$(Q)$(LINK) -o $@
$(EXAMPLES): $(BUILD)/%: $(BUILD)/launch/examples/%.o $(BUILD)/libtine.a
	@echo "  LD $@"
	$(Q)$(LINK) -o $@
$(filter-out $(BUILD)/tests/fuzz_%,$(TESTS)): $(BUILD)/%: $(BUILD)/%.o $(TEST_SUPPORT) $(BUILD)/libcommand.a \
  $(BUILD)/libtine.a
	@echo "  LD $@"
	$(Q)$(LINK) -lcriterion -o $@
# Programs that tests start under mpirun.
$(call obj,$(wildcard tests/mpi/*.c)): CPPFLAGS += $(shell pkg-config --cflags ompi-c 2>/dev/null)
$(MPI_TESTS): $(BUILD)/mpi/%: $(BUILD)/tests/mpi/%.o $(BUILD)/libtine.a \
  $(call obj,$(wildcard tests/support/conformance*.c) tests/support/progress.c)
	@mkdir -p $(@D)
	@echo "  LD $@"
	$(Q)$(LINK) $(shell pkg-config --libs ompi-c) -o $@
$(BUILD)/tests/fuzz_%: $(BUILD)/tests/fuzz/fuzz_%.o $(BUILD)/tests/fuzz/replay.o $(BUILD)/libcommand.a $(BUILD)/libtine.a
	@mkdir -p $(@D)
	@echo "  LD $@"
	$(Q)$(LINK) -o $@
$(BUILD)/bench/bench_%: $(BUILD)/tests/bench/bench_%.o $(BUILD)/libcommand.a $(BUILD)/libtine.a
	@mkdir -p $(@D)
	@echo "  LD $@"
	$(Q)$(LINK) -o $@
$(BUILD)/sim: $(call obj,$(SIM_SRC)) $(BUILD)/libtine.a $(BUILD)/.sources
	@echo "  LD $@"
	$(Q)$(LINK) -o $@

# ---- sanitizers, fuzzing, simulation, benchmarks ----

# Only the plain build has -Werror: -O1 and the sanitizers' code cause other warnings.
SAN_COMMON  := -O1 -g -fno-omit-frame-pointer
ASAN_OPTS   := detect_leaks=1:detect_stack_use_after_return=0:abort_on_error=0:allocator_may_return_null=1
# die_after_fork: tests fork children that start threads.
TSAN_OPTS   := suppressions=$(CURDIR)/tests/tsan.supp:halt_on_error=0:second_deadlock_stack=1:die_after_fork=0
asan: ## the tests under AddressSanitizer and UndefinedBehaviorSanitizer
	@.ci/deps test
	@ASAN_OPTIONS=$(ASAN_OPTS) UBSAN_OPTIONS=print_stacktrace=1 \
	  LSAN_OPTIONS=suppressions=$(CURDIR)/tests/lsan.supp:print_suppressions=0 TEST_NO_CHECKS=1 TEST_LIMIT=300 \
	  $(AGAIN) BUILD=build/asan WERROR= CONFIG_FLAGS="$(SAN_COMMON) -fsanitize=address,undefined -fno-sanitize-recover=all" check
tsan: ## the tests under ThreadSanitizer
	@.ci/deps test
	@TSAN_OPTIONS=$(TSAN_OPTS) TEST_NO_CHECKS=1 TEST_LIMIT=300 \
	  $(AGAIN) BUILD=build/tsan WERROR= CONFIG_FLAGS="$(SAN_COMMON) -fsanitize=thread" check

fuzz: ## fuzz every target of tests/fuzz for FUZZ_SECONDS (60) each
	@.ci/deps fuzz
	@$(AGAIN) BUILD=build/fuzz CC=clang \
	  CONFIG_FLAGS="-O1 -g -fsanitize=address,undefined,fuzzer-no-link -fno-sanitize-recover=all" $(FUZZERS:%=build/fuzz/fuzz_%)
	@set -e; for f in $(FUZZERS); do mkdir -p build/fuzz/found/$$f; echo "fuzz $$f"; \
	  build/fuzz/fuzz_$$f -max_total_time=$(FUZZ_SECONDS) -rss_limit_mb=2048 -malloc_limit_mb=1024 -timeout=10 -print_final_stats=1 \
	    -artifact_prefix=build/fuzz/$$f- build/fuzz/found/$$f tests/fuzz/corpus/$$f; done
$(BUILD)/fuzz_%: $(BUILD)/tests/fuzz/fuzz_%.o $(BUILD)/libcommand.a $(BUILD)/libtine.a
	@echo "  LD $@"
	$(Q)$(LINK) -fsanitize=fuzzer -o $@

sim: ## run the protocol's simulator over SEEDS (20000) seeds
	@.ci/deps build
	@$(AGAIN) $(BUILD)/sim
	$(BUILD)/sim --seeds $(SEEDS)

bench: ## the benchmarks: fork, lstm and those of tests/bench
	@.ci/deps build
	@$(AGAIN) all $(BENCHES)
	@set -e; for b in $(BENCHES); do echo "== $$b"; $$b; done
	$(BUILD)/tine bench fork
	$(BUILD)/tine bench lstm

# ---- lint ----

LAID_OUT := $(PRODUCT) $(HEADERS) $(wildcard tests/*/*.[ch] tests/*/*/*.[ch])
TIDY_FLAGS = -I. $(if $(ONNX),-DTINE_ONNX -I$(BUILD)/generated) -std=c11 -D_GNU_SOURCE -pthread $(PKG_CFLAGS) $(shell pkg-config --cflags ompi-c 2>/dev/null) \
  $(shell pkg-config --cflags-only-I pmix 2>/dev/null)
lint: ## clang-format, include order, names, columns, cppcheck, clang-tidy, tine.h under four compilers, its documentation
	@.ci/deps lint
	@$(MAKE) --no-print-directory -k format-check source-check cppcheck tidy header-check reference
format-check:
	@echo "  clang-format"
	$(Q)clang-format --dry-run -Werror $(LAID_OUT)
# cppcheck reads no system headers; without the macros of <sys/queue.h> it takes our lists for syntax errors.
QUEUE_H = $(filter %/sys/queue.h,$(shell $(CC) -M -xc -include sys/queue.h /dev/null))
# internalAstError: cppcheck cannot parse a compound literal of _Generic behind a macro (tine_list).
# preprocessorErrorDirective: nor does it expand the arguments of a macro before it pastes them (TINE_JOIN5_).
cppcheck:
	@echo "  cppcheck"
	$(Q)cppcheck --quiet --error-exitcode=1 --inline-suppr --std=c11 --enable=warning,performance -j$(shell nproc) \
	  --suppress=internalAstError --suppress=preprocessorErrorDirective --suppress=missingInclude --suppress=unmatchedSuppression \
	  -D_GNU_SOURCE -D__x86_64__ -D__GNUC__=12 -I. --include=$(QUEUE_H) $(PRODUCT)
source-check: # include order, function names, columns
	tests/check_layers
	tests/check_names
	tests/check_columns
header-check:
	tests/check_header
docs: ## the API reference, from runtime/tine.h into build/docs/html
	@.ci/deps docs
	@$(MAKE) --no-print-directory reference
	@echo "build/docs/html/index.html"
reference:
	@echo "  doxygen"
	@mkdir -p build/docs
	$(Q)(cat .github/Doxyfile; echo "PROJECT_NUMBER=$(VERSION)"; echo OUTPUT_DIRECTORY=build/docs) | doxygen -
# A file is checked again when it, a header, or the rules changed.
tidy: $(patsubst %,$(BUILD)/tidy/%.done,$(filter-out $(if $(ONNX),,launch/onnx/%),$(PRODUCT)))
$(BUILD)/tidy/%.c.done: %.c .clang-tidy $(HEADERS) $(if $(ONNX),$(BUILD)/generated/onnx.pb-c.h)
	@mkdir -p $(@D)
	@echo "  TIDY $<"
	$(Q)clang-tidy --quiet $< -- $(TIDY_FLAGS) $(ISA) 2>/dev/null
	@touch $@

format: # lay out every source as format-check expects
	clang-format -i $(LAID_OUT)

python: ## the Python package as a wheel, in build/python
	@mkdir -p $(BUILD)/python
	@python3 launch/python/backend.py $(BUILD)/python

include launch/install/install.mk

deps: ## install the packages that `make test` needs, where they are missing
	@.ci/deps test

clean: ## remove build/
	rm -rf build $(filter-out build build/%,$(BUILD))

-include $(patsubst %.c,$(BUILD)/%.d,$(PRODUCT) $(wildcard tests/*/*.c tests/*/*/*.c))
.SECONDARY:
.DELETE_ON_ERROR:
