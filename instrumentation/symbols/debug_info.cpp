// SPDX-License-Identifier: Apache-2.0
#include "instrumentation/symbols/debug_info.h"

#include <dwarf.h>
#include <elfutils/libdw.h>
#include <elfutils/libdwelf.h>

#include <algorithm>
#include <filesystem>
#include <string_view>
#include <utility>

#include "instrumentation/symbols/debug_files.h"
#include "instrumentation/symbols/names.h"

namespace loopscope::symbols {
namespace {

// Far more than people nest scopes and compilers inline; a hostile file may nest a level a byte.
constexpr int kMaxDepth = 256;
// DIEs looked at for one address: bounds the time that a damaged or very large unit takes. Beyond,
// the frame has what was found by then.
constexpr std::uint64_t kMaxDies = 4'000'000;
// Ranges of a unit's or a function's DIE: a bound for damaged lists only.
constexpr int kMaxRanges = 1 << 20;
// Units that claim one address: one, but where linkers fold equal functions.
constexpr int kMaxClaims = 16;
constexpr int kMaxOrigins = 16;

/// What one lookup may still spend.
struct Budget {
  std::uint64_t dies = kMaxDies;
  bool spend() {
    if (dies == 0) return false;
    --dies;
    return true;
  }
};

/// Calls `visit(die)` for each child until it returns false. Stops at a sibling that leads back,
/// which a damaged file may have.
template <typename Visit>
void for_each_child(Dwarf_Die* parent, Budget& budget, Visit visit) {
  Dwarf_Die child;
  if (::dwarf_child(parent, &child) != 0) return;
  Dwarf_Off last = ::dwarf_dieoffset(parent);
  for (;;) {
    const Dwarf_Off offset = ::dwarf_dieoffset(&child);
    if (offset <= last || !budget.spend()) return;
    last = offset;
    if (!visit(&child)) return;
    Dwarf_Die next;
    if (::dwarf_siblingof(&child, &next) != 0) return;
    child = next;
  }
}

/// Calls `visit(begin, end)` for each address range of the DIE that is not of code the linker threw
/// away. True if there was any range at all.
template <typename Visit>
bool for_each_range(Dwarf_Die* die, std::uint64_t lowest_code_address, Visit visit) {
  Dwarf_Addr base = 0;
  Dwarf_Addr begin = 0;
  Dwarf_Addr end = 0;
  std::ptrdiff_t next = 0;
  bool any = false;
  for (int i = 0; i < kMaxRanges; ++i) {
    next = ::dwarf_ranges(die, next, &base, &begin, &end);
    if (next <= 0) break;
    any = true;
    if (begin >= lowest_code_address && begin < end) visit(begin, end);
  }
  return any;
}

enum class Coverage : std::uint8_t { kNoRanges, kElsewhere, kHere };

Coverage covers(Dwarf_Die* die, std::uint64_t address, std::uint64_t lowest_code_address) {
  bool here = false;
  const bool any = for_each_range(die, lowest_code_address, [&](Dwarf_Addr begin, Dwarf_Addr end) {
    here = here || (address >= begin && address < end);
  });
  if (here) return Coverage::kHere;
  return any ? Coverage::kElsewhere : Coverage::kNoRanges;
}

/// Finds the function that covers an address and what is inlined there.
class ChainWalk {
 public:
  ChainWalk(std::uint64_t address, std::uint64_t lowest_code_address, Budget& budget)
      : address_(address), lowest_code_address_(lowest_code_address), budget_(budget) {}

  /// Real function first. Empty: none.
  std::vector<Dwarf_Die> run(Dwarf_Die* unit) {
    descend(unit, 0);
    return std::move(chain_);
  }

 private:
  /// True if a DIE that covers the address was found: then there is nothing to look for beside it.
  bool descend(Dwarf_Die* parent, int depth) {
    if (depth >= kMaxDepth) return false;
    bool found = false;
    for_each_child(parent, budget_, [&](Dwarf_Die* die) {
      found = look_at(die, depth);
      return !found;
    });
    return found;
  }

  bool look_at(Dwarf_Die* die, int depth) {
    switch (::dwarf_tag(die)) {
      case DW_TAG_subprogram:
        if (covers(die, address_, lowest_code_address_) != Coverage::kHere) return false;
        // Nested functions (Ada, GNU C, Rust's closures) are real ones of their own.
        chain_.assign(1, *die);
        break;
      case DW_TAG_inlined_subroutine:
        if (covers(die, address_, lowest_code_address_) != Coverage::kHere) return false;
        chain_.push_back(*die);
        break;
      case DW_TAG_lexical_block:
      case DW_TAG_try_block:
      case DW_TAG_catch_block: {
        const Coverage coverage = covers(die, address_, lowest_code_address_);
        if (coverage == Coverage::kElsewhere) return false;
        if (coverage == Coverage::kNoRanges) return descend(die, depth + 1);
        break;
      }
      // Clang puts functions into their namespace, Rust into their type.
      case DW_TAG_namespace:
      case DW_TAG_module:
      case DW_TAG_structure_type:
      case DW_TAG_class_type:
      case DW_TAG_union_type:
      case DW_TAG_enumeration_type:
        return descend(die, depth + 1);
      default:
        return false;
    }
    descend(die, depth + 1);
    return true;
  }

