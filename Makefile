# Tine's build. `make run` and `make test` work on a bare Debian 12: what is missing is installed first.
# Rooms are found by wildcard: a new .c file needs no line here. Kernel files carry their ISA in their name
# (kernels/*_avx2.c, *_avx512.c, *_avx512_bf16.c) and get that ISA's flags, and no other file does.

BUILD   ?= build
CC      ?= gcc
PREFIX  ?= /usr/local
VERSION := 0.1.0
CONFIG_FLAGS ?= -O2 -g

PKGS     := libzmq msgpack json-c openblas
CFLAGS   += -std=c11 -D_GNU_SOURCE -fPIC -fvisibility=hidden -pthread $(CONFIG_FLAGS) \
            -Wall -Wextra -Werror -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith -Wvla
CPPFLAGS += -I. -DTINE_VERSION='"$(VERSION)"' -MMD -MP
CPPFLAGS += $(shell pkg-config --cflags $(PKGS) 2>/dev/null)
LIBS      = $(shell pkg-config --libs $(PKGS) 2>/dev/null) -pthread -ldl -lm

LIB_SRC  := $(wildcard kernels/*.c) $(filter-out transport/mpi%.c,$(wildcard transport/*.c)) \
            $(wildcard runtime/*.c workers/*.c) launch/init.c launch/spawn.c
LIB_SRC  := $(wildcard $(LIB_SRC))
CMD_SRC  := $(filter-out $(LIB_SRC),$(wildcard launch/*.c))
EXAMPLES := $(patsubst launch/examples/%.c,%,$(wildcard launch/examples/*.c))
TESTS    := $(patsubst tests/%.c,%,$(wildcard tests/test_*.c))
LIB_OBJ  := $(LIB_SRC:%.c=$(BUILD)/%.o)
CMD_OBJ  := $(CMD_SRC:%.c=$(BUILD)/%.o)

ISA_avx2        := -mavx2 -mfma
ISA_avx512      := -mavx512f -mavx512bw -mavx512dq -mavx512vl -mfma
ISA_avx512_bf16 := $(ISA_avx512) -mavx512bf16

.PHONY: all lib clean
all: lib $(if $(CMD_SRC),$(BUILD)/tine) $(EXAMPLES:%=$(BUILD)/%)
lib: $(BUILD)/libtine.a $(BUILD)/libtine.so

$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) $(ISA) -c $< -o $@

$(BUILD)/kernels/%_avx2.o:        ISA = $(ISA_avx2)
$(BUILD)/kernels/%_avx512.o:      ISA = $(ISA_avx512)
$(BUILD)/kernels/%_avx512_bf16.o: ISA = $(ISA_avx512_bf16)
$(BUILD)/kernels/%.o:             CONFIG_FLAGS := $(subst -O2,-O3,$(CONFIG_FLAGS))

$(BUILD)/libtine.a: $(LIB_OBJ)
	@rm -f $@
	$(AR) rcs $@ $^

$(BUILD)/libtine.so: $(LIB_OBJ)
	$(CC) -shared -Wl,-soname,libtine.so.0 $(CFLAGS) $(LDFLAGS) $^ $(LIBS) -o $@

# -rdynamic and whole-archive: functions register themselves from constructors that nothing refers to by name.
WHOLE = -Wl,--whole-archive $(BUILD)/libtine.a -Wl,--no-whole-archive
$(BUILD)/tine: $(CMD_OBJ) $(BUILD)/libtine.a
	$(CC) $(CFLAGS) $(LDFLAGS) $(CMD_OBJ) $(WHOLE) $(LIBS) -o $@

$(EXAMPLES:%=$(BUILD)/%): $(BUILD)/%: $(BUILD)/launch/examples/%.o $(BUILD)/libtine.a
	$(CC) $(CFLAGS) $(LDFLAGS) $< $(WHOLE) $(LIBS) -o $@

TEST_SUPPORT := $(patsubst %.c,$(BUILD)/%.o,$(wildcard tests/support/*.c))
$(BUILD)/tests/test_%: $(BUILD)/tests/test_%.o $(TEST_SUPPORT) $(BUILD)/libtine.a
	$(CC) $(CFLAGS) $(LDFLAGS) $< $(TEST_SUPPORT) $(WHOLE) $(LIBS) -lcriterion -o $@

.PHONY: tests
tests: $(TESTS:%=$(BUILD)/tests/%)

clean:
	rm -rf $(BUILD)

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
.SECONDARY:
