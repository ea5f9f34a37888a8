/* What the files of the analysis share. */
#ifndef TINE_LAUNCH_PROFILE_ANALYSIS_INTERNAL_H
#define TINE_LAUNCH_PROFILE_ANALYSIS_INTERNAL_H

#include "launch/profile/analysis.h"

bool tine_slice_communicates(const tine_slice *s);
/* When a row runs tasks, or communicates, during the job. */
tine_intervals tine_row_slices(const tine_analysis *a, const tine_profile *p, int32_t row,
                               bool communication);
void tine_analyse_overlap(tine_analysis *a, const tine_profile *p);
void tine_analyse_path(tine_analysis *a, const tine_profile *p);
void tine_analyse_gaps(tine_analysis *a, const tine_profile *p);

#endif