  std::uint64_t address_;
  std::uint64_t lowest_code_address_;
  Budget& budget_;
  std::vector<Dwarf_Die> chain_;
};

std::string die_name(Dwarf_Die* die) {
  const char* name = ::dwarf_diename(die);
  return name != nullptr ? name : std::string();
}

/// The DIE that declares the function: an inlined or out-of-line instance refers to it.
Dwarf_Die declaration_of(Dwarf_Die die) {
  for (int i = 0; i < kMaxOrigins; ++i) {
    Dwarf_Attribute attribute;
    if (::dwarf_attr(&die, DW_AT_abstract_origin, &attribute) == nullptr &&
        ::dwarf_attr(&die, DW_AT_specification, &attribute) == nullptr) {
      break;
    }
    Dwarf_Die origin;
    if (::dwarf_formref_die(&attribute, &origin) == nullptr) break;
    die = origin;
  }
  return die;
}

/// "ns::Class::", "main()::": the scopes that the DIE at `target` is declared in.
void append_scopes(Dwarf_Die* parent, Dwarf_Off target, int depth, Budget& budget,
                   std::string& scopes) {
  if (depth >= kMaxDepth) return;
  // The child that `target` is in is the last one that does not begin behind it.
  Dwarf_Die inside;
  bool found = false;
  for_each_child(parent, budget, [&](Dwarf_Die* die) {
    if (::dwarf_dieoffset(die) > target) return false;
    inside = *die;
    found = true;
    return ::dwarf_dieoffset(die) != target;
  });
  if (!found || ::dwarf_dieoffset(&inside) == target) return;
  const std::string name = die_name(&inside);
  switch (::dwarf_tag(&inside)) {
    case DW_TAG_namespace:
    case DW_TAG_module:
      scopes += (name.empty() ? "(anonymous namespace)" : name) + "::";
      break;
    case DW_TAG_structure_type:
    case DW_TAG_class_type:
    case DW_TAG_union_type:
    case DW_TAG_enumeration_type:
      scopes += (name.empty() ? "(anonymous)" : name) + "::";
      break;
    case DW_TAG_subprogram:
      if (!name.empty()) scopes += name + "()::";
      break;
    default:
      break;
  }
  append_scopes(&inside, target, depth + 1, budget, scopes);
}

void name_function(Dwarf_Die* die, Budget& budget, DebugInfo::Place& place) {
  for (const unsigned int name : {DW_AT_linkage_name, DW_AT_MIPS_linkage_name}) {
    Dwarf_Attribute attribute;
    if (::dwarf_attr_integrate(die, name, &attribute) == nullptr) continue;
    const char* text = ::dwarf_formstring(&attribute);
    // Of C's linkage names ("__GI___libc_read") the source's name is the better one.
    if (text == nullptr || !is_mangled(text)) continue;
    place.function = readable_name(text);
    place.exact = true;
    return;
  }
  const std::string name = die_name(die);
  if (name.empty()) return;
  // Functions with internal linkage have no linkage name.
  Dwarf_Die declaration = declaration_of(*die);
  Dwarf_Die unit;
  std::string scopes;
  if (::dwarf_diecu(&declaration, &unit, nullptr, nullptr) != nullptr) {
    append_scopes(&unit, ::dwarf_dieoffset(&declaration), 0, budget, scopes);
  }
  place.function = readable_name(scopes + name);
}

/// Joined with the directory of compilation, and without "..". libdw (0.188) has joined names that
/// are directly in that directory, and leaves DWARF 5's other relative directories as they are. The
/// directory may be relative itself, where a distribution hides its build machine ("./stdlib").
std::string source_path(Dwarf_Die* unit, const char* name) {
  if (name == nullptr || name[0] == '\0') return {};
  std::filesystem::path path(name);
  Dwarf_Attribute attribute;
  const char* directory = ::dwarf_formstring(::dwarf_attr(unit, DW_AT_comp_dir, &attribute));
  if (path.is_relative() && directory != nullptr &&
      !std::string_view(name).starts_with(std::string(directory) + "/")) {
    path = directory / path;
  }
  return path.lexically_normal().string();
}

void line_of(Dwarf_Die* unit, std::uint64_t address, DebugInfo::Place& place) {
  Dwarf_Line* line = ::dwarf_getsrc_die(unit, address);
  int number = 0;
  if (line == nullptr || ::dwarf_lineno(line, &number) != 0 || number <= 0) return;
  place.line = number;
  place.file = source_path(unit, ::dwarf_linesrc(line, nullptr, nullptr));
}

/// Where the inlined function `die` was called.
void call_of(Dwarf_Die* unit, Dwarf_Die* die, DebugInfo::Place& place) {
  Dwarf_Attribute attribute;
  Dwarf_Word number = 0;
  if (::dwarf_formudata(::dwarf_attr(die, DW_AT_call_line, &attribute), &number) != 0) return;
  if (number == 0 || number > INT32_MAX) return;
  Dwarf_Word file = 0;
  if (::dwarf_formudata(::dwarf_attr(die, DW_AT_call_file, &attribute), &file) != 0) return;
  Dwarf_Files* files = nullptr;
  std::size_t count = 0;
  if (::dwarf_getsrcfiles(unit, &files, &count) != 0 || file >= count) return;
  place.line = static_cast<int>(number);
  place.file = source_path(unit, ::dwarf_filesrc(files, file, nullptr, nullptr));
}

}  // namespace

std::unique_ptr<DebugInfo> DebugInfo::read(const ElfFile& file, std::uint64_t max_bytes,
                                           const std::vector<std::string>& debug_directories) {
  std::unique_ptr<DebugInfo> info(new DebugInfo(file));
  info->dwarf_ = ::dwarf_begin_elf(file.elf(), DWARF_C_READ, nullptr);
  if (info->dwarf_ == nullptr) return nullptr;

  const char* name = nullptr;
  const void* id = nullptr;
  const ssize_t id_size = ::dwelf_dwarf_gnu_debugaltlink(info->dwarf_, &name, &id);
  if (id_size > 0) {
    // Set before libdw looks for it by itself, which would map whatever the name leads to.
    const auto* first = static_cast<const std::uint8_t*>(id);
    info->alternate_file_ =
        find_alternate_file(file, name, {first, first + id_size}, debug_directories);
    if (!info->alternate_file_ || info->alternate_file_->debug_bytes() > max_bytes) return nullptr;
    info->alternate_ = ::dwarf_begin_elf(info->alternate_file_->elf(), DWARF_C_READ, nullptr);
    if (info->alternate_ == nullptr) return nullptr;
    ::dwarf_setalt(info->dwarf_, info->alternate_);
    info->alternate_file_->close_descriptor();
  }
  info->read_units();
  return info;
}

DebugInfo::~DebugInfo() {
  if (dwarf_ != nullptr) ::dwarf_end(dwarf_);
  if (alternate_ != nullptr) ::dwarf_end(alternate_);
}

std::uint64_t DebugInfo::loaded_bytes() const {
  return file_.debug_bytes() + (alternate_file_ ? alternate_file_->debug_bytes() : 0);
}

// Not .debug_aranges: Clang writes none unless asked to.
void DebugInfo::read_units() {
  Dwarf_CU* unit = nullptr;
  Dwarf_Die die;
  std::uint8_t type = 0;
  while (::dwarf_get_units(dwarf_, unit, &unit, nullptr, &type, &die, nullptr) == 0) {
    if (type != DW_UT_compile && type != DW_UT_skeleton) continue;
    const Dwarf_Off offset = ::dwarf_dieoffset(&die);
    for_each_range(&die, file_.lowest_code_address(), [&](Dwarf_Addr begin, Dwarf_Addr end) {
      ranges_.push_back({begin, end, 0, offset});
    });
  }
  std::sort(ranges_.begin(), ranges_.end(),
            [](const Range& a, const Range& b) { return a.begin < b.begin; });
  std::uint64_t highest = 0;
  for (Range& range : ranges_) {
    highest = std::max(highest, range.end);
    range.highest_end = highest;
  }
  ranges_.shrink_to_fit();
}

std::vector<DebugInfo::Place> DebugInfo::find(std::uint64_t address) const {
  std::vector<Place> best;
  Budget budget;
  auto range =
      std::upper_bound(ranges_.begin(), ranges_.end(), address,
                       [](std::uint64_t value, const Range& r) { return value < r.begin; });
  for (int claims = 0; claims < kMaxClaims && range != ranges_.begin();) {
    --range;
    if (range->highest_end <= address) break;
    if (range->end <= address) {
      if (!budget.spend()) break;
      continue;
    }
    ++claims;
    Dwarf_Die unit;
    if (::dwarf_offdie(dwarf_, range->unit, &unit) == nullptr) continue;

    std::vector<Dwarf_Die> chain =
        ChainWalk(address, file_.lowest_code_address(), budget).run(&unit);
    std::vector<Place> places;
    Place place;
    line_of(&unit, address, place);
    for (auto die = chain.rbegin(); die != chain.rend(); ++die) {
      place.inlined = ::dwarf_tag(&*die) == DW_TAG_inlined_subroutine;
      name_function(&*die, budget, place);
      places.push_back(std::move(place));
      place = Place();
      if (places.back().inlined) call_of(&unit, &*die, place);
    }
    if (!places.empty()) return places;
    // Assembler, or a unit with lines only: a place without a function, unless another unit knows.
    if (best.empty() && place.line != 0) best.push_back(std::move(place));
  }
  return best;
}

}  // namespace loopscope::symbols
