#pragma once

#include <CLI/CLI.hpp>
#include <string>

namespace postrider {

// What was perhaps meant by a command line that could not be parsed: "did you mean `--url`?". Empty
// when nothing is near what was typed.
std::string SuggestionFor(const CLI::App& program, const CLI::ParseError& error);

// Prints the help or the error, with a suggestion. Returns what the process ends with: 0 for help,
// 64 for what is wrong.
int ReportParseError(const CLI::App& program, const CLI::ParseError& error);

}  // namespace postrider
