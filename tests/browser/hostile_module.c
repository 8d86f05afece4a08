// SPDX-License-Identifier: Apache-2.0
//
// What hostile loads: functions that are known by the symbol table only, built without DWARF.
#include <fcntl.h>

#define FUNCTION(name) \
  static int name(void) { return open("/dev/null", O_RDONLY | O_CLOEXEC); }
FUNCTION(hostile_symbol_svg_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx)
FUNCTION(hostile_symbol_img_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx)
FUNCTION(hostile_symbol_script_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx)
FUNCTION(hostile_symbol_end_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx)
FUNCTION(hostile_symbol_quote_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx)
FUNCTION(hostile_symbol_away_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx)

__attribute__((visibility("default"))) int open_all(void) {
  const int opened[] = {
      hostile_symbol_svg_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx(),
      hostile_symbol_img_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx(),
      hostile_symbol_script_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx(),
      hostile_symbol_end_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx(),
      hostile_symbol_quote_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx(),
      hostile_symbol_away_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx(),
  };
  for (unsigned i = 0; i < sizeof opened / sizeof *opened; ++i) {
    if (opened[i] < 0) return -1;
  }
  return 0;
}
