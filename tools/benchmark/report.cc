#include "tools/benchmark/report.h"

#include <algorithm>
#include <cstddef>
#include <functional>
#include <optional>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "tools/benchmark/environment.h"

namespace postrider::bench {
namespace {

using Bar = std::function<std::optional<double>(const Report&)>;

struct Key {
  const char* name;
  bool at_least;
  Bar bar;
};

Bar Fixed(double value) {
  return [value](const Report&) { return value; };
}

Bar Times(double factor, const char* name) {
  return [factor, name](const Report& report) {
    return report.Has(name) ? std::optional<double>(factor * report.Median(name)) : std::nullopt;
  };
}

std::optional<double> LatencyBar(const Report& report) {
  return 2 + report.Median("latency_ms.bare_grpc_p50") + report.Median("latency_ms.bare_http_p50");
}

const std::vector<Key>& Keys() {
  static const auto* const keys = new std::vector<Key>{
      {"publish.ratio", true, Fixed(0.70)},
      {"publish_batch.ratio", true, Fixed(0.50)},
      {"drain.ratio", true, Fixed(0.90)},
      {"drain_many.ratio", true, Fixed(0.80)},
      {"end_to_end.ratio", true, Fixed(0.70)},
      {"latency_ms.p50", false, LatencyBar},
      {"latency_ms.p99", false, Times(5, "latency_ms.p50")},
      {"latency_idle_ms.p99", false, Times(3, "latency_ms.p50")},
      {"backlog.flatness", true, Fixed(0.90)},
      {"backlog.rss_mib", false, Fixed(256)},
      {"start.seconds_per_million", false, Fixed(2)},
      {"start.seconds_per_million.ready", false, Fixed(1)},
      {"isolation.throughput", true, Fixed(0.95)},
      {"isolation.p99", false, Fixed(1.2)},
      {"webhooks.flatness", true, Fixed(0.90)},
  };
  return *keys;
}

bool IsKey(const std::string& name) {
  return std::any_of(Keys().begin(), Keys().end(),
                     [&](const Key& key) { return name == key.name; });
}

std::string Number(double value) {
  if (value >= 1000) return absl::StrFormat("%.0f", value);
  if (value >= 10) return absl::StrFormat("%.1f", value);
  return absl::StrFormat("%.3f", value);
}

bool IsMet(const Key& key, double value, double bar) {
  return key.at_least ? value >= bar : value <= bar;
}

std::string Quoted(const std::string& text) { return absl::StrCat("\"", text, "\""); }

std::string List(const std::vector<double>& values) {
  return absl::StrCat("[",
                      absl::StrJoin(values, ", ",
                                    [](std::string* out, double value) {
                                      absl::StrAppendFormat(out, "%.6g", value);
                                    }),
                      "]");
}

// The members of one object, in lines of their own.
class JsonObject {
 public:
  void Add(const std::string& name, const std::string& value) {
    absl::StrAppend(&members_, members_.empty() ? "" : ",", "\n", indent_, Quoted(name), ": ",
                    value);
  }
  explicit JsonObject(const std::string& indent) : indent_(indent) {}
  std::string Text() const { return absl::StrCat("{", members_, "\n", indent_.substr(2), "}"); }

 private:
  const std::string indent_;
  std::string members_;
};

}  // namespace

void Report::Add(const std::string& name, double value) { values_[name].push_back(value); }
void Report::Note(const std::string& name, const std::string& text) { notes_[name] = text; }

double Report::Median(const std::string& name) const {
  const auto it = values_.find(name);
  if (it == values_.end()) Fail(absl::StrCat("nothing was measured for ", name));
  std::vector<double> sorted = it->second;
  std::sort(sorted.begin(), sorted.end());
  const size_t middle = sorted.size() / 2;
  if (sorted.size() % 2 == 1) return sorted[middle];
  return (sorted[middle - 1] + sorted[middle]) / 2;
}

void Report::RequireAllKeys() const {
  for (const Key& key : Keys()) Median(key.name);
}

std::string Report::Table() const {
  std::string text =
      absl::StrFormat("%-32s %10s %12s  %-4s %s\n", "key", "median", "bar", "met", "the runs");
  for (const Key& key : Keys()) {
    if (!Has(key.name)) continue;
    const double value = Median(key.name);
    const std::optional<double> bar = key.bar(*this);
    absl::StrAppendFormat(
        &text, "%-32s %10s %12s  %-4s %s\n", key.name, Number(value),
        bar ? absl::StrCat(key.at_least ? ">= " : "<= ", Number(*bar)) : "unknown",
        !bar                      ? "?"
        : IsMet(key, value, *bar) ? "yes"
                                  : "NO",
        absl::StrJoin(values_.at(key.name), " ",
                      [](std::string* out, double run) { out->append(Number(run)); }));
  }
  absl::StrAppend(&text, "\nThe figures behind them (medians):\n");
  for (const auto& [name, runs] : values_) {
    if (!IsKey(name)) absl::StrAppendFormat(&text, "  %-48s %12s\n", name, Number(Median(name)));
  }
  for (const auto& [name, note] : notes_) absl::StrAppendFormat(&text, "  %s: %s\n", name, note);
  return text;
}

std::string Report::Json() const {
  JsonObject all("  ");
  JsonObject runs("    ");
  JsonObject bars("    ");
  JsonObject absolute("    ");
  JsonObject notes("    ");
  for (const Key& key : Keys()) {
    if (!Has(key.name)) continue;
    const double value = Median(key.name);
    all.Add(key.name, absl::StrFormat("%.6g", value));
    runs.Add(key.name, List(values_.at(key.name)));
    const std::optional<double> bar = key.bar(*this);
    if (!bar) continue;
    bars.Add(key.name,
             absl::StrFormat("{\"%s\": %.6g, \"met\": %s}", key.at_least ? "at_least" : "at_most",
                             *bar, IsMet(key, value, *bar) ? "true" : "false"));
  }
  for (const auto& [name, values] : values_) {
    if (IsKey(name)) continue;
    absolute.Add(name,
                 absl::StrFormat("{\"median\": %.6g, \"runs\": %s}", Median(name), List(values)));
  }
  for (const auto& [name, note] : notes_) notes.Add(name, Quoted(note));
  all.Add("runs", runs.Text());
  all.Add("bars", bars.Text());
  all.Add("absolute", absolute.Text());
  all.Add("notes", notes.Text());
  return absl::StrCat(all.Text(), "\n");
}

}  // namespace postrider::bench
