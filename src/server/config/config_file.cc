#include "src/server/config/config_file.h"

#include <cstddef>
#include <cstdint>
#include <set>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"

namespace postrider {
namespace {

bool IsKeyChar(char c) {
  return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '-' || c == '_';
}

// Walks over the text once. Each Read method leaves the position behind what it has read.
class Parser {
 public:
  Parser(std::string_view text, const std::string& file) : text_(text), file_(file) {}

  absl::StatusOr<std::vector<ConfigEntry>> Parse() {
    std::vector<ConfigEntry> entries;
    std::set<std::string> seen;
    for (;;) {
      SkipBlank(/*newlines=*/true);
      if (AtEnd()) return entries;
      absl::StatusOr<ConfigEntry> entry = ReadEntry();
      if (!entry.ok()) return entry.status();
      if (!seen.insert(entry->key).second) {
        return Error(absl::StrCat("the key ", entry->key, " is there twice"));
      }
      entries.push_back(*std::move(entry));
    }
  }

 private:
  bool AtEnd() const { return position_ >= text_.size(); }
  char Peek() const { return AtEnd() ? '\0' : text_[position_]; }
  char Take() {
    const char c = text_[position_++];
    if (c == '\n') ++line_;
    return c;
  }

  absl::Status Error(const std::string& what) const {
    return absl::InvalidArgumentError(absl::StrCat(file_, ":", line_, ": ", what));
  }

  // Spaces and comments, and with `newlines` line ends too.
  void SkipBlank(bool newlines) {
    while (!AtEnd()) {
      const char c = Peek();
      if (c == '#') {
        while (!AtEnd() && Peek() != '\n') Take();
      } else if (c == ' ' || c == '\t' || c == '\r' || (newlines && c == '\n')) {
        Take();
      } else {
        return;
      }
    }
  }

  absl::StatusOr<ConfigEntry> ReadEntry() {
    ConfigEntry entry;
    entry.line = line_;
    if (Peek() == '[') return Error("tables are not used here: write `key = value` lines only");
    while (IsKeyChar(Peek())) entry.key += Take();
    if (entry.key.empty()) return Error("a key was expected, as in `data-dir = \"/var/lib/x\"`");
    SkipBlank(/*newlines=*/false);
    if (Peek() != '=') return Error(absl::StrCat("`=` was expected after ", entry.key));
    Take();
    SkipBlank(/*newlines=*/false);
    absl::Status status = Peek() == '[' ? ReadArray(&entry) : ReadValue(&entry);
    if (!status.ok()) return status;
    SkipBlank(/*newlines=*/false);
    if (!AtEnd() && Peek() != '\n') {
      return Error(absl::StrCat("there is something behind the value of ", entry.key));
    }
    return entry;
  }

  absl::Status ReadArray(ConfigEntry* entry) {
    Take();
    for (;;) {
      SkipBlank(/*newlines=*/true);
      if (Peek() == ']') break;
      absl::Status status = ReadValue(entry);
      if (!status.ok()) return status;
      SkipBlank(/*newlines=*/true);
      if (Peek() == ',') {
        Take();
      } else if (Peek() != ']') {
        return Error(absl::StrCat("`,` or `]` was expected in the array of ", entry->key));
      }
    }
    Take();
    return absl::OkStatus();
  }

  absl::Status ReadValue(ConfigEntry* entry) {
    std::string value;
    if (Peek() == '"' || Peek() == '\'') {
      absl::Status status = ReadString(&value);
      if (!status.ok()) return status;
    } else {
      while (IsKeyChar(Peek()) || Peek() == '.' || Peek() == '+') value += Take();
      if (!IsBare(value)) {
        return Error(absl::StrCat("the value of ", entry->key,
                                  " is not a string in quotes, a whole number, true or false"));
      }
    }
    entry->values.push_back(std::move(value));
    return absl::OkStatus();
  }

  static bool IsBare(const std::string& value) {
    if (value == "true" || value == "false") return true;
    if (value.empty()) return false;
    for (const char c : value) {
      if (!absl::ascii_isdigit(static_cast<unsigned char>(c))) return false;
    }
    return true;
  }

  absl::Status ReadString(std::string* value) {
    const char quote = Take();
    for (;;) {
      if (AtEnd() || Peek() == '\n') return Error("a string has no end on its line");
      const char c = Take();
      if (c == quote) return absl::OkStatus();
      if (c != '\\' || quote == '\'') {
        *value += c;
        continue;
      }
      switch (Peek()) {
        case '"':
        case '\\':
          *value += Take();
          break;
        case 't':
          Take();
          *value += '\t';
          break;
        case 'n':
          Take();
          *value += '\n';
          break;
        default:
          return Error("an escape other than \\\\ \\\" \\t \\n: use a string in 'single quotes'");
      }
    }
  }

  const std::string_view text_;
  const std::string file_;
  size_t position_ = 0;
  int line_ = 1;
};

}  // namespace

absl::StatusOr<std::vector<ConfigEntry>> ParseConfigFile(std::string_view text,
                                                         const std::string& file) {
  return Parser(text, file).Parse();
}

}  // namespace postrider
