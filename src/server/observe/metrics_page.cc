#include "src/server/observe/metrics_page.h"

#include <prometheus/collectable.h>
#include <prometheus/metric_family.h>
#include <prometheus/text_serializer.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <limits>
#include <sstream>
#include <system_error>
#include <utility>

#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace postrider {

class MetricsPage::Collector : public prometheus::Collectable {
 public:
  // Fills in the figure; false leaves it out.
  using Read = std::function<bool(prometheus::ClientMetric*)>;

  void Add(const std::string& name, const std::string& help, prometheus::MetricType type,
           const Labels& labels, Read read) {
    Family& family = families_[name];
    family.help = help;
    family.type = type;
    family.figures.push_back({labels, std::move(read)});
  }

  std::vector<prometheus::MetricFamily> Collect() const override {
    std::vector<prometheus::MetricFamily> result;
    for (const auto& [name, family] : families_) {
      prometheus::MetricFamily out;
      out.name = name;
      out.help = family.help;
      out.type = family.type;
      for (const Figure& figure : family.figures) {
        prometheus::ClientMetric metric;
        for (const auto& [label, value] : figure.labels) metric.label.push_back({label, value});
        if (figure.read(&metric)) out.metric.push_back(std::move(metric));
      }
      if (!out.metric.empty()) result.push_back(std::move(out));
    }
    return result;
  }

 private:
  struct Figure {
    Labels labels;
    Read read;
  };
  struct Family {
    std::string help;
    prometheus::MetricType type;
    std::vector<Figure> figures;
  };
  std::map<std::string, Family> families_;
};

MetricsPage::MetricsPage() : collector_(std::make_unique<Collector>()) {}
MetricsPage::~MetricsPage() = default;

void MetricsPage::AddCounter(const std::string& name, const std::string& help, const Labels& labels,
                             const Counter& counter, bool hide_zero) {
  collector_->Add(name, help, prometheus::MetricType::Counter, labels,
                  [&counter, hide_zero](prometheus::ClientMetric* metric) {
                    metric->counter.value = static_cast<double>(counter.value());
                    return !hide_zero || metric->counter.value != 0;
                  });
}

void MetricsPage::AddGauge(const std::string& name, const std::string& help, const Labels& labels,
                           const Gauge& gauge) {
  AddGaugeFunction(name, help, labels, [&gauge] { return static_cast<double>(gauge.value()); });
}

void MetricsPage::AddHistogram(const std::string& name, const std::string& help,
                               const Labels& labels, const DurationHistogram& histogram) {
  collector_->Add(name, help, prometheus::MetricType::Histogram, labels,
                  [&histogram](prometheus::ClientMetric* metric) {
                    uint64_t count = 0;
                    for (size_t i = 0; i <= DurationHistogram::kBounds; ++i) {
                      count += histogram.bucket(i);
                      prometheus::ClientMetric::Bucket bucket;
                      bucket.cumulative_count = count;
                      bucket.upper_bound = i < DurationHistogram::kBounds
                                               ? DurationHistogram::BoundSeconds(i)
                                               : std::numeric_limits<double>::infinity();
                      metric->histogram.bucket.push_back(bucket);
                    }
                    metric->histogram.sample_count = count;
                    metric->histogram.sample_sum = histogram.sum_seconds();
                    return true;
                  });
}

void MetricsPage::AddCounterFunction(const std::string& name, const std::string& help,
                                     const Labels& labels, std::function<double()> read) {
  collector_->Add(name, help, prometheus::MetricType::Counter, labels,
                  [read = std::move(read)](prometheus::ClientMetric* metric) {
                    metric->counter.value = read();
                    return true;
                  });
}

void MetricsPage::AddGaugeFunction(const std::string& name, const std::string& help,
                                   const Labels& labels, std::function<double()> read) {
  collector_->Add(name, help, prometheus::MetricType::Gauge, labels,
                  [read = std::move(read)](prometheus::ClientMetric* metric) {
                    metric->gauge.value = read();
                    return true;
                  });
}

void MetricsPage::AddOptionalGauge(const std::string& name, const std::string& help,
                                   const Labels& labels,
                                   std::function<std::optional<double>()> read) {
  collector_->Add(name, help, prometheus::MetricType::Gauge, labels,
                  [read = std::move(read)](prometheus::ClientMetric* metric) {
                    const std::optional<double> value = read();
                    metric->gauge.value = value.value_or(0);
                    return value.has_value();
                  });
}

std::string MetricsPage::Text() const {
  std::ostringstream text;
  prometheus::TextSerializer().Serialize(text, collector_->Collect());
  return text.str();
}

namespace {

double CpuSeconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

double ResidentBytes() {
  long long total = 0;
  long long resident = 0;
  std::FILE* file = std::fopen("/proc/self/statm", "re");
  if (file == nullptr) return 0;
  const int read = std::fscanf(file, "%lld %lld", &total, &resident);
  std::fclose(file);
  return read == 2 ? static_cast<double>(resident) * static_cast<double>(sysconf(_SC_PAGESIZE)) : 0;
}

// The soft limit: the one that counts.
double MaxDescriptors() {
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  return static_cast<double>(limit.rlim_cur);
}

double CountEntries(const char* directory) {
  std::error_code error;
  double count = 0;
  for (std::filesystem::directory_iterator it(directory, error), end; !error && it != end;
       it.increment(error)) {
    ++count;
  }
  return count;
}

}  // namespace

void AddProcessMetrics(MetricsPage* page) {
  const double start = absl::ToDoubleSeconds(absl::Now() - absl::UnixEpoch());
  page->AddGaugeFunction("process_start_time_seconds", "When the process started, in Unix time.",
                         {}, [start] { return start; });
  page->AddCounterFunction("process_cpu_seconds_total", "User and system CPU time spent.", {},
                           CpuSeconds);
  page->AddGaugeFunction("process_resident_memory_bytes", "Resident memory.", {}, ResidentBytes);
  page->AddGaugeFunction("process_open_fds", "Open file descriptors.", {},
                         [] { return CountEntries("/proc/self/fd"); });
  page->AddGaugeFunction("process_max_fds", "The limit of open file descriptors.", {},
                         MaxDescriptors);
  page->AddGaugeFunction("process_threads", "Threads.", {},
                         [] { return CountEntries("/proc/self/task"); });
}

}  // namespace postrider
