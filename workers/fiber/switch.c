/* The switch beneath fibers. See switch.h.
 *
 * To its caller a switch is an ordinary function call, so only callee-saved state has to be kept:
 * on x86-64 rbx, rbp, r12 to r15, the control bits of mxcsr and the x87 control word; on aarch64
 * x19 to x30, d8 to d15, and fpcr, which the ABI does not save: a task that changes its rounding
 * mode must not change another's. They are pushed on the stack that is left; a switch point is its
 * stack pointer.
 *
 * A new stack begins in a trampoline whose return address is marked undefined in its call frame
 * information, with a zero frame pointer: there debuggers and unwinders stop. */
#include "workers/fiber/switch.h"

#include <stdint.h>
#include <string.h>

#ifdef TINE_FIBER_UCONTEXT

/* makecontext passes ints only: a pointer goes in two halves. */
static void ucontext_start(unsigned entry_high, unsigned entry_low, unsigned arg_high,
                           unsigned arg_low) {
    uintptr_t entry = (uintptr_t)((uint64_t)entry_high << 32 | entry_low);
    uintptr_t arg = (uintptr_t)((uint64_t)arg_high << 32 | arg_low);
    ((void (*)(void *))entry)((void *)arg);
}

void tine_switch_make(tine_switch_point *p, void *low, size_t size, void (*entry)(void *arg),
                      void *arg) {
    uint64_t e = (uintptr_t)entry, a = (uintptr_t)arg;
    getcontext(p);
    p->uc_stack.ss_sp = low;
    p->uc_stack.ss_size = size;
    p->uc_link = NULL;
    makecontext(p, (void (*)(void))ucontext_start, 4, (unsigned)(e >> 32), (unsigned)e,
                (unsigned)(a >> 32), (unsigned)a);
}

void tine_switch(tine_switch_point *from, tine_switch_point *to) { swapcontext(from, to); }

#elif defined(__x86_64__)

void tine_switch_trampoline_(void);

__asm__(".text\n"
        ".p2align 4\n"
        ".hidden tine_switch\n"
        ".globl tine_switch\n"
        ".type tine_switch, @function\n"
        "tine_switch:\n"
        "    .cfi_startproc\n"
        "    pushq %rbp\n"
        "    .cfi_adjust_cfa_offset 8\n"
        "    pushq %rbx\n"
        "    .cfi_adjust_cfa_offset 8\n"
        "    pushq %r12\n"
        "    .cfi_adjust_cfa_offset 8\n"
        "    pushq %r13\n"
        "    .cfi_adjust_cfa_offset 8\n"
        "    pushq %r14\n"
        "    .cfi_adjust_cfa_offset 8\n"
        "    pushq %r15\n"
        "    .cfi_adjust_cfa_offset 8\n"
        "    subq $8, %rsp\n"
        "    .cfi_adjust_cfa_offset 8\n"
        "    stmxcsr (%rsp)\n"
        "    fnstcw 4(%rsp)\n"
        "    .cfi_rel_offset %rbp, 48\n"
        "    .cfi_rel_offset %rbx, 40\n"
        "    .cfi_rel_offset %r12, 32\n"
        "    .cfi_rel_offset %r13, 24\n"
        "    .cfi_rel_offset %r14, 16\n"
        "    .cfi_rel_offset %r15, 8\n"
        "    movq %rsp, (%rdi)\n"
        "    movq (%rsi), %rsp\n" /* this stack has the same frame: the offsets above hold */
        "    ldmxcsr (%rsp)\n"
        "    fldcw 4(%rsp)\n"
        "    addq $8, %rsp\n"
        "    .cfi_adjust_cfa_offset -8\n"
        "    popq %r15\n"
        "    .cfi_adjust_cfa_offset -8\n"
        "    .cfi_restore %r15\n"
        "    popq %r14\n"
        "    .cfi_adjust_cfa_offset -8\n"
        "    .cfi_restore %r14\n"
        "    popq %r13\n"
        "    .cfi_adjust_cfa_offset -8\n"
        "    .cfi_restore %r13\n"
        "    popq %r12\n"
        "    .cfi_adjust_cfa_offset -8\n"
        "    .cfi_restore %r12\n"
        "    popq %rbx\n"
        "    .cfi_adjust_cfa_offset -8\n"
        "    .cfi_restore %rbx\n"
        "    popq %rbp\n"
        "    .cfi_adjust_cfa_offset -8\n"
        "    .cfi_restore %rbp\n"
        "    ret\n"
        "    .cfi_endproc\n"
        ".size tine_switch, .-tine_switch\n"
        ".p2align 4\n"
        ".hidden tine_switch_trampoline_\n"
        ".globl tine_switch_trampoline_\n"
        ".type tine_switch_trampoline_, @function\n"
        "tine_switch_trampoline_:\n"
        "    .cfi_startproc\n"
        "    .cfi_undefined %rip\n"
        "    .cfi_undefined %rbp\n"
        "    movq %r13, %rdi\n"
        "    call *%r12\n"
        "    ud2\n"
        "    .cfi_endproc\n"
        ".size tine_switch_trampoline_, .-tine_switch_trampoline_\n");

