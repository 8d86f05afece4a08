// SPDX-License-Identifier: Apache-2.0
//
// The two LTTng-UST tracepoints of pipe_turns.c, each with one number. The shape of this file, read
// several times over, is lttng-ust(3)'s.
#undef LTTNG_UST_TRACEPOINT_PROVIDER
#define LTTNG_UST_TRACEPOINT_PROVIDER loopscope_bench

#undef LTTNG_UST_TRACEPOINT_INCLUDE
#define LTTNG_UST_TRACEPOINT_INCLUDE "pipe_turns_tracepoints.h"

#if !defined(LOOPSCOPE_BENCH_PIPE_TURNS_TRACEPOINTS_H) || \
    defined(LTTNG_UST_TRACEPOINT_HEADER_MULTI_READ)
#define LOOPSCOPE_BENCH_PIPE_TURNS_TRACEPOINTS_H

#include <lttng/tracepoint.h>

// clang-format off
LTTNG_UST_TRACEPOINT_EVENT(loopscope_bench, wait_begins, LTTNG_UST_TP_ARGS(int, timeout_ms),
                           LTTNG_UST_TP_FIELDS(lttng_ust_field_integer(int, timeout_ms, timeout_ms)))
LTTNG_UST_TRACEPOINT_EVENT(loopscope_bench, wait_ends, LTTNG_UST_TP_ARGS(int, ready),
                           LTTNG_UST_TP_FIELDS(lttng_ust_field_integer(int, ready, ready)))
// clang-format on

#endif

#include <lttng/tracepoint-event.h>  // outside of the guard
