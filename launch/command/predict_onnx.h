/* `tine predict MODEL.onnx`. */
#ifndef TINE_LAUNCH_COMMAND_PREDICT_ONNX_H
#define TINE_LAUNCH_COMMAND_PREDICT_ONNX_H

#include "launch/command/predict_model.h"

typedef struct tine_onnx_prediction tine_onnx_prediction;

/* As their namesakes in predict_model.h. */
tine_onnx_prediction *tine_onnx_prediction_open(const tine_prediction_options *o);
bool tine_onnx_prediction_prepare(tine_onnx_prediction *p, const tine_prediction_options *o);
tine_value *tine_onnx_prediction_run(const tine_onnx_prediction *p);
void tine_onnx_prediction_name(const tine_onnx_prediction *p, char *out, size_t room);
void tine_onnx_prediction_close(tine_onnx_prediction *p); /* accepts NULL */

#endif