void tine_switch_make(tine_switch_point *p, void *low, size_t size, void (*entry)(void *arg),
                      void *arg) {
    /* From the bottom: mxcsr and x87 word, r15, r14, r13 = arg, r12 = entry, rbx, rbp = 0, the
     * address that `ret` takes. Two zero words above make the stack aligned to 16 at the
     * trampoline's call. */
    uint64_t *frame = (uint64_t *)((char *)low + size) - 10;
    memset(frame, 0, 10 * sizeof *frame);
    uint32_t mxcsr;
    uint16_t x87;
    __asm__ volatile("stmxcsr %0\n\tfnstcw %1" : "=m"(mxcsr), "=m"(x87));
    frame[0] = mxcsr | (uint64_t)x87 << 32;
    frame[3] = (uintptr_t)arg;
    frame[4] = (uintptr_t)entry;
    frame[7] = (uintptr_t)tine_switch_trampoline_;
    p->sp = frame;
}

#elif defined(__aarch64__)

void tine_switch_trampoline_(void);

__asm__(".text\n"
        ".p2align 4\n"
        ".hidden tine_switch\n"
        ".globl tine_switch\n"
        ".type tine_switch, %function\n"
        "tine_switch:\n"
        "    .cfi_startproc\n"
        "    sub sp, sp, #176\n"
        "    .cfi_def_cfa_offset 176\n"
        "    stp x29, x30, [sp, #0]\n"
        "    .cfi_rel_offset x29, 0\n"
        "    .cfi_rel_offset x30, 8\n"
        "    stp x19, x20, [sp, #16]\n"
        "    stp x21, x22, [sp, #32]\n"
        "    stp x23, x24, [sp, #48]\n"
        "    stp x25, x26, [sp, #64]\n"
        "    stp x27, x28, [sp, #80]\n"
        "    stp d8, d9, [sp, #96]\n"
        "    stp d10, d11, [sp, #112]\n"
        "    stp d12, d13, [sp, #128]\n"
        "    stp d14, d15, [sp, #144]\n"
        "    mrs x9, fpcr\n"
        "    str x9, [sp, #160]\n"
        "    mov x10, sp\n"
        "    str x10, [x0]\n"
        "    ldr x10, [x1]\n"
        "    mov sp, x10\n" /* this stack has the same frame: the offsets above hold */
        "    ldr x11, [sp, #160]\n"
        "    cmp x11, x9\n"
        "    b.eq 1f\n" /* writing fpcr may drain the pipeline */
        "    msr fpcr, x11\n"
        "1:  ldp x19, x20, [sp, #16]\n"
        "    ldp x21, x22, [sp, #32]\n"
        "    ldp x23, x24, [sp, #48]\n"
        "    ldp x25, x26, [sp, #64]\n"
        "    ldp x27, x28, [sp, #80]\n"
        "    ldp d8, d9, [sp, #96]\n"
        "    ldp d10, d11, [sp, #112]\n"
        "    ldp d12, d13, [sp, #128]\n"
        "    ldp d14, d15, [sp, #144]\n"
        "    ldp x29, x30, [sp, #0]\n"
        "    .cfi_restore x29\n"
        "    .cfi_restore x30\n"
        "    add sp, sp, #176\n"
        "    .cfi_def_cfa_offset 0\n"
        "    ret\n"
        "    .cfi_endproc\n"
        ".size tine_switch, .-tine_switch\n"
        ".p2align 4\n"
        ".hidden tine_switch_trampoline_\n"
        ".globl tine_switch_trampoline_\n"
        ".type tine_switch_trampoline_, %function\n"
        "tine_switch_trampoline_:\n"
        "    .cfi_startproc\n"
        "    .cfi_undefined x30\n"
        "    mov x0, x20\n"
        "    blr x19\n"
        "    brk #1\n"
        "    .cfi_endproc\n"
        ".size tine_switch_trampoline_, .-tine_switch_trampoline_\n");

void tine_switch_make(tine_switch_point *p, void *low, size_t size, void (*entry)(void *arg),
                      void *arg) {
    uint64_t *frame = (uint64_t *)((char *)low + size) - 22;
    memset(frame, 0, 22 * sizeof *frame);
    frame[1] = (uintptr_t)tine_switch_trampoline_; /* x30 */
    frame[2] = (uintptr_t)entry;                   /* x19 */
    frame[3] = (uintptr_t)arg;                     /* x20 */
    __asm__ volatile("mrs %0, fpcr" : "=r"(frame[20]));
    p->sp = frame;
}

#endif
