/* The key of a job: where it comes from, and which endpoints need it. */
#ifndef TINE_LAUNCH_SECURITY_H
#define TINE_LAUNCH_SECURITY_H

#include "runtime/settings/settings.h"
#include "transport/transport.h"
#include "transport/zmq/key.h"

/* What a worker is told, in place of a key, by a coordinator that uses none. */
#define TINE_SECURITY_NO_KEY "none"

/* Sets the fields of `config` for the endpoint `url`. The key is written to `key`, to which the
 * config refers. In a coordinator that was given no key a new one is made. EINVAL: a setting is
 * wrong, or the file can be read by others; EIO: it cannot be read. */
tine_error tine_security_set(const tine_settings *s, const char *url, bool coordinator,
                             tine_transport_config *config, char key[TINE_ZMQ_KEY_SIZE]);
/* Whether a key was given, or none is wanted: then processes that start apart agree. */
bool tine_security_is_agreed(const tine_settings *s);
/* Listening: warns where other hosts can connect and no key is needed. */
void tine_security_warn(const tine_transport *t);

#endif
