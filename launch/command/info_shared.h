/* What `tine info` says of memory that processes share now. */
#ifndef TINE_LAUNCH_COMMAND_INFO_SHARED_H
#define TINE_LAUNCH_COMMAND_INFO_SHARED_H

/* Prints two lines about the processes that this user may look into: how many exchange messages
 * through lanes; how many have an arena, how much of it is in use, and how much could be. */
void tine_info_shared(void);

#endif
