#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "src/base/metrics.h"

namespace postrider {

// Puts the layers' plain figures into Prometheus' text format: the one place that knows the
// exporter.
//
// The Add methods come first, on one thread; then Text may be called from any. What was added must
// outlive it. Figures of one name share one help text and differ by their labels.
class MetricsPage {
 public:
  using Labels = std::map<std::string, std::string>;

  MetricsPage();
  ~MetricsPage();
  MetricsPage(const MetricsPage&) = delete;
  MetricsPage& operator=(const MetricsPage&) = delete;

  // `hide_zero`: leave it out until it has counted something.
  void AddCounter(const std::string& name, const std::string& help, const Labels& labels,
                  const Counter& counter, bool hide_zero = false);
  void AddGauge(const std::string& name, const std::string& help, const Labels& labels,
                const Gauge& gauge);
  void AddHistogram(const std::string& name, const std::string& help, const Labels& labels,
                    const DurationHistogram& histogram);
  // Read whenever the page is.
  void AddCounterFunction(const std::string& name, const std::string& help, const Labels& labels,
                          std::function<double()> read);
  void AddGaugeFunction(const std::string& name, const std::string& help, const Labels& labels,
                        std::function<double()> read);

  // The same, left out while there is nothing.
  void AddOptionalGauge(const std::string& name, const std::string& help, const Labels& labels,
                        std::function<std::optional<double>()> read);

  // The page.
  std::string Text() const;

  static constexpr char kContentType[] = "text/plain; version=0.0.4; charset=utf-8";

 private:
  class Collector;
  std::unique_ptr<Collector> collector_;
};

// Adds what every process has: start time, CPU seconds, resident memory, open files, threads.
void AddProcessMetrics(MetricsPage* page);

}  // namespace postrider
