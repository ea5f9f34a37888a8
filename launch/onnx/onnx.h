/* Models in the ONNX format (https://onnx.ai, opset 7 to 23): graphs of the operators of
 * launch/onnx/operators.c, in one file with their weights. A file with another operator is refused,
 * naming its node.
 *
 * LSTM, GRU, and large Gemm and MatMul nodes with constant weights become modules and are forked as
 * soon as their inputs are there, so branches of a graph run side by side; all other nodes are
 * computed in the calling process. A file takes at most some times its size in memory when it is
 * read, and its results at most TINE_ONNX_MEMORY bytes when it is run. */
#ifndef TINE_LAUNCH_ONNX_ONNX_H
#define TINE_LAUNCH_ONNX_ONNX_H

#include "runtime/tine.h"

#define TINE_ONNX_MEMORY ((size_t)4 << 30)

typedef struct tine_onnx tine_onnx;

/* Reads and checks a file. NULL: tine_error_message() says why. */
tine_onnx *tine_onnx_open(const char *path);
/* The same from memory, which is not kept. `name` is for sentences. */
tine_onnx *tine_onnx_parse(const char *name, const void *bytes, size_t size);
void tine_onnx_close(tine_onnx *g); /* accepts NULL */

size_t tine_onnx_nodes(const tine_onnx *g);
/* How many of them are LSTM or GRU. */
size_t tine_onnx_cells(const tine_onnx *g);
/* Names of the inputs that are not constants; NULL past the end. */
const char *tine_onnx_input(const tine_onnx *g, size_t i);

/* Makes the modules; Tine runs. dtype: of the operands of products, "f32", "bf16" or "int8". */
bool tine_onnx_prepare(tine_onnx *g, const char *dtype);
/* Computes the outputs, a dict by name, from inputs by name; a graph of one input takes a tensor
 * too. NULL: tine_error_message() names the node. */
tine_value *tine_onnx_run(const tine_onnx *g, const tine_value *inputs);

#endif
