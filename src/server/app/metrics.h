#pragma once

#include "src/http/server/http_server.h"
#include "src/outbox/sqlite/options.h"
#include "src/server/app/pump.h"
#include "src/server/config/config.h"
#include "src/server/observe/metrics_page.h"

namespace postrider {

// The layers' figures under their public names, which docs/operations.md lists.
void AddOutboxMetrics(const SqliteOutboxMetrics& metrics, MetricsPage* page);
// What it is, and the bounds that it was given, for alerts to compare with.
void AddServerMetrics(const ServerConfig& config, MetricsPage* page);
void AddHttpMetrics(const HttpServerMetrics& metrics, MetricsPage* page);
void AddPumpMetrics(const PumpMetrics& metrics, int pump, MetricsPage* page);

}  // namespace postrider
