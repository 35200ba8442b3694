#include "src/cli/suggestion.h"

#include <algorithm>
#include <cstdio>
#include <numeric>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "src/cli/client_exit.h"

namespace postrider {
namespace {

// How many characters must be put in, left out or replaced to make one of the other.
size_t Distance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 0; i < a.size(); ++i) {
    size_t diagonal = std::exchange(row[0], i + 1);
    for (size_t j = 0; j < b.size(); ++j) {
      const size_t replaced = diagonal + (a[i] == b[j] ? 0 : 1);
      diagonal = std::exchange(row[j + 1], std::min({row[j + 1] + 1, row[j] + 1, replaced}));
    }
  }
  return row.back();
}

std::vector<std::string> NamesOf(const CLI::App& command, bool flags) {
  std::vector<std::string> names;
  if (flags) {
    for (const CLI::Option* option : command.get_options()) {
      for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
    }
    // Those of option groups, which are commands without a name.
    for (const CLI::App* group : command.get_subcommands([](const CLI::App* sub) {
           return sub->get_name().empty();
         })) {
      for (const std::string& name : NamesOf(*group, true)) names.push_back(name);
    }
  } else {
    for (const CLI::App* sub : command.get_subcommands(nullptr)) {
      if (!sub->get_name().empty()) names.push_back(sub->get_name());
    }
  }
  return names;
}

}  // namespace

std::string SuggestionFor(const CLI::App& program, const CLI::ParseError& error) {
  // What is required may be missing because it is misspelt.
  const auto code = static_cast<CLI::ExitCodes>(error.get_exit_code());
  if (code != CLI::ExitCodes::ExtrasError && code != CLI::ExitCodes::RequiredError) return "";
  // What is left over was not known to the innermost command, nor to those around it.
  std::vector<const CLI::App*> commands = {&program};
  while (!commands.back()->get_subcommands().empty()) {
    commands.push_back(commands.back()->get_subcommands().front());
  }
  for (std::string typed : program.remaining(/*recurse=*/true)) {
    typed = typed.substr(0, typed.find('='));
    if (typed.size() < 2) continue;
    const bool flag = typed[0] == '-';
    std::string nearest;
    // A third of it may be wrong.
    size_t least = std::max<size_t>(typed.size() / 3, 1) + 1;
    for (auto command = commands.rbegin(); command != commands.rend(); ++command) {
      for (const std::string& name : NamesOf(**command, flag)) {
        const size_t distance = Distance(typed, name);
        if (distance < least) {
          least = distance;
          nearest = name;
        }
      }
    }
    if (!nearest.empty()) return absl::StrCat("did you mean ", nearest, "?");
  }
  return "";
}

int ReportParseError(const CLI::App& program, const CLI::ParseError& error) {
  // Help and version are errors to CLI11, whose code is 0.
  if (program.exit(error) == 0) return 0;
  const std::string suggestion = SuggestionFor(program, error);
  if (!suggestion.empty()) std::fprintf(stderr, "postrider: %s\n", suggestion.c_str());
  return static_cast<int>(ClientExit::kUsage);
}

}  // namespace postrider
