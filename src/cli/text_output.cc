#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "google/protobuf/util/json_util.h"
#include "src/cli/output.h"
#include "src/message/json.h"

namespace postrider {
namespace {

// The length of the UTF-8 character at the start of the text, 0 when there is none.
size_t CharacterLength(std::string_view text) {
  const auto lead = static_cast<unsigned char>(text[0]);
  size_t length = 0;
  if (lead < 0x80) length = 1;
  if (lead >= 0xC2 && lead <= 0xDF) length = 2;
  if (lead >= 0xE0 && lead <= 0xEF) length = 3;
  if (lead >= 0xF0 && lead <= 0xF4) length = 4;
  if (length == 0 || length > text.size()) return 0;
  for (size_t i = 1; i < length; ++i) {
    if ((static_cast<unsigned char>(text[i]) & 0xC0) != 0x80) return 0;
  }
  const auto second = length > 1 ? static_cast<unsigned char>(text[1]) : 0;
  const bool overlong = (lead == 0xE0 && second < 0xA0) || (lead == 0xF0 && second < 0x90);
  const bool surrogate = lead == 0xED && second > 0x9F;
  const bool too_large = lead == 0xF4 && second > 0x8F;
  return overlong || surrogate || too_large ? 0 : length;
}

// The length of the JSON string that the text begins with. REQUIRES: it is whole.
size_t StringLength(std::string_view text) {
  size_t end = 1;
  while (text[end] != '"') end += text[end] == '\\' ? 2 : 1;
  return end + 1;
}

}  // namespace

std::string MessageJson(const google::protobuf::Message& message) {
  google::protobuf::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  options.always_print_primitive_fields = true;
  std::string json;
  if (!google::protobuf::util::MessageToJsonString(message, &json, options).ok()) std::abort();
  return json + "\n";
}

std::string PrettyJson(std::string_view text) {
  if (!CheckJsonObject(text).ok()) return std::string(text);
  std::string result;
  size_t depth = 0;
  const auto new_line = [&] { result.append("\n").append(2 * depth, ' '); };
  for (size_t i = 0; i < text.size();) {
    const char c = text[i];
    if (c == '"') {
      const size_t length = StringLength(text.substr(i));
      result.append(text.substr(i, length));
      i += length;
      continue;
    }
    ++i;
    if (c == ' ' || c == '\t' || c == '\r' || c == '\n') continue;
    if (c == '{' || c == '[') {
      result += c;
      const size_t next = text.find_first_not_of(" \t\r\n", i);
      if (text[next] == '}' || text[next] == ']') {
        result += text[next];
        i = next + 1;
      } else {
        ++depth;
        new_line();
      }
    } else if (c == '}' || c == ']') {
      --depth;
      new_line();
      result += c;
    } else if (c == ',') {
      result += c;
      new_line();
    } else if (c == ':') {
      result += ": ";
    } else {
      result += c;
    }
  }
  return result;
}

std::string JsonString(std::string_view text) {
  std::string result = "\"";
  while (!text.empty()) {
    const char c = text[0];
    const size_t length = CharacterLength(text);
    if (length == 0) {
      result += "\xEF\xBF\xBD";
      text.remove_prefix(1);
      continue;
    }
    if (c == '"' || c == '\\') {
      result += '\\';
      result += c;
    } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) {
      absl::StrAppendFormat(&result, "\\u%04x", static_cast<unsigned char>(c));
    } else {
      result.append(text.substr(0, length));
    }
    text.remove_prefix(length);
  }
  return result + "\"";
}

std::string Printable(std::string_view text) {
  std::string result;
  while (!text.empty()) {
    const auto lead = static_cast<unsigned char>(text[0]);
    const size_t length = CharacterLength(text);
    const bool c0 = (lead < 0x20 && lead != '\n' && lead != '\t') || lead == 0x7F;
    // U+0080 to U+009F: terminals take them for control characters, too.
    const bool c1 = length == 2 && lead == 0xC2 && static_cast<unsigned char>(text[1]) < 0xA0;
    const size_t taken = std::max<size_t>(length, 1);
    if (c0 || c1 || length == 0) {
      for (const char c : text.substr(0, taken)) {
        absl::StrAppendFormat(&result, "\\x%02x", static_cast<unsigned char>(c));
      }
    } else {
      result.append(text.substr(0, taken));
    }
    text.remove_prefix(taken);
  }
  return result;
}

std::string Indent(std::string_view text, std::string_view indent) {
  std::string result;
  while (!text.empty()) {
    const size_t end = text.find('\n');
    result.append(indent).append(text.substr(0, end)).append("\n");
    if (end == std::string_view::npos) break;
    text.remove_prefix(end + 1);
  }
  return result;
}

void Print(std::string_view text) {
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size() || std::fflush(stdout) != 0) {
    std::perror("postrider: standard output cannot be written");
    _exit(static_cast<int>(ClientExit::kIo));
  }
}

void Complain(std::string_view sentence) {
  std::string line =
      absl::StrCat("postrider: ", absl::string_view(sentence.data(), sentence.size()));
  if (line.back() != '\n') line += '\n';
  std::fwrite(line.data(), 1, line.size(), stderr);
}

}  // namespace postrider
