#include "src/server/app/metrics.h"

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>

#include "absl/time/time.h"
#include "src/base/clock.h"
#include "src/server/app/version.h"

namespace postrider {

namespace {

// Not shown until what was owed before the start is counted.
void AddBacklogMetrics(const SqliteOutboxMetrics& m, MetricsPage* page) {
  const auto owed = [&m, page](const char* state, const Gauge& gauge) {
    page->AddOptionalGauge("postrider_owed_deliveries",
                           "Deliveries that are owed, by the state of their webhooks.",
                           {{"state", state}}, [&m, &gauge]() -> std::optional<double> {
                             if (m.backlog_known.value() == 0) return std::nullopt;
                             return static_cast<double>(gauge.value());
                           });
  };
  owed("enabled", m.owed_enabled);
  owed("disabled", m.owed_disabled);
  page->AddOptionalGauge(
      "postrider_oldest_due_seconds",
      "For how long the oldest delivery of an enabled webhook has been due.", {},
      [&m]() -> std::optional<double> {
        if (m.backlog_known.value() == 0) return std::nullopt;
        const int64_t due = m.oldest_due_us.value();
        if (due == 0) return 0;
        return std::max(
            0.0, absl::ToDoubleSeconds(SystemClock().Steady() - absl::FromUnixMicros(due)));
      });
}

}  // namespace

void AddOutboxMetrics(const SqliteOutboxMetrics& m, MetricsPage* page) {
  const auto counter = [page](const char* name, const char* help, const Counter& value) {
    page->AddCounter(std::string("postrider_outbox_") + name, help, {}, value);
  };
  const auto gauge = [page](const char* name, const char* help, const Gauge& value) {
    page->AddGauge(std::string("postrider_outbox_") + name, help, {}, value);
  };
  counter("notifications_published_total", "Notifications stored.", m.notifications_published);
  counter("notifications_duplicate_total", "Publishes whose idempotency key was known.",
          m.notifications_duplicate);
  counter("deliveries_created_total", "Deliveries that became owed by publishing.",
          m.deliveries_created);
  counter("publishes_refused_total", "Publishes refused for want of room.", m.publishes_refused);
  counter("writes_refused_total", "Writes refused because the queue was full.", m.writes_refused);
  counter("reads_refused_total", "Reads refused because the queue was full.", m.reads_refused);
  counter("outcomes_recorded_total", "Attempts recorded.", m.outcomes_recorded);
  counter("reads_total", "Reads done.", m.reads);
  counter("commits_total", "Transactions committed for callers.", m.commits);
  counter("committed_writes_total", "Writes in those transactions.", m.committed_writes);
  counter("commit_failures_total", "Transactions that failed.", m.commit_failures);
  counter("checkpoints_total", "Checkpoints of the log.", m.checkpoints);
  counter("checkpoints_busy_total", "Checkpoints that a reader kept from their end.",
          m.checkpoints_busy);
  counter("checkpoint_failures_total", "Checkpoints that failed.", m.checkpoint_failures);
  counter("deliveries_cancelled_total", "Deliveries cancelled with their webhook.",
          m.deliveries_cancelled);
  counter("deliveries_aged_total", "Deliveries that died of age while their webhook was disabled.",
          m.deliveries_aged);
  counter("attempt_bodies_removed_total",
          "Bodies of receivers' answers removed for want of room.", m.attempt_bodies_removed);
  counter("attempts_removed_total", "Records of attempts removed for want of room.",
          m.attempts_removed);
  gauge("attempt_bytes", "What the records of failed attempts take.", m.attempt_bytes);
  counter("rows_expired_total", "Rows removed after the retention.", m.rows_expired);
  gauge("queued_writes", "Writes that wait for the disk.", m.queued_writes);
  gauge("queued_reads", "Reads that wait for a reader.", m.queued_reads);
  gauge("wal_bytes", "Size of the write-ahead log.", m.wal_bytes);
  gauge("log_held", "1 while a reader of another process keeps the log from beginning anew.",
        m.log_held);
  gauge("file_bytes", "Size of the database file.", m.file_bytes);
  gauge("used_bytes", "The part of it that is in use.", m.used_bytes);
  gauge("disk_free_bytes", "Room left on the disk.", m.disk_free_bytes);
  AddBacklogMetrics(m, page);
  page->AddHistogram("postrider_outbox_commit_seconds",
                     "From the beginning of a transaction until it is on disk.", {},
                     m.commit_latency);
  page->AddHistogram("postrider_outbox_checkpoint_seconds", "How long checkpoints take.", {},
                     m.checkpoint_latency);
}

void AddServerMetrics(const ServerConfig& config, MetricsPage* page) {
  const auto fixed = [page](const char* name, const char* help, double value,
                            const MetricsPage::Labels& labels = {}) {
    page->AddGaugeFunction(std::string("postrider_") + name, help, labels,
                           [value] { return value; });
  };
  fixed("build_info", "1; the labels say what runs.", 1, {{"version", kVersion}});
  fixed("outbox_max_bytes", "Publishes are refused at this size: --max-outbox-bytes.",
        static_cast<double>(config.max_outbox_bytes));
  fixed("outbox_min_free_bytes", "Publishes are refused below this room: --min-free-bytes.",
        static_cast<double>(config.min_free_bytes));
  fixed("max_queue_bytes", "The bound on bodies that wait: --max-queue-bytes.",
        static_cast<double>(config.max_queue_bytes));
  fixed("http_max_connections", "The bound on HTTP connections: --http-max-connections.",
        static_cast<double>(config.http_limits.max_connections));
  fixed("pump_threads", "Threads that deliver: --pump-threads.", config.pump_threads);
}

void AddHttpMetrics(const HttpServerMetrics& metrics, MetricsPage* page) {
  page->AddGauge("postrider_http_connections", "Connections to the HTTP listener.", {},
                 metrics.connections);
  page->AddCounter("postrider_http_accepted_total", "HTTP connections taken.", {},
                   metrics.accepted);
  page->AddGauge("postrider_http_held_bytes",
                 "Bodies of HTTP requests, and answers that are not on the wire yet.", {},
                 metrics.held_bytes);
  page->AddCounter("postrider_http_requests_total", "HTTP requests.", {}, metrics.requests);
  page->AddCounter("postrider_http_refused_total",
                   "HTTP connections closed and requests answered 503 since a bound was reached.",
                   {}, metrics.refused);
  page->AddCounter("postrider_http_timeouts_total",
                   "HTTP connections closed since a request or its answer took too long.", {},
                   metrics.timeouts);
  page->AddCounter("postrider_http_accept_failures_total",
                   "Times that HTTP connections could not be accepted.", {},
                   metrics.accept_failures);
}

void AddPumpMetrics(const PumpMetrics& metrics, int pump, MetricsPage* page) {
  const MetricsPage::Labels labels = {{"pump", std::to_string(pump)}};
  const auto counter = [&](const char* name, const char* help, const Counter& value) {
    page->AddCounter(std::string("postrider_") + name, help, labels, value);
  };
  const auto gauge = [&](const char* name, const char* help, const Gauge& value) {
    page->AddGauge(std::string("postrider_") + name, help, labels, value);
  };
  MetricsPage::Labels succeeded = labels;
  succeeded["outcome"] = "success";
  MetricsPage::Labels failed = labels;
  failed["outcome"] = "failure";
  page->AddCounter("postrider_attempts_total", "Attempts that ended.", succeeded,
                   metrics.engine.attempts_succeeded);
  page->AddCounter("postrider_attempts_total", "Attempts that ended.", failed,
                   metrics.engine.attempts_failed);
  page->AddHistogram("postrider_attempt_seconds", "How long attempts take.", labels,
                     metrics.engine.attempt_latency);
  counter("deliveries_dead_total", "Deliveries given up.", metrics.engine.deliveries_dead);
  counter("webhooks_disabled_total", "Webhooks disabled for their receivers' failures.",
          metrics.engine.webhooks_disabled);
  counter("pages_read_total", "Pages of owed deliveries read from disk.",
          metrics.engine.pages_read);
  counter("page_failures_total", "Reads of owed deliveries that failed and are made again.",
          metrics.engine.page_failures);
  counter("attempts_postponed_total",
          "Attempts that could not be made for want of sockets, ports or memory of this server's.",
          metrics.engine.attempts_postponed);
  counter("outcome_failures_total", "Batches of outcomes that could not be recorded at once.",
          metrics.engine.outcome_failures);
  gauge("queued_deliveries", "Deliveries held in memory.", metrics.engine.queued_deliveries);
  gauge("queued_bytes", "Bytes of their bodies.", metrics.engine.queued_bytes);
  gauge("in_flight", "Requests under way.", metrics.engine.in_flight);
  gauge("probing_webhooks", "Webhooks that are probed after failures.",
        metrics.engine.probing_webhooks);
  counter("address_fallbacks_total",
          "Connections to another address than the first, which was not connected in time.",
          metrics.transport.address_fallbacks);
  counter("dns_lookups_total", "Names asked of DNS.", metrics.resolver.lookups);
  counter("dns_cache_hits_total", "Names known without asking.", metrics.resolver.cache_hits);
  counter("dns_failures_total", "Names without an answer.", metrics.resolver.failures);
  counter("dns_refused_total", "Names that were not asked, since too many others were.",
          metrics.resolver.refused);
  counter("dns_reloads_total", "How often the name servers were read again.",
          metrics.resolver.reloads);
  counter("connections_opened_total", "Connections opened to receivers.",
          metrics.transport.connections_opened);
  counter("connections_reused_total", "Requests over a connection that was open.",
          metrics.transport.connections_reused);
  counter("requests_handed_over_total", "Requests that another pump was given to send.",
          metrics.handed_over);
  counter("stale_resends_total",
          "Requests sent again because a kept connection was dead, or had said something unasked.",
          metrics.transport.stale_resends);
  counter("unasked_answers_total",
          "Connections given up because something came over them that nobody had asked for.",
          metrics.transport.unasked);
  counter("blocked_total", "Requests refused by the address policy.", metrics.transport.blocked);
  counter("resolve_failures_total", "Requests whose receiver has no address.",
          metrics.transport.resolve_failures);
}

}  // namespace postrider
