#include "src/server/api/struct_json.h"

#include <rapidjson/stringbuffer.h>
#include <rapidjson/writer.h>

#include <charconv>
#include <cmath>
#include <cstdint>
#include <map>
#include <string_view>

namespace postrider {
namespace {

using Writer = rapidjson::Writer<rapidjson::StringBuffer>;

// Beyond it a double no longer tells neighbouring integers apart.
constexpr double kMaxWhole = 9007199254740992.0;

void WriteNumber(double number, Writer* writer) {
  const bool negative_zero = number == 0 && std::signbit(number);
  if (std::trunc(number) == number && std::abs(number) <= kMaxWhole && !negative_zero) {
    writer->Int64(static_cast<int64_t>(number));
    return;
  }
  char text[32];
  const auto [end, error] = std::to_chars(text, text + sizeof(text), number);
  writer->RawValue(text, static_cast<size_t>(end - text), rapidjson::kNumberType);
}

// Writes values, and stops at the first that cannot be written.
class StructWriter {
 public:
  explicit StructWriter(FieldViolations* violations) : violations_(violations) {}

  bool WriteStruct(const google::protobuf::Struct& value, const std::string& field) {
    std::map<std::string_view, const google::protobuf::Value*> sorted;
    for (const auto& [key, item] : value.fields()) sorted.emplace(key, &item);
    writer_.StartObject();
    for (const auto& [key, item] : sorted) {
      writer_.Key(key.data(), static_cast<rapidjson::SizeType>(key.size()));
      if (!WriteValue(*item, field + "." + std::string(key))) return false;
    }
    writer_.EndObject();
    return true;
  }

  std::string text() const { return std::string(buffer_.GetString(), buffer_.GetSize()); }

 private:
  bool WriteValue(const google::protobuf::Value& value, const std::string& field) {
    switch (value.kind_case()) {
      case google::protobuf::Value::kNullValue:
        return writer_.Null();
      case google::protobuf::Value::kNumberValue:
        if (!std::isfinite(value.number_value())) {
          return Refuse(field, "is not a finite number, and JSON has no form for it");
        }
        WriteNumber(value.number_value(), &writer_);
        return true;
      case google::protobuf::Value::kStringValue:
        return writer_.String(value.string_value().data(),
                              static_cast<rapidjson::SizeType>(value.string_value().size()));
      case google::protobuf::Value::kBoolValue:
        return writer_.Bool(value.bool_value());
      case google::protobuf::Value::kStructValue:
        return WriteStruct(value.struct_value(), field);
      case google::protobuf::Value::kListValue:
        return WriteList(value.list_value(), field);
      case google::protobuf::Value::KIND_NOT_SET:
        return Refuse(field, "has no value: set null_value if null is meant");
    }
    return Refuse(field, "is of an unknown kind");
  }

  bool WriteList(const google::protobuf::ListValue& list, const std::string& field) {
    writer_.StartArray();
    int index = 0;
    for (const auto& item : list.values()) {
      if (!WriteValue(item, field + "[" + std::to_string(index++) + "]")) return false;
    }
    writer_.EndArray();
    return true;
  }

  bool Refuse(const std::string& field, const char* why) {
    violations_->Add(field, why);
    return false;
  }

  FieldViolations* const violations_;
  rapidjson::StringBuffer buffer_;
  Writer writer_{buffer_};
};

}  // namespace

std::optional<std::string> StructToJson(const google::protobuf::Struct& value,
                                        const std::string& field, FieldViolations* violations) {
  StructWriter writer(violations);
  if (!writer.WriteStruct(value, field)) return std::nullopt;
  return writer.text();
}

}  // namespace postrider
