/* See pool.h. */
#include "launch/bench/pool.h"

#include <string.h>

#include "runtime/settings/settings.h"
#include "transport/launcher.h"
#include "transport/transport.h"

enum { ARGUMENTS = 64 };

/* Each use of the arguments takes the settings out of its copy. */
static int arguments_copy(int argc, char **argv, char *copy[ARGUMENTS]) {
    int n = argc < ARGUMENTS - 1 ? argc : ARGUMENTS - 1;
    memcpy(copy, argv, (size_t)n * sizeof *copy);
    copy[n] = NULL;
    return n;
}

static bool setting_is_default(const tine_settings *s, const char *name) {
    tine_setting_row rows[TINE_SETTINGS_MAX];
    size_t n = tine_settings_rows(s, rows, TINE_SETTINGS_MAX);
    for (size_t i = 0; i < n && i < TINE_SETTINGS_MAX; i++)
        if (!strcmp(rows[i].name, name)) return !strcmp(rows[i].origin, "default");
    return false;
}

tine_error tine_pool_choose(int argc, char **argv, tine_pool_choice *out) {
    char *copy[ARGUMENTS];
    tine_settings s = {0};
    tine_launcher l;
    int n = arguments_copy(argc, argv, copy);
    *out = (tine_pool_choice){0};
    tine_error failed = tine_settings_resolve(&s, NULL, &n, copy);
    if (failed) return failed;
    const tine_transport_info *info = tine_transport_info_of(s.endpoint);
    if (!s.endpoint && tine_launcher_rank(&l) && l.usable && l.size > 1)
        info = tine_transport_info_with(TINE_TRANSPORT_RANKS);
    out->chosen = info != NULL;
    out->lane = s.lane;
    out->arena = s.arena;
    out->plain = setting_is_default(&s, "endpoint") && setting_is_default(&s, "lane");
    out->scheme = info ? info->scheme : NULL;
    out->any = info ? info->any : NULL;
    tine_settings_fini(&s);
    return TINE_OK;
}

tine_error tine_pool_open(int argc, char **argv, const tine_options *options) {
    char *copy[ARGUMENTS], **rest = copy;
    int n = arguments_copy(argc, argv, copy);
    return tine_init(&n, rest, options);
}
