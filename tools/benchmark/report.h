#pragma once

#include <map>
#include <string>
#include <vector>

namespace postrider::bench {

// What was measured: for each name one value a run. Names are the keys of the table that the bars
// are for, and the absolute figures that stand beside them (a key's first part, a dot, and what it
// is). Not thread-safe.
class Report {
 public:
  void Add(const std::string& name, double value);
  // How something was measured that was chosen by measuring.
  void Note(const std::string& name, const std::string& text);

  // The middle one. REQUIRES: there is one.
  double Median(const std::string& name) const;
  bool Has(const std::string& name) const { return values_.count(name) > 0; }

  // Fails when a key of the table was not measured.
  void RequireAllKeys() const;

  // The table: each key with its median, its bar, whether it is met, and the absolute figures.
  std::string Table() const;
  // The medians under their keys, then all runs, the bars and the absolute figures.
  std::string Json() const;

 private:
  std::map<std::string, std::vector<double>> values_;
  std::map<std::string, std::string> notes_;
};

}  // namespace postrider::bench
