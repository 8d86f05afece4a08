// SPDX-License-Identifier: Apache-2.0
//
// A library for probe_unwind_test.cpp. It is built several times, each with a frame of another
// size; otherwise the builds are the same, byte for byte in most places.
#ifndef LOOPSCOPE_PLUGIN_FRAME
#error "the size of the frame, between 1024 and 8192"
#endif

extern "C" void plugin_call(void (*callback)(void*), void* argument) {
  char frame[LOOPSCOPE_PLUGIN_FRAME];
  asm volatile("" ::"r"(frame) : "memory");
  callback(argument);
  asm volatile("" ::"r"(frame) : "memory");  // not a tail call
}
