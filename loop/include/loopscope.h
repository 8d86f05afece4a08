/* SPDX-License-Identifier: Apache-2.0
 *
 * loopscope for C programs that run on libev. One line records a loop:
 *
 *     loopscope_loop *scope = loopscope_instrument(EV_DEFAULT, "main", NULL);
 *     loopscope_name(scope, &timer, "heartbeat");           (if its callbacks are to be timed by
 * name) loopscope_inspect("127.0.0.1", 8080, NULL, 0);        (a live page; or watch from outside:
 * loopscope serve)
 *
 * Link -lloopscope before -lev, and -lloopscope-inspector before both for the last four functions.
 * Threads: the functions with a loopscope_loop belong to the loop's thread; the others may be
 * called on any.
 */
#ifndef LOOPSCOPE_H
#define LOOPSCOPE_H

#include <stddef.h>
#include <stdint.h>

#include "loopscope/export.h"

#ifdef __cplusplus
extern "C" {
#endif

struct ev_loop;

/* NOLINTBEGIN(readability-identifier-naming): C has C's names */

typedef struct loopscope_loop loopscope_loop;
typedef struct loopscope_inspector loopscope_inspector;

/* Zero in a field means its default. */
typedef struct loopscope_options {
  uint64_t stall_threshold_ns; /* a busy part longer than this is a stall; default 100 ms */
  unsigned recent_turns;       /* recent turns kept, 32 bytes each; default 4096 */
} loopscope_options;

enum loopscope_kind {
  LOOPSCOPE_IO = 1,
  LOOPSCOPE_TIMER,
  LOOPSCOPE_PERIODIC,
  LOOPSCOPE_SIGNAL,
  LOOPSCOPE_CHILD,
  LOOPSCOPE_STAT,
  LOOPSCOPE_IDLE,
  LOOPSCOPE_PREPARE,
  LOOPSCOPE_CHECK,
  LOOPSCOPE_FORK,
  LOOPSCOPE_ASYNC
};
/* NOLINTEND(readability-identifier-naming) */

/* Starts recording `loop`. `name` may be NULL ("loop-N"), `options` too. Never fails for want of a
 * file (recording then stays in memory); NULL only if `loop` is NULL or memory is exhausted. The
 * handle lives until loopscope_release() or until the loop is destroyed. Hooks of the host keep
 * working. */
LOOPSCOPE_EXPORT loopscope_loop* loopscope_instrument(struct ev_loop* loop, const char* name,
                                                      const loopscope_options* options);

/* Gives a watcher a name so that its callbacks are timed. After ev_init / ev_set_cb; again after
 * either. */
LOOPSCOPE_EXPORT void loopscope_name_watcher(loopscope_loop* scope, void* watcher,
                                             enum loopscope_kind kind, const char* name);
LOOPSCOPE_EXPORT void loopscope_unname(loopscope_loop* scope, void* watcher);

/* loopscope_name(scope, &any_ev_watcher, "name"): the kind is taken from the pointer's type (C11;
 * <ev.h> comes first). */
#ifndef __cplusplus
#define loopscope_name(scope, watcher, name)                             \
  loopscope_name_watcher((scope), (watcher),                             \
                         _Generic(*(watcher), struct ev_io               \
                                  : LOOPSCOPE_IO, struct ev_timer        \
                                  : LOOPSCOPE_TIMER, struct ev_periodic  \
                                  : LOOPSCOPE_PERIODIC, struct ev_signal \
                                  : LOOPSCOPE_SIGNAL, struct ev_child    \
                                  : LOOPSCOPE_CHILD, struct ev_stat      \
                                  : LOOPSCOPE_STAT, struct ev_idle       \
                                  : LOOPSCOPE_IDLE, struct ev_prepare    \
                                  : LOOPSCOPE_PREPARE, struct ev_check   \
                                  : LOOPSCOPE_CHECK, struct ev_fork      \
                                  : LOOPSCOPE_FORK, struct ev_async      \
                                  : LOOPSCOPE_ASYNC),                    \
                         (name))
#endif

/* Stops recording and puts the host's hooks back; allowed in a callback. Named watchers are not
 * touched: they still call their callbacks, by one more jump. The handle is gone. */
LOOPSCOPE_EXPORT void loopscope_release(loopscope_loop* scope);

/* Why the recording is not in a file, "" if it is. */
LOOPSCOPE_EXPORT const char* loopscope_recording_error(void);

/* Serves page, JSON, stream and metrics of this process on threads of its own. `address` NULL:
 * 127.0.0.1; port 0: a free one. NULL on failure, with the reason in `error` (if given). */
LOOPSCOPE_EXPORT loopscope_inspector* loopscope_inspect(const char* address, unsigned short port,
                                                        char* error, size_t error_size);
LOOPSCOPE_EXPORT unsigned short loopscope_inspector_port(const loopscope_inspector* inspector);
LOOPSCOPE_EXPORT void loopscope_inspector_stop(loopscope_inspector* inspector);

/* The JSON of /api/v1/snapshot and the text of /metrics without a server; free() them. NULL if
 * memory is exhausted. */
LOOPSCOPE_EXPORT char* loopscope_snapshot_json(void);
LOOPSCOPE_EXPORT char* loopscope_metrics_text(void);

#ifdef __cplusplus
}
#endif

#endif
