/* What a process, or the machine, has: tests compare it before and after. */
#ifndef TINE_TESTS_SUPPORT_LEFTOVERS_H
#define TINE_TESTS_SUPPORT_LEFTOVERS_H

unsigned leftover_descriptors(void);          /* open in this process */
unsigned leftover_mappings(const char *name); /* of files whose name holds this */
unsigned leftover_files(const char *directory, const char *name); /* whose name holds this */

#endif
