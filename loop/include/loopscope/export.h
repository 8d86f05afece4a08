// SPDX-License-Identifier: Apache-2.0
#pragma once

/// Marks what a shared build of loopscope lets out; everything else is hidden.
#define LOOPSCOPE_EXPORT __attribute__((visibility("default")))
