/* The key of a job: a secret that its coordinator and its workers share, as 40 characters of Z85
 * (ZeroMQ RFC 32). See security.c. */
#ifndef TINE_TRANSPORT_ZMQ_KEY_H
#define TINE_TRANSPORT_ZMQ_KEY_H

#include <stdbool.h>

enum { TINE_ZMQ_KEY_SIZE = 41 }; /* with its NUL */

/* A new one. False: the libzmq beneath has no CURVE. */
bool tine_zmq_key_make(char key[TINE_ZMQ_KEY_SIZE]);
bool tine_zmq_key_is_valid(const char *key);

#endif
