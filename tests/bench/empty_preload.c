// SPDX-License-Identifier: Apache-2.0
//
// A library that does nothing, to preload: what the dynamic linker alone costs a process.
int loopscope_bench_nothing(void);

int loopscope_bench_nothing(void) { return 0; }
