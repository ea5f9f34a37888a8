/* Finding and checking the records of vecmath.h. */
#include "kernels/vecmath.h"

const struct tine_vecmath *tine_vecmath(enum tine_isa isa) {
    if (tine_isa_obstacle(tine_cpu(), isa)) isa = TINE_ISA_PORTABLE;
    for (; isa != TINE_ISA_AUTO; isa = tine_isa_row(isa)->base)
        if (tine_isa_row(isa)->vecmath) return tine_isa_row(isa)->vecmath;
    isa = TINE_ISA_COUNT - 1;
    while (!tine_isa_row(isa)->vecmath || tine_isa_obstacle(tine_cpu(), isa)) isa--;
    return tine_isa_row(isa)->vecmath;
}

const char *tine_vecmath_defect(const struct tine_vecmath *math) {
    if (!math->exp || !math->sigmoid || !math->tanh || !math->gates || !math->gru_gates ||
        !math->to_bf16 || !math->round_bf16 || !math->sum || !math->to_int8)
        return "its vecmath lacks a function";
    return NULL;
}
